"""Activations that move numbers towards zero or hold small ones at it: rows as in `activation_rows.py`."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Tensor
from minidl.device import inline
from minidl.device.scalar_math import tanh as tanh_
from minidl.device.scalar_math import typed
from minidl.ops.activation import tanh
from minidl.ops.activation_rows import Bent
from minidl.ops.each import each
from minidl.ops.elementwise import Slope, Unary, quiet
from minidl.ops.unary import abs as abs_
from minidl.ops.unary import sign

__all__: list[str] = []  # the functions are in `activation_family.py`


@inline
def _hardshrink_slope(g: Any, x: Any, lambd: Any) -> Any:
    return typed(0, x) if x >= -lambd and x <= lambd else g


class HardShrinkGrad(Slope):
    """g where x is beyond ±lambd; so for softshrink as well."""

    name = "hardshrink_grad"
    cpu = each(_hardshrink_slope, "lambd")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, lambd: float) -> None:
        level = x.dtype.type(lambd)
        out[...] = xp.where((x >= -level) & (x <= level), g.dtype.type(0), g)


@inline
def _hardshrink(x: Any, lambd: Any) -> Any:
    return typed(0, x) if x >= -lambd and x <= lambd else x


class HardShrink(Bent):
    """x where it is beyond ±lambd, zero between."""

    name = "hardshrink"
    slope = HardShrinkGrad
    cpu = each(_hardshrink, "lambd")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, lambd: float) -> None:
        HardShrinkGrad.reference(xp, out, x, x, lambd=lambd)


@inline
def _softshrink(x: Any, lambd: Any) -> Any:
    between = x * typed(0, x)  # NaN stays
    below = x + lambd if x < -lambd else between
    return x - lambd if x > lambd else below


class SoftShrink(Bent):
    """x moved towards zero by lambd, and zero where it would cross."""

    name = "softshrink"
    slope = HardShrinkGrad
    cpu = each(_softshrink, "lambd")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, lambd: float) -> None:
        level = x.dtype.type(lambd)
        with quiet():
            out[...] = xp.where(x > level, x - level, xp.where(x < -level, x + level, x * 0))


@inline
def _above(g: Any, x: Any, threshold: Any) -> Any:
    return typed(0, x) if x <= threshold else g


class ThresholdGrad(Slope):
    """g where x is above the threshold."""

    name = "threshold_grad"
    cpu = each(_above, "threshold")

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, threshold: float) -> None:
        out[...] = xp.where(x <= x.dtype.type(threshold), g.dtype.type(0), g)


@inline
def _threshold(x: Any, threshold: Any, value: Any) -> Any:
    return value if x <= threshold else x


class Threshold(Unary):
    """x where it is above a threshold, `value` elsewhere."""

    name = "threshold"
    saves = ("x",)
    cpu = each(_threshold, "threshold", "value")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, threshold: float, value: float) -> None:
        level = threshold if x.dtype.kind in "iub" else x.dtype.type(threshold)
        out[...] = xp.where(x <= level, x.dtype.type(value), x)

    @staticmethod
    def vjp(node: Any, g: Tensor) -> Any:
        (x,) = node.saved
        return (ThresholdGrad.apply(g, x.detach(), threshold=node.params["threshold"]),)


@inline
def _softsign_slope(g: Any, x: Any) -> Any:
    below = typed(1, x) + abs(x)
    return g / (below * below)


class SoftSignGrad(Slope):
    name = "softsign_grad"
    cpu = each(_softsign_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        xp.divide(g, xp.square(1 + xp.abs(x)), out=out)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        return -2 * sign(x) / (1 + abs_(x)) ** 3


@inline
def _softsign(x: Any) -> Any:
    return x / (typed(1, x) + abs(x))


class SoftSign(Bent):
    """x / (1 + |x|)."""

    name = "softsign"
    slope = SoftSignGrad
    cpu = each(_softsign)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        with quiet():
            xp.divide(x, 1 + xp.abs(x), out=out)


@inline
def _tanhshrink_slope(g: Any, x: Any) -> Any:
    t = tanh_(x)
    return g * (t * t)


class TanhShrinkGrad(Slope):
    name = "tanhshrink_grad"
    cpu = each(_tanhshrink_slope)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array) -> None:
        xp.multiply(g, xp.square(xp.tanh(x)), out=out)

    @staticmethod
    def bend(x: Tensor) -> Tensor:
        t = tanh(x)
        return 2 * t * (1 - t * t)


@inline
def _tanhshrink(x: Any) -> Any:
    return x - tanh_(x)


class TanhShrink(Bent):
    """x - tanh(x)."""

    name = "tanhshrink"
    slope = TanhShrinkGrad
    cpu = each(_tanhshrink)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        xp.subtract(x, xp.tanh(x), out=out)
