import torch

from iclgd.vendors.torch import has_onednn, is_lost, multiply_, norms, onednn_linear


def test_torch_is_as_we_take_it() -> None:
    tensors = [torch.tensor([3.0, 4.0]), torch.full((2, 2), 0.5)]
    assert [norm.item() for norm in norms(tensors)] == [5.0, 1.0], "norms of many tensors: gradients are not clipped"
    multiply_(tensors, torch.tensor(0.5))
    halved = [[1.5, 2.0], [[0.25, 0.25], [0.25, 0.25]]]
    assert [tensor.tolist() for tensor in tensors] == halved, "many tensors times one: gradients are not clipped"
    lost = torch.distributed.DistNetworkError("x")
    assert is_lost(lost), "PyTorch has other errors for lost connections: a lost process becomes a stack trace"
    assert not is_lost(RuntimeError("out of memory"))


def test_onednn_is_as_we_take_it() -> None:
    if not has_onednn():  # not in every build of PyTorch: then models' own products are used
        return
    inputs, weight, bias = torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]]), torch.tensor([0.5, 0.0])
    expected = torch.nn.functional.linear(inputs, weight, bias)
    assert torch.equal(onednn_linear(inputs, weight, bias), expected), "oneDNN's linear map: large models are slow"
    assert torch.equal(onednn_linear(inputs, weight.T.contiguous().T, bias), expected), "strides of a weight"
