"""More activations in one pass each way: rows as in `activation.py`, for public functions with further arguments."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Grads, Node, Tensor
from minidl.device import inline
from minidl.device.scalar_math import exp as exp_
from minidl.device.scalar_math import expm1 as expm1_
from minidl.device.scalar_math import log1p as log1p_
from minidl.device.scalar_math import sigmoid as sigmoid_
from minidl.device.scalar_math import typed
from minidl.ops.activation import sigmoid
from minidl.ops.activation_gpu import activated, held_back
from minidl.ops.compare import gt, le, lt
from minidl.ops.each import each
from minidl.ops.elementwise import FloatUnary, Slope, quiet
from minidl.ops.unary import clamp, exp

__all__: list[str] = []  # the functions are in `activation_family.py`


class Bent(FloatUnary):
    """A row whose slope is a row of its own, made from the input."""

    saves = ("x",)
    slope: type[Slope]

    @classmethod
    def vjp(cls, node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (cls.slope.apply(g, x, **node.params),)


@inline
def _hardsigmoid_slope(g: Any, x: Any) -> Any:
    return g / typed(6, x) if x > typed(-3, x) and x < typed(3, x) else g * typed(0, x)


class HardSigmoidGrad(Slope):
    name = "hardsigmoid_grad"
    cpu = each(_hardsigmoid_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        with quiet():
            out[...] = xp.where((x > -3) & (x < 3), g / g.dtype.type(6), g * 0)


@inline
def _hardsigmoid(x: Any) -> Any:
    share = x / typed(6, x) + typed(0.5, x)
    share = typed(0, x) if x <= typed(-3, x) else share
    return typed(1, x) if x >= typed(3, x) else share


class HardSigmoid(Bent):
    """x / 6 + 1/2, held between 0 and 1."""

    name = "hardsigmoid"
    slope = HardSigmoidGrad
    cpu = each(_hardsigmoid)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = xp.clip(x / x.dtype.type(6) + x.dtype.type(0.5), 0, 1)


@inline
def _hardswish_slope(g: Any, x: Any) -> Any:
    inside = g * (x / typed(3, x) + typed(0.5, x))
    inside = g * typed(0, x) if x <= typed(-3, x) else inside
    return g if x >= typed(3, x) else inside


class HardSwishGrad(Slope):
    name = "hardswish_grad"
    cpu = each(_hardswish_slope)
    cuda = held_back("hardswish")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        with quiet():
            inside = xp.where(x <= -3, g * 0, g * (x / x.dtype.type(3) + x.dtype.type(0.5)))
        out[...] = xp.where(x >= 3, g, inside)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        return (gt(x, -3) * lt(x, 3)).to(x.dtype) / 3


@inline
def _hardswish(x: Any) -> Any:
    above = x + typed(3, x)
    above = above if above > typed(0, x) else typed(0, x)
    return x if x >= typed(3, x) else x * above / typed(6, x)


class HardSwish(Bent):
    """x * hardsigmoid(x)."""

    name = "hardswish"
    slope = HardSwishGrad
    cpu = each(_hardswish)
    cuda = activated("hardswish")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            out[...] = xp.where(x >= 3, x, x * xp.maximum(x + 3, 0) / x.dtype.type(6))


@inline
def _celu_slope(g: Any, x: Any, alpha: Any) -> Any:
    return g if x > typed(0, x) else g * exp_(x / alpha)


class CeluGrad(Slope):
    name = "celu_grad"
    cpu = each(_celu_slope, "alpha")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, alpha: float) -> None:
        with quiet():
            out[...] = xp.where(x > 0, g, g * xp.exp(x / x.dtype.type(alpha)))

    @staticmethod
    def bend(x: Tensor, alpha: float) -> Tensor:
        return exp(clamp(x, max=0.0) / alpha) / alpha * le(x, 0).to(x.dtype)


@inline
def _celu(x: Any, alpha: Any) -> Any:
    return x if x > typed(0, x) else alpha * expm1_(x / alpha)


class Celu(Bent):
    """x above zero, alpha * (exp(x / alpha) - 1) below."""

    name = "celu"
    slope = CeluGrad
    cpu = each(_celu, "alpha")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, alpha: float) -> None:
        level = x.dtype.type(alpha)
        with quiet():
            out[...] = xp.where(x > 0, x, level * xp.expm1(x / level))


@inline
def _logsigmoid_slope(g: Any, x: Any) -> Any:
    return g * sigmoid_(-x)


class LogSigmoidGrad(Slope):
    name = "logsigmoid_grad"
    cpu = each(_logsigmoid_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        e = xp.exp(-xp.abs(x))
        out[...] = g * (xp.where(x >= 0, e, 1) / (1 + e))

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        s = sigmoid(x)
        return s * s - s


@inline
def _logsigmoid(x: Any) -> Any:
    below = x if x < typed(0, x) else typed(0, x)
    return below - log1p_(exp_(-abs(x)))  # NaN comes by the second way


class LogSigmoid(Bent):
    """log(sigmoid(x)), exact where sigmoid would round to zero."""

    name = "logsigmoid"
    slope = LogSigmoidGrad
    cpu = each(_logsigmoid)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.abs(x)))


@inline
def _mish_slope(g: Any, x: Any) -> Any:
    one, two, most = typed(1, x), typed(2, x), typed(20, x)
    held = most if x > most else x
    e = exp_(held)
    n = e * (e + two)
    below = n + two
    return g * (n / below + held * (typed(4, x) * e / below) * ((e + one) / below))


class MishGrad(Slope):
    name = "mish_grad"
    cpu = each(_mish_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        held = xp.minimum(x, x.dtype.type(20))
        e = xp.exp(held)
        below = e * (e + 2) + 2
        with quiet():
            out[...] = g * (e * (e + 2) / below + held * (4 * e / below) * ((e + 1) / below))

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        s = sigmoid(x)
        e = exp(clamp(x, max=20.0))
        t = e * (e + 2) / (e * (e + 2) + 2)
        return (1 - t * t) * s * (2 + x * (1 - s - 2 * t * s))


@inline
def _mish(x: Any) -> Any:
    two, most = typed(2, x), typed(20, x)
    e = exp_(most if x > most else x)
    n = e * (e + two)
    return x * (n / (n + two))


class Mish(Bent):
    """x * tanh(log(1 + exp(x))), and that tanh is n / (n + 2) with n = exp(x) * (exp(x) + 2): 1 from x = 20 on."""

    name = "mish"
    slope = MishGrad
    cpu = each(_mish)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        e = xp.exp(xp.minimum(x, x.dtype.type(20)))
        n = e * (e + 2)
        with quiet():
            out[...] = x * (n / (n + 2))


# Source: Klambauer et al., NeurIPS 2017, equation 14.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848, 1.0507009873554804934
_BOTH = SELU_ALPHA * SELU_SCALE


@inline
def _selu_slope(g: Any, x: Any) -> Any:
    return g * typed(SELU_SCALE, x) if x > typed(0, x) else g * (typed(_BOTH, x) * exp_(x))


class SeluGrad(Slope):
    name = "selu_grad"
    cpu = each(_selu_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        scale, both = x.dtype.type(SELU_SCALE), x.dtype.type(_BOTH)
        xp.multiply(g, xp.where(x > 0, scale, both * xp.exp(xp.minimum(x, 0))), out=out)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        return exp(clamp(x, max=0.0)) * _BOTH * le(x, 0).to(x.dtype)


@inline
def _selu(x: Any) -> Any:
    return typed(SELU_SCALE, x) * x if x > typed(0, x) else typed(_BOTH, x) * expm1_(x)


class Selu(Bent):
    """scale * x above zero, scale * alpha * (exp(x) - 1) below."""

    name = "selu"
    slope = SeluGrad
    cpu = each(_selu)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        scale, both = x.dtype.type(SELU_SCALE), x.dtype.type(_BOTH)
        out[...] = xp.where(x > 0, scale * x, both * xp.expm1(xp.minimum(x, 0)))
