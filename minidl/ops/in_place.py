"""In-place forms of functions that have no kernel of their own for it: `x.exp_()` computes exp(x) and copies it to x.

They save no memory; they are there because programs use them. Their names are those in `core/tensor.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Tensor, is_recording, registry, update
from minidl.core.tensor import IN_PLACE_METHODS
from minidl.device.dtypes import is_floating
from minidl.errors import DTypeError
from minidl.ops.binary import CopyInPlace
from minidl.ops.unary import clone
from minidl.ops.views import SlicePut

__all__ = [*IN_PLACE_METHODS, "celu_", "elu_", "hardtanh_", "leaky_relu_", "selu_", "threshold_"]


def overwriting(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """What overwrites its first tensor by the second and gives it, as the op `name` in errors."""
    op: type[CopyInPlace] = type(name, (CopyInPlace,), {"name": name})
    return lambda input, value: update(op, SlicePut, (input, value), meaning_params={"index": ()})


def _in_place(name: str) -> Callable[..., Tensor]:
    """The in-place form of the public function `name`."""
    overwrite = overwriting(f"{name}_")

    def function(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        is_needed = is_recording() and (input.grad_fn is not None or input.requires_grad)
        # The step keeps what it needs of a copy: the memory of `input` is about to change.
        result = registry.functions[name](clone(input) if is_needed else input, *args, **kwargs)
        if is_floating(result.dtype) and not is_floating(input.dtype):
            raise DTypeError(f"{name}_: a tensor of {input.dtype} cannot hold what {name} gives, {result.dtype}; "
                             f"convert it first by .float(), or use {name}")  # fmt: skip
        return overwrite(input, result)

    function.__name__ = function.__qualname__ = f"{name}_"
    function.__doc__ = f"`minidl.{name}`, in place: overwrites `input` and returns it."
    return function


globals().update({name: _in_place(name.removesuffix("_")) for name in IN_PLACE_METHODS})

# The others are functions alone, as in PyTorch.
celu_, elu_, hardtanh_ = _in_place("celu"), _in_place("elu"), _in_place("hardtanh")
leaky_relu_, selu_, threshold_ = _in_place("leaky_relu"), _in_place("selu"), _in_place("threshold")
relu_ = globals()["relu_"]  # a method too; named for type checkers
