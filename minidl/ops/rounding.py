"""Parts of numbers: whole, fractional, sign. Constant or linear between their jumps."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Grads, Node, Tensor, as_tensor
from minidl.device.dtypes import is_floating
from minidl.errors import DTypeError
from minidl.ops.binary import floor_divide
from minidl.ops.compare import eq, lt, ne
from minidl.ops.elementwise import Binary, binary_function, quiet, unary_function
from minidl.ops.unary import Step, sign
from minidl.ops.where import where

__all__ = [
    "copysign", "fix", "fmod", "frac", "gcd", "heaviside", "lcm", "nextafter", "positive", "sgn", "trunc",
    "trunc_divide",
]  # fmt: skip


class Trunc(Step):
    """Each element without what is behind the point; its gradient is zero."""

    name = "trunc"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.trunc(x, out=out, casting="unsafe")


class Fmod(Binary):
    """The remainder of input / other, with the sign of `input`."""

    name = "fmod"
    saves = ("x", "y")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        with quiet():
            xp.fmod(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g, -g * trunc(x / y) if node.needs[1] else None


class Copysign(Binary):
    """The size of `input` with the sign of `other`."""

    name = "copysign"
    saves = ("x", "out")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        out[...] = xp.copysign(x.astype(out.dtype, copy=False), y.astype(out.dtype, copy=False))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g * sign(x) * sign(y), None


class Heaviside(Binary):
    """0 below zero, 1 above, and `other` at zero; no gradient."""

    name = "heaviside"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        out[...] = xp.where(x == 0, y, xp.where(x > 0, 1, 0))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return g * 0, g * 0


class NextAfter(Binary):
    """The floating number next to `input` on the way to `other`."""

    name = "nextafter"
    moves = True  # the next float32 would round back to where it came from
    saves = ("x", "y")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.nextafter(x, y, out=out)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g * ne(x, y), g * eq(x, y)


class Gcd(Binary):
    """The greatest common divisor of whole numbers."""

    name = "gcd"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.gcd(x, y, out=out)


class Lcm(Binary):
    """The least common multiple of whole numbers."""

    name = "lcm"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.lcm(x, y, out=out)


trunc = unary_function(Trunc)
fmod = binary_function(Fmod)
gcd = binary_function(Gcd)
lcm = binary_function(Lcm)
nextafter = binary_function(NextAfter)
heaviside = binary_function(Heaviside)


def copysign(input: Any, other: Any) -> Tensor:
    """The size of `input` with the sign of `other`; integers become floating.

    >>> copysign(Tensor([1.0, 2.0]), Tensor([-3.0, 0.0]))
    tensor([-1.,  2.])
    """
    x = as_tensor(input)
    y = as_tensor(other, like=x)
    if not is_floating(x.dtype) and not is_floating(y.dtype):
        x, y = x.float(), y.float()
    result: Tensor = Copysign.apply(x, y)
    return result


def fix(input: Any) -> Tensor:
    """The same as `trunc`."""
    return trunc(input)


def frac(input: Tensor) -> Tensor:
    """What is behind the point: x - trunc(x).

    >>> frac(Tensor([1.5, -2.25]))
    tensor([ 0.5 , -0.25])
    """
    if not is_floating(input.dtype):
        raise DTypeError(f"frac: input must be floating, got {input.dtype}; whole numbers have no fraction")
    return input - trunc(input)


def sgn(input: Any) -> Tensor:
    """The same as `sign`; PyTorch's extends to complex numbers."""
    return sign(input)


def positive(input: Tensor) -> Tensor:
    """The tensor itself.

    Raises:
        DTypeError: for bools.
    """
    if input.dtype.kind == "b":
        raise DTypeError("positive: bools have no sign; convert them first, as by input.int()")
    return input


def trunc_divide(input: Any, other: Any) -> Tensor:
    """input / other without what is behind the point; whole numbers stay whole, and the gradient is zero."""
    quotient = floor_divide(input, other)
    if is_floating(quotient.dtype):
        return trunc(as_tensor(input) / other)
    off = lt(quotient, 0) * (quotient * other != input)
    return where(off, quotient + 1, quotient)
