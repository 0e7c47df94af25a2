"""Functions of angles, their inverses and hyperbolic relatives: a row each. Angles are in radians."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minidl.core import Array, Tensor, as_tensor
from minidl.ops.compare import eq
from minidl.ops.elementwise import float_of, smooth, smooth_pair
from minidl.ops.unary import cos, rsqrt, sin, sqrt
from minidl.ops.where import where

__all__ = [
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "deg2rad", "hypot", "rad2deg", "sinc", "sinh",
    "tan",
]  # fmt: skip

tan = smooth("tan", "The tangent of each element.", lambda xp, x: xp.tan(x), slope_of_result=lambda y: 1 + y * y)
asin = smooth("asin", "The angle whose sine each element is; NaN beyond ±1.", lambda xp, x: xp.arcsin(x),
              slope=lambda x: rsqrt(1 - x * x))  # fmt: skip
acos = smooth("acos", "The angle whose cosine each element is; NaN beyond ±1.", lambda xp, x: xp.arccos(x),
              slope=lambda x: -rsqrt(1 - x * x))  # fmt: skip
atan = smooth("atan", "The angle whose tangent each element is.", lambda xp, x: xp.arctan(x),
              slope=lambda x: 1 / (1 + x * x))  # fmt: skip
sinh = smooth("sinh", "The hyperbolic sine of each element.", lambda xp, x: xp.sinh(x), slope=lambda x: cosh(x))
cosh: Callable[[Any], Tensor] = smooth(
    "cosh", "The hyperbolic cosine of each element.", lambda xp, x: xp.cosh(x), slope=lambda x: sinh(x)
)
asinh = smooth("asinh", "The inverse of sinh.", lambda xp, x: xp.arcsinh(x), slope=lambda x: rsqrt(x * x + 1))
acosh = smooth("acosh", "The inverse of cosh; NaN below 1.", lambda xp, x: xp.arccosh(x),
               slope=lambda x: rsqrt(x - 1) * rsqrt(x + 1))  # fmt: skip
atanh = smooth("atanh", "The inverse of tanh; NaN beyond ±1.", lambda xp, x: xp.arctanh(x),
               slope=lambda x: 1 / (1 - x * x))  # fmt: skip

atan2 = smooth_pair(
    "atan2", "The angle of the point (other, input), from -pi to pi.", lambda xp, y, x: xp.arctan2(y, x),
    (lambda y, x: x / (x * x + y * y), lambda y, x: -y / (x * x + y * y)),
)  # fmt: skip
hypot = smooth_pair(
    "hypot", "sqrt(input² + other²), without overflow.", lambda xp, x, y: xp.hypot(x, y),
    (lambda x, y: x / sqrt(x * x + y * y), lambda x, y: y / sqrt(x * x + y * y)),
)  # fmt: skip


def _sinc(xp: Any, x: Array) -> Array:
    safe = xp.where(x == 0, x.dtype.type(1), x) * x.dtype.type(math.pi)
    return xp.where(x == 0, x.dtype.type(1), xp.sin(safe) / safe)


def _sinc_slope(x: Tensor) -> Tensor:
    """(cos(pi x) - sinc(x)) / x; zero at zero."""
    safe = where(eq(x, 0), 1.0, x)
    angle = safe * math.pi
    return where(eq(x, 0), x * (-(math.pi**2) / 3), (cos(angle) - sin(angle) / angle) / safe)


sinc = smooth("sinc", "sin(pi x) / (pi x); 1 at 0.", _sinc, slope=_sinc_slope)


def deg2rad(input: Any) -> Tensor:
    """Degrees as radians.

    >>> deg2rad(Tensor([180.0]))
    tensor([3.1415927])
    """
    return float_of(as_tensor(input)) * (math.pi / 180)


def rad2deg(input: Any) -> Tensor:
    """Radians as degrees."""
    return float_of(as_tensor(input)) * (180 / math.pi)
