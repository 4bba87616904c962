"""The simulated GPU refuses what CUDA refuses, and nothing else: mistakes are planted, and must be found."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.second_device import SecondDeviceError, second_device

THERE = {"device": "cuda"}


def there(*shape: int) -> Tensor:
    return torch.ones(shape, device="cuda")


def here(*shape: int) -> Tensor:
    return torch.ones(shape)


class _Forgetful(nn.Module):
    """A module with a tensor that is no buffer, and so stays when the module moves."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.scale = torch.ones(3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.linear(inputs) * self.scale


class _BackwardThere(torch.autograd.Function):
    """A function whose gradient was made on the wrong device."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * torch.ones(3)


def _backward() -> None:
    inputs = there(3).requires_grad_()
    _BackwardThere.apply(inputs).sum().backward()


def _assign_gradient() -> None:
    nn.Parameter(there(3)).grad = here(3)


MISTAKES: dict[str, Callable[[], object]] = {
    "a factory without a device": lambda: there(3) + torch.arange(3),
    "... in place": lambda: there(3).mul_(here(3)),
    "... joined": lambda: torch.cat([there(3), here(3)]),
    "... of a scalar, joined": lambda: torch.stack([there(1)[0], torch.tensor(1.0)]),
    "... in a product": lambda: there(2, 3) @ here(3, 2),
    "... in einsum": lambda: torch.einsum("ij,jk->ik", there(2, 3), here(3, 2)),
    "... in linear algebra": lambda: torch.linalg.solve(there(3, 3) + torch.eye(3, **THERE), here(3, 1)),
    "... in torch.where": lambda: torch.where(there(3) > 0, here(3), 0.0),
    "... in a mask": lambda: there(3).masked_fill(here(3) > 0, 0.0),
    "... in gather": lambda: there(3).gather(0, torch.tensor([0])),
    "... in scatter": lambda: there(3).scatter_(0, torch.tensor([0]), 1.0),
    "... in index_select": lambda: there(3).index_select(0, torch.tensor([0])),
    "... in an embedding": lambda: nn.Embedding(4, 2).to("cuda")(torch.tensor([0])),
    "... in a loss": lambda: nn.functional.cross_entropy(there(2, 3), torch.tensor([0, 1])),
    "... in quantile": lambda: torch.quantile(there(3), torch.tensor([0.5])),
    "... in bucketize": lambda: torch.bucketize(there(3), here(2)),
    "... in equal": lambda: torch.equal(there(3), here(3)),
    "... within vmap": lambda: torch.vmap(lambda row: row + here(3))(there(2, 3)),
    "... within a backward pass": _backward,
    "... as a gradient": _assign_gradient,
    "a sum that a scalar of the CPU shall take": lambda: torch.tensor(0.0).add_(there(1)[0]),
    "a part of the CPU's by indices of the GPU": lambda: here(3)[torch.tensor([0], **THERE)],
    "values of the CPU, put": lambda: there(3).index_put_((torch.tensor([0], **THERE),), here(1)),
    "a module that has not moved": lambda: nn.Linear(3, 2)(there(2, 3)),
    "a part of a module that has not moved": lambda: _Forgetful().to("cuda")(there(2, 3)),
    "numbers of a list": lambda: there(3) + there(3).cpu().new_tensor([1.0, 2.0, 3.0]),
    "numpy": lambda: there(3).numpy(),
    "numpy, by itself": lambda: np.asarray(there(3)),
    "a CPU generator": lambda: torch.randn(3, generator=torch.Generator(), **THERE),
    "a CPU generator, in place": lambda: there(3).normal_(generator=torch.Generator()),
    "a GPU generator": lambda: torch.rand(3, generator=torch.Generator("cuda")),
    "a GPU generator, into the CPU's": lambda: torch.rand(3, generator=torch.Generator("cuda"), out=here(3)),
}
ALLOWED: dict[str, Callable[[], Tensor]] = {
    "a CPU scalar": lambda: there(3) * torch.tensor(2.0) + torch.tensor(1.0),
    "a CPU scalar first": lambda: torch.tensor(2.0) - there(3),
    "a CPU scalar in torch.where": lambda: torch.where(there(3) > 0, torch.tensor(2.0), there(3)),
    "a CPU scalar in masked_fill": lambda: there(3).masked_fill(there(3) > 0, torch.tensor(2.0)),
    "a CPU scalar, put": lambda: there(3).index_put_((torch.tensor([0], **THERE),), torch.tensor(2.0)),
    "indices of the CPU": lambda: there(3)[torch.tensor([0, 1])],
    "a mask of the CPU": lambda: there(3)[torch.tensor([True, False, True])],
    "lists as indices": lambda: there(3, 3)[[0, 1], [1, 2]],
    "assignment across devices": lambda: _assigned(there(2, 3), here(3)),
    "numbers of a list": lambda: there(3).new_tensor([1.0, 2.0, 3.0]) + there(3),
    "a list of the GPU's scalars": lambda: torch.tensor([there(1)[0], 2.0]).to("cuda"),
    "what is like another": lambda: torch.zeros_like(there(3)) + there(3).new_zeros(3) + there(3).new_ones(()),
    "a deep copy": lambda: copy.deepcopy(there(3)) + there(3),
    "a linear layer with its norm": lambda: nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)).to("cuda")(there(4, 3)),
    "a module that is to be like a tensor": lambda: nn.Linear(3, 2).to(there(1))(there(4, 3)),
    "what a kernel makes for itself": lambda: torch.einsum("ii->i", there(3, 3)).softmax(-1).cumsum(-1),
    "a quantile": lambda: torch.nanquantile(there(3, 4), there(1).new_tensor([0.1, 0.9]), dim=0),
    "a sort": lambda: there(3).argsort(stable=True).double(),
    "factories within vmap": lambda: torch.vmap(lambda row: row + torch.arange(3, device=row.device))(there(2, 3)),
    "a generator of its own": lambda: torch.randn(3, generator=torch.Generator("cuda"), **THERE) + there(3),
    "a trip": lambda: torch.from_numpy(there(3).cpu().numpy()).to("cuda") + there(3),
}


def _assigned(whole: Tensor, part: Tensor) -> Tensor:
    whole[0] = part
    return whole


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    with second_device(), pytest.raises((SecondDeviceError, TypeError), match=r"device|generator"):
        MISTAKES[mistake]()


@pytest.mark.parametrize("case", ALLOWED)
def test_what_cuda_allows_is_allowed(case: str) -> None:
    with second_device():
        result = ALLOWED[case]()
        assert result.device == torch.device("cuda", 0)
        assert result.is_cuda
        assert not result.is_cpu


@pytest.mark.gpu
@pytest.mark.parametrize("mistake", MISTAKES)
def test_cuda_finds_the_same_mistakes(mistake: str) -> None:
    with pytest.raises((RuntimeError, TypeError)):
        MISTAKES[mistake]()


@pytest.mark.gpu
@pytest.mark.parametrize("case", ALLOWED)
def test_cuda_allows_the_same(case: str) -> None:
    assert ALLOWED[case]().is_cuda


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize("options", [{}, {"fused": True}])
def test_training_there_gives_the_numbers_of_the_cpu(kind: Any, options: dict[str, bool]) -> None:
    def train(device: str) -> Tensor:
        generator = torch.Generator(device).manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.LayerNorm(4))
        for parameter in model.parameters():
            nn.init.constant_(parameter, 0.3)
        model.to(device)
        optimizer = kind(model.parameters(), lr=0.1, **options)
        for _ in range(3):
            optimizer.zero_grad()
            inputs = torch.randn(5, 3, generator=generator, device=device)
            model(inputs).square().sum().backward()
            optimizer.step()
        assert {parameter.grad.device.type for parameter in model.parameters()} == {device}
        return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).cpu()

    expected = train("cpu")
    with second_device():
        assert torch.equal(train("cuda"), expected)


def test_it_ends_with_its_block() -> None:
    with second_device() as device:
        tensor, view = there(3), there(2, 3)[0]
        assert (tensor + view).is_cuda
        assert float(tensor.sum()) == 3
        assert tensor.cpu().is_cpu
        assert device.waits == {"_local_scalar_dense": 1, "to the CPU": 1}
    assert not tensor.is_cuda
    assert type(torch.Generator()).__module__ == "torch._C"
    assert (tensor + here(3)).sum() == 6
