"""Element-wise functions of two tensors, and their in-place forms: a row each.

Gradients are written as if nothing broadcast; the tape sums each to its input's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, UpdateOp, as_tensor, registry, update
from minidl.device import inline
from minidl.device.dtypes import as_float, is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.compare import eq, gt
from minidl.ops.each import SMALL, each, each_pair
from minidl.ops.elementwise import Binary, binary_function, broadcast, common_dtype, pair, quiet
from minidl.ops.mul_sum import MulSumTo
from minidl.ops.unary import log
from minidl.ops.views import SlicePut

__all__ = [
    "add", "add_", "copy_", "div", "div_", "fill_", "floor_divide", "maximum", "minimum", "mul", "mul_", "pow",
    "remainder", "sub", "sub_", "zero_",
]  # fmt: skip


@inline
def _add(x: Any, y: Any) -> Any:
    return x + y


@inline
def _sub(x: Any, y: Any) -> Any:
    return x - y


@inline
def _mul(x: Any, y: Any) -> Any:
    return x * y


@inline
def _div(x: Any, y: Any) -> Any:
    return x / y


@inline
def _cube(x: Any) -> Any:
    """Of float32 the square is exact in float64, so that the result is rounded once."""
    wide = np.float64(x)
    return wide * wide * wide


@inline
def _larger(x: Any, y: Any) -> Any:
    return x if x > y or x != x else y


@inline
def _smaller(x: Any, y: Any) -> Any:
    return x if x < y or x != x else y


class Add(Binary):
    """input + other."""

    name = "add"
    least = SMALL
    cpu = each_pair(_add)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.add(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return g, g


class Sub(Binary):
    """input - other."""

    name = "sub"
    least = SMALL
    cpu = each_pair(_sub)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.subtract(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return g, -g if node.needs[1] else None


class Mul(Binary):
    """input * other."""

    name = "mul"
    saves = ("x", "y")
    saves_for = {"x": ("y",), "y": ("x",)}  # noqa: RUF012 - never changed
    least = SMALL
    cpu = each_pair(_mul)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.multiply(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return tuple(
            [
                _times(g, other, spec) if needed else None
                for other, spec, needed in zip((y, x), node.specs, node.needs, strict=True)
            ]
        )


def _times(g: Tensor, other: Tensor, spec: Spec) -> Tensor:
    """g * other, in one go summed to what an input was before it was repeated; the tape would do so too."""
    if spec.shape == g.shape or other.shape != g.shape:
        return g * other
    result: Tensor = MulSumTo.apply(g, other, shape=spec.shape)
    return result


class Div(Binary):
    """input / other, in floating point; x / 0 is inf or NaN."""

    name = "div"
    saves = ("x", "y")
    saves_for = {"x": ("y",)}  # noqa: RUF012 - never changed
    least = SMALL
    cpu = each_pair(_div)

    @staticmethod
    def infer(x: Spec, y: Spec) -> Spec:
        return Spec(broadcast("div", x, y), as_float(common_dtype(x, y)))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            xp.divide(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        gx = g / y
        return gx, -gx * (x / y) if node.needs[1] else None


_cubes = each(_cube)


class Pow(Binary):
    """input to the power of other."""

    name = "pow"
    saves = ("x", "y", "out")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            if out.dtype.kind in "iu" and y.dtype.kind == "i":  # 1 / x of whole numbers is 0, but for 1 and -1
                odd = xp.where(y % 2 == 1, x, 1)
                inverse = xp.where(x == 1, 1, xp.where(x == -1, odd, 0))
                out[...] = xp.where(y < 0, inverse, xp.power(x, xp.maximum(y, 0)))
            else:
                xp.power(x, y, out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and not arrays[1].shape

    @staticmethod
    def cpu(out: Array, x: Array, y: Array) -> None:
        """One power of all numbers; of negative ones a whole power takes NumPy 45 ns, but of positive ones 1 ns."""
        power = float(y)
        if power == 3 and x.dtype == np.float32 and x.size >= SMALL:
            _cubes(out, x)
            return
        is_long = power.is_integer() and power not in (-1, 0, 1, 2)
        with quiet():
            np.power(np.abs(x) if is_long else x, y, out=out)
            if is_long and power % 2 == 1:
                np.copysign(out, x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y, out = node.saved
        gx = g * y * x ** (y - 1) if node.needs[0] else None
        # d/dy is out * log(x); at x = 0 the limit is 0, where log alone gives -inf.
        gy = g * out * log(x + eq(x, 0).to(x.dtype)) if node.needs[1] else None
        return gx, gy


class Maximum(Binary):
    """The larger of two elements; a tie shares the gradient evenly, NaN wins."""

    name = "maximum"
    saves = ("x", "y")
    least = SMALL
    cpu = each_pair(_larger)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.maximum(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        share = gt(x, y).to(g.dtype) + eq(x, y).to(g.dtype) * 0.5
        return g * share, g * (1 - share)


class Minimum(Binary):
    """The smaller of two elements; a tie shares the gradient evenly, NaN wins."""

    name = "minimum"
    saves = ("x", "y")
    least = SMALL
    cpu = each_pair(_smaller)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.minimum(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        share = gt(y, x).to(g.dtype) + eq(x, y).to(g.dtype) * 0.5
        return g * share, g * (1 - share)


class FloorDivide(Binary):
    """input / other, rounded down; its gradient is zero."""

    name = "floor_divide"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            xp.floor_divide(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return g * 0, g * 0


class Remainder(Binary):
    """input - other * floor(input / other): the remainder, with the sign of `other`."""

    name = "remainder"
    saves = ("x", "y")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            xp.remainder(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g, -g * floor_divide(x, y) if node.needs[1] else None


mul = binary_function(Mul)
maximum = binary_function(Maximum)
minimum = binary_function(Minimum)
floor_divide = binary_function(FloorDivide)
remainder = binary_function(Remainder)


def add(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input + alpha * other.

    >>> add(Tensor([1.0]), Tensor([2.0]), alpha=10)
    tensor([21.])
    """
    x, y = pair(input, other)
    result: Tensor = Add.apply(x, y if alpha == 1 else y * alpha)
    return result


def sub(input: Any, other: Any, *, alpha: float = 1) -> Tensor:
    """input - alpha * other."""
    x, y = pair(input, other)
    if x.dtype.kind == y.dtype.kind == "b":
        raise DTypeError("sub: bools cannot be subtracted; use logical_xor, or convert them by input.int()")
    result: Tensor = Sub.apply(x, y if alpha == 1 else y * alpha)
    return result


def div(input: Any, other: Any, *, rounding_mode: str | None = None) -> Tensor:
    """input / other, in floating point; x / 0 is inf or NaN.

    Args:
        rounding_mode: None; "floor" rounds down, as `//` does; "trunc" rounds towards zero. Whole numbers then stay so.

    >>> div(Tensor([-7.0]), 2), div(Tensor([-7.0]), 2, rounding_mode="trunc")
    (tensor([-3.5]), tensor([-3.]))
    """
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode == "trunc":
        return registry.call("trunc_divide", input, other)  # type: ignore[no-any-return]
    if rounding_mode is not None:
        raise ArgumentError(f"div: rounding_mode must be None, 'floor' or 'trunc', got {rounding_mode!r}")
    result: Tensor = Div.apply(*pair(input, other))
    return result


def pow(input: Any, exponent: Any) -> Tensor:
    """`input` to the power of `exponent`, element by element.

    >>> pow(Tensor([1.0, 2.0, 3.0]), 2)
    tensor([1., 4., 9.])
    """
    result: Tensor = Pow.apply(*pair(input, exponent))
    return result


class InPlace(UpdateOp):
    """Change the first tensor by the second."""

    @classmethod
    def infer(cls, x: Spec, y: Spec) -> None:
        if broadcast(cls.name, x, y) != x.shape:
            raise ShapeError(
                f"{cls.name}: a tensor of shape {x.shape} cannot take one of shape {y.shape}; it keeps its shape"
            )


class Arithmetic(InPlace):
    """One that computes: the result must be of the kind of the first tensor."""

    @classmethod
    def infer(cls, x: Spec, y: Spec) -> None:
        super().infer(x, y)
        if is_floating(y.dtype) and not is_floating(x.dtype):
            raise DTypeError(f"{cls.name}: a tensor of {x.dtype} cannot hold what {y.dtype} gives; "
                             "convert it first by .float(), or use the op without the underscore")  # fmt: skip


class AddInPlace(Arithmetic):
    name = "add_"

    @staticmethod
    def reference(xp: Any, out: Array, y: Array) -> None:
        xp.add(out, y, out=out, casting="unsafe")


class SubInPlace(Arithmetic):
    name = "sub_"

    @staticmethod
    def reference(xp: Any, out: Array, y: Array) -> None:
        xp.subtract(out, y, out=out, casting="unsafe")


class MulInPlace(Arithmetic):
    name = "mul_"

    @staticmethod
    def reference(xp: Any, out: Array, y: Array) -> None:
        xp.multiply(out, y, out=out, casting="unsafe")


class DivInPlace(Arithmetic):
    name = "div_"

    @staticmethod
    def reference(xp: Any, out: Array, y: Array) -> None:
        with quiet():
            xp.divide(out, y, out=out, casting="unsafe")


class CopyInPlace(InPlace):
    name = "copy_"
    moves = True

    @staticmethod
    def reference(xp: Any, out: Array, y: Array) -> None:
        with quiet():
            out[...] = y


def _in_place(op: type[UpdateOp], meaning: type[Op], input: Tensor, other: Any) -> Tensor:
    return update(op, meaning, (input, as_tensor(other, like=input)))


def _overwritten(input: Tensor, other: Any) -> Tensor:
    return update(CopyInPlace, SlicePut, (input, as_tensor(other, like=input)), meaning_params={"index": ()})


def add_(input: Tensor, other: Any) -> Tensor:
    """input += other, in place."""
    return _in_place(AddInPlace, Add, input, other)


def sub_(input: Tensor, other: Any) -> Tensor:
    """input -= other, in place."""
    return _in_place(SubInPlace, Sub, input, other)


def mul_(input: Tensor, other: Any) -> Tensor:
    """input *= other, in place."""
    return _in_place(MulInPlace, Mul, input, other)


def div_(input: Tensor, other: Any) -> Tensor:
    """input /= other, in place."""
    return _in_place(DivInPlace, Div, input, other)


def copy_(input: Tensor, other: Any) -> Tensor:
    """Overwrite `input` by `other`, which broadcasts to it and is converted to its type."""
    return _overwritten(input, other)


def fill_(input: Tensor, value: float) -> Tensor:
    """Set every element to `value`."""
    return _overwritten(input, value)


def zero_(input: Tensor) -> Tensor:
    """Set every element to zero."""
    return _overwritten(input, 0)
