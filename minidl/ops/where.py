"""where and masked_fill: a choice between two numbers at each place.

One pass over memory: a byte of the condition and both numbers are read at each place, and one is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor
from minidl.device import kernel, parallel
from minidl.errors import DTypeError, ShapeError
from minidl.ops.elementwise import common_dtype

__all__ = ["masked_fill", "where"]


class Where(Op):
    """x where the condition holds, y elsewhere."""

    name = "where"
    saves = ("condition",)
    elementwise = True

    @staticmethod
    def infer(condition: Spec, x: Spec, y: Spec) -> Spec:
        if condition.dtype.kind != "b":
            raise DTypeError(f"where: condition must be bool, got {condition.dtype}; compare it with something first")
        try:
            shape = np.broadcast_shapes(condition.shape, x.shape, y.shape)
        except ValueError:
            shapes = f"{condition.shape}, {x.shape} and {y.shape}"
            raise ShapeError(f"where: shapes {shapes} do not broadcast") from None
        return Spec(shape, common_dtype(x, y))

    @staticmethod
    def reference(xp: Any, out: Array, condition: Array, x: Array, y: Array) -> None:
        out[...] = xp.where(condition, x, y)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (condition,) = node.saved
        _, of_x, of_y = node.needs
        return None, where(condition, g, 0.0) if of_x else None, where(condition, 0.0, g) if of_y else None

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        condition, x, y = arrays
        whole = all(a.shape in (condition.shape, ()) for a in (x, y)) and max(x.ndim, y.ndim) == condition.ndim
        return whole and condition.size > 0 and x.dtype == y.dtype and x.dtype in (np.float32, np.float64)

    @staticmethod
    def cpu(out: Array, condition: Array, x: Array, y: Array) -> None:
        run = _either if x.ndim == y.ndim else _or_number if x.ndim else _number_or
        parallel(run, out.size, *[a.reshape(-1) for a in (out, condition.view(np.uint8), x, y)])


@kernel("T[::1], const uint8[::1], const T[::1], const T[::1]", T=("float32", "float64"))
def _either(begin: int, end: int, out: Array, condition: Array, x: Array, y: Array) -> None:
    for i in range(begin, end):
        a, b = x[i], y[i]  # both are read: a vector knows no branch
        out[i] = a if condition[i] != 0 else b


@kernel("T[::1], const uint8[::1], const T[::1], const T[::1]", T=("float32", "float64"))
def _or_number(begin: int, end: int, out: Array, condition: Array, x: Array, number: Array) -> None:
    other = number[0]
    for i in range(begin, end):
        a = x[i]
        out[i] = a if condition[i] != 0 else other


@kernel("T[::1], const uint8[::1], const T[::1], const T[::1]", T=("float32", "float64"))
def _number_or(begin: int, end: int, out: Array, condition: Array, number: Array, y: Array) -> None:
    one = number[0]
    for i in range(begin, end):
        b = y[i]
        out[i] = one if condition[i] != 0 else b


def where(condition: Tensor, input: Any, other: Any) -> Tensor:
    """`input` where `condition` holds, `other` elsewhere; all three broadcast.

    >>> where(Tensor([1.0, -1.0]) > 0, 5.0, Tensor([1.0, 2.0]))
    tensor([5., 2.])
    """
    like = input if isinstance(input, Tensor) else other if isinstance(other, Tensor) else None
    result: Tensor = Where.apply(condition, as_tensor(input, like=like), as_tensor(other, like=like))
    return result


def masked_fill(input: Tensor, mask: Tensor, value: Any) -> Tensor:
    """`input` with `value`, a number or a tensor of one, where `mask` is true; the element type stays."""
    if isinstance(value, Tensor) and value.ndim:
        raise ShapeError(f"masked_fill: value must be one number, got a tensor of shape {value.shape}")
    if not isinstance(value, Tensor):
        value = Tensor.of(input.device.xp.asarray(value, input.dtype))
    return where(mask, value, input)
