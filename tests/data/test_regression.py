import json

import pytest
import torch

from iclgd.data import LinearRegressionTask
from iclgd.data.seeding import named_generator
from tests.fixtures import FOLDER


def test_data_have_the_published_moments() -> None:
    stored = json.loads((FOLDER / "data_statistics.json").read_text())
    task = LinearRegressionTask(num_context=stored["N"], input_dim=stored["d"])
    x, y, query, target = task.sample(stored["n_tasks"], torch.Generator().manual_seed(0))
    norms = torch.linalg.vector_norm(x.flatten(1), dim=1)
    for name, value in {
        "x_std": x.std(),
        "xq_std": query.std(),
        "y_std": y.std(),
        "context_frobenius_norm_mean": norms.mean(),
        "context_frobenius_norm_std": norms.std(),
    }.items():
        assert value.item() == pytest.approx(stored[name], rel=0.03), name
    assert 0.5 * target.square().mean().item() == pytest.approx(stored["half_mean_square_target"], rel=0.06)
    assert abs(x.mean().item()) < 1e-3
    assert 0.4999 < x.abs().max().item() <= stored["x_abs_max"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_are_uniform_over_their_range(dtype: torch.dtype) -> None:
    task = LinearRegressionTask(num_context=50, input_dim=20, input_range=3.0)
    x = task.sample(200, torch.Generator().manual_seed(0), dtype).x.flatten()
    assert x.dtype == dtype
    assert x.min() >= -1.5
    assert x.max() < 1.5
    shares = torch.histc(x.float(), bins=10, min=-1.5, max=1.5) / len(x)
    assert shares.tolist() == pytest.approx([0.1] * 10, abs=0.003)
    assert len(x.unique()) > 0.98 * len(x)  # no coarse grid


def test_targets_are_linear_in_the_inputs() -> None:
    task = LinearRegressionTask(num_context=8, input_dim=3, output_dim=2, weight_scale=2.0)
    x, y, query, target = task.sample(5000, torch.Generator().manual_seed(0), torch.float64)
    weight = torch.linalg.pinv(x) @ y  # (B, D, O)
    torch.testing.assert_close(torch.einsum("bdo,bd->bo", weight, query), target)
    assert weight.std().item() == pytest.approx(2.0, rel=0.03)


@pytest.mark.parametrize("num_noise", [0, 1, 3, 5])
def test_noise_replaces_that_many_targets(num_noise: int) -> None:
    clean = LinearRegressionTask(num_context=5, input_dim=2)
    noisy = LinearRegressionTask(num_context=5, input_dim=2, num_noise=num_noise)
    a, b = (task.sample(4000, torch.Generator().manual_seed(0)) for task in (clean, noisy))
    assert torch.equal(a.x, b.x)
    assert torch.equal(a.target, b.target)
    replaced = (a.y != b.y).squeeze(-1)
    assert (replaced.sum(1) == num_noise).all()
    assert replaced.float().mean(0).tolist() == pytest.approx([num_noise / 5] * 5, abs=0.03)  # any place
    if num_noise:
        assert b.y[replaced].std().item() == pytest.approx(1.0, rel=0.05)


def test_sampling_is_reproducible_and_goes_on() -> None:
    task = LinearRegressionTask(num_noise=2)
    generator = named_generator(0, "training")
    first, second = task.sample(4, generator), task.sample(4, generator)
    again = task.sample(4, named_generator(0, "training"))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.x, second.x)
    other = task.sample(4, named_generator(1, "training"))
    assert not torch.equal(first.x, other.x)


def test_the_task_index_is_contiguous_in_memory() -> None:
    batch = LinearRegressionTask(output_dim=2).sample(6, torch.Generator())
    assert {tensor.stride(0) for tensor in batch} == {1}


def test_shards_are_the_batch() -> None:
    batch = LinearRegressionTask().sample(6, torch.Generator())
    shards = [batch.shard(index, 3) for index in range(3)]
    for whole, parts in zip(batch, zip(*shards, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))
