"""A GPU that is not there: PyTorch's CPU, on which every tensor remembers that it is on ``cuda:0``.

A machine without a GPU cannot run ``tensor.to("cuda")``, and so finds no tensor that was made on the wrong device.
Within :func:`second_device` it can: what is moved to or made on ``cuda`` lives on the CPU, says ``cuda:0`` when asked,
and raises where CUDA would: an operation on tensors of two devices, a CPU generator for a tensor of the GPU, its
``numpy()``. Values are real, so that code which looks at them (masks, ``item()``, sorting) runs as ever.

What CUDA allows is allowed: CPU scalars (tensors without dimensions) in arithmetic, comparisons, ``where``, ``fill_``
and ``masked_fill``; CPU indices into a tensor of the GPU; ``copy_`` and assignment to a part across devices.

There may be several such GPUs, ``cuda:1`` and so on: a tensor of one meets none of another. It knows nothing of
kernels, memory or streams, and a gradient that flows through ``to(device)`` stays
where it is. PyTorch's own Python functions are trusted with the tensors that they make inside.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import lightning.pytorch  # noqa: F401  # what it imports is not to be imported within the block
import pytest
import torch
import torch._dynamo
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
_NOT_KNOWN = torch.device("meta")  # of what a kernel makes for itself: it goes with whatever it meets

# Operations that take a CPU scalar beside tensors of the GPU (allow_cpu_scalars of TensorIterator, and the like).
_TAKE_SCALARS = {
    *("add", "sub", "rsub", "mul", "div", "floor_divide", "remainder", "fmod", "pow", "atan2", "xlogy", "maximum"),
    *("minimum", "fmax", "fmin", "eq", "ne", "lt", "le", "gt", "ge", "logical_and", "logical_or", "logical_xor"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "where", "fill", "masked_fill", "copysign", "hypot"),
}
# Functions that make a tensor where they are told to, or beside the one that they are given.
_MAKE = {
    *("as_tensor", "asarray", "tensor", "arange", "linspace", "full", "__deepcopy__", "new_tensor", "new_zeros"),
    *("new_ones", "new_full", "new_empty", "zeros_like", "ones_like", "full_like", "empty_like", "rand_like"),
    *("randn_like", "randint_like"),
}
_TAKE_INDICES = {"index", "index_put", "_index_put_impl", "_unsafe_index", "_unsafe_index_put"}
_CROSS = {"copy", "_to_copy", "set", "_copy_from"}
_PARSE_TO = torch._C._nn._parse_to
_WAIT = {"_local_scalar_dense", "nonzero", "equal", "masked_select", "is_nonzero"}  # for the GPU to be done


class SecondDeviceError(RuntimeError):
    """What CUDA would refuse."""


class Generator(torch.Generator):
    """A generator of the CPU that may say it is one of the GPU; it draws the CPU's numbers."""

    place: torch.device

    def __new__(cls, device: Any = "cpu") -> "Generator":
        generator = super().__new__(cls, "cpu")
        generator.place = _place(device)
        return generator

    def __init__(self, device: Any = "cpu") -> None:
        super().__init__()

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.place


class SecondDevice(TorchFunctionMode):
    """Answers what Python asks of tensors; operations are looked at by :class:`_Operations`.

    ``waits`` counts, by operation, how often the CPU has waited for the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, tuple[StorageWeakRef, torch.device]] = {}
        self.most = 1000
        self.waits: Counter[str] = Counter()
        self.run_backward = torch.autograd._engine_run_backward
        tensor: Any = Tensor
        self.answers = {
            tensor.device.__get__: lambda place: place,
            tensor.is_cuda.__get__: lambda place: place.type == "cuda",
            tensor.is_cpu.__get__: lambda place: place == CPU,
        }

    def __enter__(self) -> "SecondDevice":
        self.operations = _Operations(self)
        self.operations.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.operations.__exit__(*error)

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """Run a backward pass whose Python functions are looked at too: PyTorch's own call of it hides them."""
        with _Again(self):
            return self.run_backward(*args, **kwargs)

    def place_of(self, tensor: Tensor) -> torch.device:
        """Return where a tensor is; one that was there before is on the CPU."""
        place = self.stored_at(tensor)
        return CPU if place == _NOT_KNOWN else place

    def stored_at(self, tensor: Tensor) -> torch.device:
        """Return the same, or ``_NOT_KNOWN``."""
        known = self.places.get(_address(tensor))
        return CPU if known is None else known[1]

    def put(self, tensor: Tensor, place: torch.device) -> Tensor:
        """Say where a tensor, and all that share its memory, are."""
        address = _address(tensor)
        if place == CPU or not address:
            self.places.pop(address, None)
        elif (known := self.places.get(address)) is not None:
            self.places[address] = (known[0], place)
        else:  # the weak reference keeps the address from being used again
            with torch._C.DisableTorchFunction():
                self.places[address] = (StorageWeakRef(_unwrapped(tensor).untyped_storage()), place)
            if len(self.places) > self.most:
                self.places = {key: known for key, known in self.places.items() if not known[0].expired()}
                self.most = 2 * len(self.places) + 1000
        return tensor

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name == "__get__" and func in self.answers:
            return self.answers[func](self.place_of(args[0]))
        if name in ("numpy", "__array__") and self.place_of(args[0]) != CPU:
            raise TypeError(
                f"can't convert {self.place_of(args[0])} device type tensor to numpy. Use Tensor.cpu() first"
            )
        if name in ("to", "cuda", "cpu", "type_as") and isinstance(args[0], Tensor):
            return self._move(name, *args, **kwargs)
        if name == "__set__" and func == Tensor.grad.__set__ and isinstance(args[1], Tensor):  # type: ignore[attr-defined]
            self._must_agree("grad", [self.place_of(each) for each in args])
        if func is torch.device or (name not in _MAKE and not kwargs and args and isinstance(args[0], Tensor)):
            return func(*args, **kwargs)
        return self._call(func, name, args, kwargs)

    def _call(self, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        wanted = kwargs.pop("device", None)
        tensors = _tensors((args, kwargs))
        if name in ("as_tensor", "asarray", "tensor") and tensors and isinstance(args[0], Tensor):
            wanted = self.place_of(args[0]) if wanted is None else wanted
            args = (args[0].clone() if _place(wanted) != self.place_of(args[0]) else args[0], *args[1:])
        is_new = not tensors or name.startswith("new_") or name in ("arange", "linspace", "full", "tensor")
        target = _place(wanted)
        if wanted is None and tensors and (name.startswith("new_") or name.endswith("_like")):
            target = self.place_of(args[0])
        generator = kwargs.get("generator")
        if generator is not None:
            place = target if is_new and "out" not in kwargs else self.place_of(tensors[0])
            if generator.device != place:
                raise SecondDeviceError(f"{name}: expected a {place} generator, but found a {generator.device} one")
        result = func(*args, **kwargs)
        if name == "__deepcopy__":
            self.put(result, self.place_of(args[0]))
        elif "out" not in kwargs and (is_new or wanted is not None):
            for made in _tensors(result):
                self.put(made, target)
        return result

    def _move(self, name: str, tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Do ``to``, ``cuda``, ``cpu`` or ``type_as``: the same tensor if nothing changes, else a copy."""
        here = there = self.place_of(tensor)
        dtype, copy = None, kwargs.pop("copy", False)
        if name in ("cuda", "cpu"):
            there = GPU if name == "cuda" else CPU
        else:
            device, dtype, _, _ = self.parse_to(*args, **kwargs)
            there = here if device is None else _place(device)
        if here != there and tensor.requires_grad and torch.is_grad_enabled():
            moved = _Moved.apply(tensor, self, dtype or tensor.dtype)
        else:
            moved = tensor.to(dtype or tensor.dtype, copy=copy or here != there)
        if here != there:
            self.put(moved, there)
            if there == CPU:
                self.waits["to the CPU"] += 1
        return moved

    def parse_to(self, *args: Any, **kwargs: Any) -> Any:
        """Read the arguments of ``to``, of tensors and modules; one of them may be a tensor to be like."""
        other = kwargs.get("other", args[0] if args else None)
        parsed = _PARSE_TO(*args, **kwargs)
        return (self.place_of(other), *parsed[1:]) if isinstance(other, Tensor) else parsed

    def _must_agree(self, name: str, places: list[torch.device]) -> None:
        known = dict.fromkeys(place for place in places if place != _NOT_KNOWN)
        if len(known) > 1:
            found = " and ".join(map(str, known))
            raise SecondDeviceError(f"{name}: expected all tensors to be on the same device, but found {found}")

    def check(self, func: Any, args: Any, tensors: list[Tensor]) -> torch.device:
        """Refuse tensors of two devices; return where the results are.

        Raises:
            SecondDeviceError: as CUDA would.
        """
        name = func._schema.name.removeprefix("aten::").removesuffix("_")
        places = [self.stored_at(tensor) for tensor in tensors]
        gpus = [place for place in places if place.type == "cuda"]
        if gpus and (name in _WAIT or (name == "copy" and places[0] == CPU)):
            self.waits[name] += 1
        if gpus and len({*places} - {_NOT_KNOWN}) > 1 and name not in _CROSS:
            counted = list(zip(tensors, places, strict=True))
            if name in _TAKE_SCALARS:
                counted = [pair for pair in counted if pair[0].dim() > 0 or pair[1] != CPU]
            if name in _TAKE_INDICES and places[0] in gpus:
                values = args[2:3]  # of index_put
                are_values = [any(tensor is value for value in values) and tensor.dim() > 0 for tensor, _ in counted]
                counted = [
                    pair for pair, is_value in zip(counted, are_values, strict=True) if is_value or pair[1] != CPU
                ]
            self._must_agree(name, [place for _, place in counted])
            if func._schema.is_mutable and places[0] == CPU:  # a scalar of the CPU cannot take the result
                self._must_agree(name, places)
        if func._schema.is_mutable and places and places[0] == _NOT_KNOWN and gpus:
            self.put(tensors[0], gpus[0])
        if gpus:
            return gpus[0]
        return _NOT_KNOWN if all(place == _NOT_KNOWN for place in places) else CPU


class _Moved(torch.autograd.Function):
    """A copy for the other device, whose gradient comes back."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, owner: SecondDevice, dtype: torch.dtype) -> Tensor:
        context.owner, context.place, context.dtype = owner, owner.place_of(tensor), tensor.dtype
        return tensor.to(dtype, copy=True)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return context.owner.put(gradient.to(context.dtype, copy=True), context.place), None, None


class _Again(TorchFunctionMode):
    """Asks a mode that PyTorch has set aside."""

    def __init__(self, owner: SecondDevice) -> None:
        super().__init__()
        self.owner = owner

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.owner.__torch_function__(func, types, args, kwargs)


class _Operations(TorchDispatchMode):
    """Looks at the tensors of every operation, those of backward passes included."""

    def __init__(self, owner: SecondDevice) -> None:
        super().__init__()
        self.owner = owner

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = _tensors((args, kwargs))
        place = self.owner.check(func, args, tensors)
        before = {_address(each) for each in tensors}
        result = func(*args, **kwargs)
        for made in [] if func._schema.name == "aten::set_" else _tensors(result):  # it takes what is there already
            if _address(made) not in before:
                self.owner.put(made, place)
        return result


@contextlib.contextmanager
def second_device(device: SecondDevice | None = None, num_gpus: int = 1) -> Iterator[SecondDevice]:
    """Make PyTorch believe in a GPU, or several, within the block, Lightning's accelerator for it included."""
    device = device or SecondDevice()
    with pytest.MonkeyPatch.context() as patch, device:
        patch.setattr(torch, "Generator", Generator)
        patch.setattr(torch.autograd, "_engine_run_backward", device.backward)
        patch.setattr(torch._C._nn, "_parse_to", device.parse_to)
        patch.setattr(torch, "autocast", _autocast)
        for name, answer in (
            ("is_available", True),
            ("device_count", num_gpus),
            ("current_device", 0),
            ("get_device_name", "a simulated GPU"),
            ("get_device_capability", (9, 0)),
            ("get_device_properties", SimpleNamespace(total_memory=2**34)),
            ("max_memory_allocated", 1234),
            ("set_device", None),
            ("synchronize", None),
            ("empty_cache", None),
        ):
            patch.setattr(torch.cuda, name, lambda *_args, answer=answer, **_kwargs: answer)
        patch.setattr("lightning.fabric.accelerators.cuda.num_cuda_devices", lambda: num_gpus)
        patch.setattr("lightning.fabric.accelerators.cuda.is_cuda_available", lambda: True, raising=False)
        yield device


def _autocast(device_type: str, *args: Any, **kwargs: Any) -> torch.autocast:
    return torch.amp.autocast("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _place(device: Any) -> torch.device:
    kind = torch.device("cpu" if device is None else device)
    return torch.device("cuda", kind.index or 0) if kind.type == "cuda" else kind


def _unwrapped(tensor: Tensor) -> Tensor:
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return tensor


def _address(tensor: Tensor) -> int:
    """Return where a tensor's memory is; 0 for what has none."""
    try:
        return torch._C._storage_id(tensor)  # type: ignore[attr-defined,no-any-return]
    except NotImplementedError:
        unwrapped = _unwrapped(tensor)
        return 0 if unwrapped is tensor else _address(unwrapped)


def _tensors(values: Any) -> list[Tensor]:
    """Return the tensors in nested lists, tuples and dictionaries."""
    found: list[Tensor] = []
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            waiting.extend(reversed(value))
        elif isinstance(value, dict):
            waiting.extend(reversed(value.values()))
    return found
