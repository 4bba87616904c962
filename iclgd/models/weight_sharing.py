"""A model of somebody else's, to do with as one likes: its weights, and nothing else of it."""

import copy
from typing import Any, TypeVar

from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def sharing_weights(model: Module) -> Module:
    """Return a copy of a module, its submodules, hooks and config, whose tensors lie where the module's do.

    Modes, gradient flags, hooks, config values, devices and precisions of the copy can be changed, and its parameters
    be given other tensors: the module does not notice. What is written *into* a tensor both have.

    Args:
        model: any module; it is only read.

    Returns:
        the copy; its parameters want no gradient. Tied ones are tied.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> copied = sharing_weights(model).double().eval()
        >>> model.weight.dtype, model.training, model.weight.requires_grad
        (torch.float32, True, True)
        >>> sharing_weights(model).weight.data_ptr() == model.weight.data_ptr()
        True
    """
    memo: dict[int, Any] = {}  # what deepcopy takes instead of copying
    for module in model.modules():
        for values in (vars(module), module._parameters, module._buffers):
            for value in values.values():
                if isinstance(value, nn.Parameter):
                    memo[id(value)] = _sharing(value)
                elif isinstance(value, Tensor):
                    memo[id(value)] = value.detach()
    return copy.deepcopy(model, memo)


def _sharing(parameter: nn.Parameter) -> Tensor:
    """Return a parameter that lies where another does; those of 8-bit weights are of a class with attributes."""
    shared = nn.Parameter(parameter.detach(), requires_grad=False)
    if type(parameter) is not nn.Parameter:
        shared = shared.as_subclass(type(parameter))
        vars(shared).update(vars(parameter))
    return shared
