"""The same numbers, lying differently in memory, must give the same results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Tensor
from minidl.device import use_numba
from minidl.errors import KernelError, MinidlError
from minidl.testing.outcome import outcome, require_close

__all__ = ["LAYOUTS", "check_empty", "check_layouts"]

Function = Callable[..., Any]


def _channels_last(array: Array) -> Array:
    return np.moveaxis(np.moveaxis(array, 1, -1).copy(order="C"), -1, 1) if array.ndim > 2 else array


def _every_second(array: Array) -> Array:
    every = tuple(slice(None, None, 2) for _ in array.shape)
    wide = np.zeros([2 * n for n in array.shape], array.dtype)
    wide[every] = array
    return wide[every]


def _one_further(array: Array) -> Array:
    line = np.zeros(array.size + 1, array.dtype)
    line[1:] = array.reshape(-1)
    return line[1:].reshape(array.shape)


# Ways for the same numbers to lie in memory.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "transposed memory": lambda array: array.copy(order="F"),
    "channels last": _channels_last,
    "negative strides": lambda array: np.flip(np.flip(array).copy()),
    "every second number": _every_second,
    "an unaligned start": _one_further,
}


def check_layouts(function: Function, *inputs: Tensor, rtol: float = 1e-12) -> None:
    """Results and gradients for every layout of the inputs equal those for contiguous ones.

    Layouts are those of `LAYOUTS`, and inputs expanded along each dimension, whose strides are zero. Sums may round in
    another order, so the bound is `rtol` of the largest value (for float64).

    Raises:
        KernelError: naming the layout, the result and the place.
    """
    right = outcome(function, [Tensor.of(x.array.copy(order="C")) for x in inputs])
    for name, lay in LAYOUTS.items():
        given = outcome(function, [Tensor.of(lay(x.array)) for x in inputs])
        require_close(right, given, f"is another for inputs with {name}", rtol)
    for axis in range(max((x.ndim for x in inputs), default=0)):
        expanded = [_expanded(x.array, axis) for x in inputs]
        try:
            copied = outcome(function, [Tensor.of(a.copy()) for a in expanded])
        except MinidlError:  # equal rows make a matrix singular
            continue
        given = outcome(function, [Tensor.of(a) for a in expanded])
        require_close(copied, given, f"is another for inputs expanded along dimension {axis}", rtol)


def _expanded(array: Array, axis: int) -> Array:
    """The first slice along `axis`, repeated by a stride of zero."""
    if axis >= array.ndim or array.dtype.kind == "i":  # equal indices may be refused, or ambiguous
        return array
    return np.broadcast_to(array.take([0], axis), array.shape)


def check_empty(function: Function, *inputs: Tensor, axes: Sequence[int] = (0, -1)) -> None:
    """Inputs of size 0 give empty or neutral results of the right type, or one of minidl's own errors.

    Each dimension in `axes` of the first input is made empty, with the same dimension of all inputs as long as it.

    Raises:
        KernelError: naming the dimension and the other error that was raised.
    """
    if not inputs or not inputs[0].ndim:
        return
    for axis in axes:
        length = inputs[0].shape[axis]
        cut = [_emptied(x, axis, length) for x in inputs]
        try:
            given = outcome(function, cut)
        except MinidlError:
            continue
        except Exception as error:
            raise KernelError(
                f"with dimension {axis} of size 0 it raises {type(error).__name__}: {error}; give an empty or neutral "
                "result, or an error that says what is needed"
            ) from error
        with use_numba(False):
            require_close(outcome(function, cut), given, "of size 0 is not the reference's", 1e-12)


def _emptied(x: Tensor, axis: int, length: int) -> Tensor:
    if -x.ndim <= axis < x.ndim and x.shape[axis] == length:
        return Tensor.of(x.array.take([], axis))
    return x
