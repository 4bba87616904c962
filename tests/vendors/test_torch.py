import torch

from iclgd.vendors.torch import is_lost, multiply_, norms


def test_torch_is_as_we_take_it() -> None:
    tensors = [torch.tensor([3.0, 4.0]), torch.full((2, 2), 0.5)]
    assert [norm.item() for norm in norms(tensors)] == [5.0, 1.0], "norms of many tensors: gradients are not clipped"
    multiply_(tensors, torch.tensor(0.5))
    halved = [[1.5, 2.0], [[0.25, 0.25], [0.25, 0.25]]]
    assert [tensor.tolist() for tensor in tensors] == halved, "many tensors times one: gradients are not clipped"
    lost = torch.distributed.DistNetworkError("x")
    assert is_lost(lost), "PyTorch has other errors for lost connections: a lost process becomes a stack trace"
    assert not is_lost(RuntimeError("out of memory"))
