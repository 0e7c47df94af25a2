"""Element-wise functions of one tensor: a row each."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Tensor, as_tensor, registry
from minidl.device import inline, scalar_math
from minidl.device.dtypes import DEFAULT_FLOAT, DEFAULT_INT, is_floating
from minidl.device.scalar_math import typed
from minidl.device.turn import copy_into
from minidl.errors import ArgumentError
from minidl.ops.each import SMALL, each
from minidl.ops.elementwise import FloatUnary, Slope, Unary, quiet, unary_function

__all__ = [
    "abs", "ceil", "clamp", "clone", "cos", "exp", "expm1", "floor", "log", "log1p", "neg",
    "reciprocal", "round", "rsqrt", "sign", "sin", "sqrt", "square",
]  # fmt: skip

# `reference` and `vjp` are the whole of a row; its docstring becomes that of the public function. Where a compiled loop
# is faster than NumPy, `cpu` has the formula for one number.


@inline
def _abs(x: Any) -> Any:
    return np.abs(x)


@inline
def _neg(x: Any) -> Any:
    return -x


@inline
def _sqrt(x: Any) -> Any:
    return np.sqrt(x)


@inline
def _rsqrt(x: Any) -> Any:
    return typed(1, x) / np.sqrt(x)


@inline
def _square(x: Any) -> Any:
    return x * x


@inline
def _reciprocal(x: Any) -> Any:
    return typed(1, x) / x


class Abs(Unary):
    """The absolute value of each element."""

    name = "abs"
    saves = ("x",)
    least = SMALL
    cpu = each(_abs)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.abs(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * sign(x),)


class Neg(Unary):
    """The negative of each element."""

    name = "neg"
    least = SMALL
    cpu = each(_neg)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.negative(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (-g,)


class Exp(FloatUnary):
    """e to the power of each element."""

    name = "exp"
    saves = ("out",)
    cpu = each(scalar_math.exp)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.exp(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g * y,)


class Expm1(FloatUnary):
    """exp(x) - 1, exact near zero."""

    name = "expm1"
    saves = ("out",)
    cpu = each(scalar_math.expm1)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.expm1(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g * (y + 1),)


class Log(FloatUnary):
    """The natural logarithm of each element; -inf at 0, NaN below."""

    name = "log"
    saves = ("x",)
    cpu = each(scalar_math.log)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.log(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g / x,)


class Log1p(FloatUnary):
    """log(1 + x), exact near zero."""

    name = "log1p"
    saves = ("x",)
    cpu = each(scalar_math.log1p)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.log1p(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g / (x + 1),)


class Sqrt(FloatUnary):
    """The square root of each element; NaN below 0."""

    name = "sqrt"
    saves = ("out",)
    least = SMALL
    cpu = each(_sqrt)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.sqrt(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g / (y * 2),)


class Rsqrt(FloatUnary):
    """1 / sqrt(x)."""

    name = "rsqrt"
    saves = ("out",)
    least = SMALL
    cpu = each(_rsqrt)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.sqrt(x, out=out)
            xp.divide(1, out, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g * (y * y * y) * -0.5,)


class Square(Unary):
    """x * x."""

    name = "square"
    saves = ("x",)
    least = SMALL
    cpu = each(_square)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.multiply(x, x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * x * 2,)


class Reciprocal(FloatUnary):
    """1 / x."""

    name = "reciprocal"
    saves = ("out",)
    least = SMALL
    cpu = each(_reciprocal)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.divide(1, x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (-g * y * y,)


class Sin(FloatUnary):
    """The sine of each element, in radians."""

    name = "sin"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.sin(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * cos(x),)


class Cos(FloatUnary):
    """The cosine of each element, in radians."""

    name = "cos"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.cos(x, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (-g * sin(x),)


class Step(Unary):
    """Functions that are constant between their jumps: their gradient is zero."""

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (g * 0,)


class Sign(Step):
    """-1, 0 or 1, as the sign of each element; its gradient is zero."""

    name = "sign"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        if x.dtype.kind == "b":
            out[...] = x
        else:
            xp.sign(x, out=out)


class Floor(Step):
    """The largest integer not above each element; its gradient is zero."""

    name = "floor"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.floor(x, out=out, casting="unsafe")


class Ceil(Step):
    """The smallest integer not below each element; its gradient is zero."""

    name = "ceil"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.ceil(x, out=out, casting="unsafe")


class Round(Step):
    """The nearest integer, halves to the even one; its gradient is zero."""

    name = "round"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.rint(x, out=out, casting="unsafe")


class Clone(Unary):
    """A copy of each element, in memory of its own."""

    name = "clone"
    moves = True
    strided = True
    least = SMALL
    cpu = staticmethod(copy_into)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = x

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (g,)


@inline
def _clamp(x: Any, low: Any, high: Any) -> Any:
    x = low if x < low else x
    return high if x > high else x


class Clamp(Unary):
    """Each element, moved into a range."""

    name = "clamp"
    saves = ("x",)
    least = SMALL
    _loop = staticmethod(each(_clamp, "low", "high"))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, min: float | None, max: float | None) -> None:
        xp.clip(x, min, max, out=out)

    @classmethod
    def cpu(cls, out: Array, x: Array, *, min: float | None, max: float | None) -> None:
        cls._loop(out, x, **_bounds(min, max))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (ClampGrad.apply(g, x.detach(), **_bounds(**node.params)),)


@inline
def _clamp_slope(g: Any, x: Any, low: Any, high: Any) -> Any:
    g = g if x >= low else typed(0, g)
    return g if x <= high else typed(0, g)


class ClampGrad(Slope):
    """g where x was in the range, its ends included; zero elsewhere."""

    name = "clamp_grad"
    least = SMALL
    cpu = each(_clamp_slope, "low", "high")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, low: float, high: float) -> None:
        xp.multiply(g, (x >= low) & (x <= high), out=out)


def _bounds(min: float | None, max: float | None) -> dict[str, float]:
    return {"low": -math.inf if min is None else float(min), "high": math.inf if max is None else float(max)}


abs = unary_function(Abs)
neg = unary_function(Neg)
exp = unary_function(Exp)
expm1 = unary_function(Expm1)
log = unary_function(Log)
log1p = unary_function(Log1p)
sqrt = unary_function(Sqrt)
rsqrt = unary_function(Rsqrt)
reciprocal = unary_function(Reciprocal)
sin = unary_function(Sin)
cos = unary_function(Cos)
sign = unary_function(Sign)
floor = unary_function(Floor)
ceil = unary_function(Ceil)
clone = unary_function(Clone)


def round(input: Any, *, decimals: int = 0) -> Tensor:
    """The nearest number with so many `decimals`, halves to the even one; its gradient is zero.

    >>> round(Tensor([2.5, 1.26])), round(Tensor([1.26]), decimals=1)
    (tensor([2., 1.]), tensor([1.3]))
    """
    x = as_tensor(input)
    result: Tensor = Round.apply(x * 10.0**decimals if decimals else x)
    return result / 10.0**decimals if decimals else result


def square(input: Any) -> Tensor:
    """x * x; of bools as whole numbers."""
    x = as_tensor(input)
    result: Tensor = Square.apply(x.to(DEFAULT_INT) if x.dtype.kind == "b" else x)
    return result


def clamp(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """Each element moved to the nearest value between `min` and `max`; None leaves that side open.

    Args:
        min, max: numbers, or tensors that broadcast with `input`; `max` wins where it is below `min`.

    Raises:
        ArgumentError: if both are None.

    >>> clamp(Tensor([-2.0, 0.5, 3.0]), min=0, max=1)
    tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ArgumentError("clamp: needs min, max or both; got neither")
    x = as_tensor(input)
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        if min is not None:
            x = registry.call("where", x < min, min, x)
        return x if max is None else registry.call("where", x > max, max, x)
    if not is_floating(x.dtype) and (isinstance(min, float) or isinstance(max, float)):
        x = x.to(DEFAULT_FLOAT)
    result: Tensor = Clamp.apply(x, min=min, max=max)
    return result
