"""Logarithms and powers to other bases, and sums and products that hold them: a row each."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Array, Tensor, as_tensor
from minidl.device.dtypes import float64
from minidl.ops.activation import sigmoid
from minidl.ops.binary import pow as pow_
from minidl.ops.compare import eq, isnan
from minidl.ops.elementwise import float_of, pair, smooth, smooth_pair
from minidl.ops.unary import clamp, log, log1p
from minidl.ops.where import where

__all__ = ["exp2", "float_power", "ldexp", "log2", "log10", "logaddexp", "logaddexp2", "logit", "xlog1py", "xlogy"]

log2 = smooth("log2", "The logarithm to base 2; -inf at 0, NaN below.", lambda xp, x: xp.log2(x),
              slope=lambda x: 1 / (x * math.log(2)))  # fmt: skip
log10 = smooth("log10", "The logarithm to base 10; -inf at 0, NaN below.", lambda xp, x: xp.log10(x),
               slope=lambda x: 1 / (x * math.log(10)))  # fmt: skip
exp2 = smooth("exp2", "2 to the power of each element.", lambda xp, x: xp.exp2(x),
              slope_of_result=lambda y: y * math.log(2))  # fmt: skip
logaddexp = smooth_pair(
    "logaddexp", "log(exp(input) + exp(other)), without overflow.", lambda xp, x, y: xp.logaddexp(x, y),
    (lambda x, y: _share(x, y), lambda x, y: _share(y, x)),
)  # fmt: skip
logaddexp2 = smooth_pair(
    "logaddexp2", "log2(2^input + 2^other), without overflow.", lambda xp, x, y: xp.logaddexp2(x, y),
    (lambda x, y: _share(x * math.log(2), y * math.log(2)), lambda x, y: _share(y * math.log(2), x * math.log(2))),
)  # fmt: skip


def _share(x: Tensor, y: Tensor) -> Tensor:
    """exp(x) / (exp(x) + exp(y)); a half where both are the same infinity."""
    same = eq(x, y)  # the difference of equal infinities is NaN
    return sigmoid(where(same, 0.0, x) - where(same, 0.0, y))


def _times_log(log_of: str) -> Any:
    def formula(xp: Any, x: Array, y: Array) -> Array:
        product = x * getattr(xp, log_of)(y)
        return xp.where((x == 0) & ~xp.isnan(y), x.dtype.type(0), product)

    return formula


xlogy = smooth_pair(
    "xlogy", "input * log(other); 0 where input is 0.", _times_log("log"),
    (lambda x, y: where(eq(x, 0) * ~isnan(y), log(where(eq(x, 0), 1.0, y)), log(y)), lambda x, y: x / y),
)  # fmt: skip
xlog1py = smooth_pair(
    "xlog1py", "input * log(1 + other); 0 where input is 0.", _times_log("log1p"),
    (lambda x, y: where(eq(x, 0), 0.0, log1p(y)), lambda x, y: x / (y + 1)),
)  # fmt: skip


def logit(input: Any, eps: float | None = None) -> Tensor:
    """log(p / (1 - p)), the inverse of sigmoid; with `eps`, p is held from eps to 1 - eps first.

    >>> logit(Tensor([0.5]))
    tensor([0.])
    """
    p = float_of(as_tensor(input))
    if eps is not None:
        p = clamp(p, eps, 1 - eps)
    return log(p / (1 - p))


def float_power(input: Any, exponent: Any) -> Tensor:
    """`input` to the power of `exponent`, computed in float64."""
    x, y = pair(input, exponent)
    return pow_(x.to(float64), y.to(float64))


def ldexp(input: Any, other: Any) -> Tensor:
    """input * 2^other.

    >>> ldexp(Tensor([3.0]), Tensor([2.0]))
    tensor([12.])
    """
    x, y = pair(input, other)
    return x * exp2(y)
