"""Special functions by NumPy alone: the rest of the error function's family, gamma's family, entropy. A row each.

Computed in float64 whatever the input, so that float32 results are right to the last place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor
from minidl.device.dtypes import as_float
from minidl.device.scalar_math import ERF_FAR, ERF_NEAR
from minidl.errors import ArgumentError
from minidl.ops.activation import _ratio
from minidl.ops.compare import eq, gt
from minidl.ops.elementwise import float_of, quiet, smooth
from minidl.ops.unary import exp, log
from minidl.ops.where import where

__all__ = [
    "digamma", "entr", "erfc", "erfcx", "erfinv", "lgamma", "log_ndtr", "multigammaln", "ndtr", "ndtri", "polygamma",
]  # fmt: skip

# Cody's third range, beyond 4, in z = 1 / x²: from the highest power down.
_TAIL_TOP = (1.63153871373020978e-2, 3.05326634961232344e-1, 3.60344899949804439e-1, 1.25781726111229246e-1,
             1.60837851487422766e-2, 6.58749161529837803e-4)  # fmt: skip
_TAIL_BOTTOM = (1.0, 2.56852019228982242, 1.87295284992346047, 5.27905102951428412e-1, 6.05183413124413191e-2,
                2.33520497626869185e-3)  # fmt: skip


def _scaled_erfc(xp: Any, x: Array) -> Array:
    """exp(x²) erfc(x) for x from 0 up. Source: Cody, Math. Comp. 23 (1969)."""
    near = xp.exp(x * x) * (1 - x * _ratio(x * x, *ERF_NEAR))
    middle = _ratio(xp.minimum(x, 4.0), *ERF_FAR)
    far = xp.maximum(x, 4.0)
    z = 1 / (far * far)
    tail = (1 / math.sqrt(math.pi) - z * _ratio(z, _TAIL_TOP, _TAIL_BOTTOM)) / far
    return xp.where(x < 0.46875, near, xp.where(x <= 4, middle, tail))


def _erfc(xp: Any, x: Array) -> Array:
    x = x.astype(xp.float64)
    size = xp.abs(x)
    small = 1 - size * _ratio(size * size, *ERF_NEAR)
    positive = xp.where(size < 0.46875, small, xp.exp(-size * size) * _scaled_erfc(xp, size))
    return xp.where(x >= 0, positive, 2 - positive)


def _erfcx(xp: Any, x: Array) -> Array:
    x = x.astype(xp.float64)
    positive = _scaled_erfc(xp, xp.abs(x))
    return xp.where(x >= 0, positive, 2 * xp.exp(x * x) - positive)


def _log_ndtr(xp: Any, x: Array) -> Array:
    t = x.astype(xp.float64) * math.sqrt(0.5)
    left = xp.log(_scaled_erfc(xp, xp.maximum(-t, 0)) / 2) - t * t
    return xp.where(t < 0, left, xp.log1p(-_erfc(xp, xp.maximum(t, 0)) / 2))


def _erfc_inverse(xp: Any, p: Array) -> Array:
    """z >= 0 with erfc(z) = p, for p from 0 to 1: Newton's steps on log(erfc), which is nearly a parabola."""
    level = xp.log(p)
    z = xp.sqrt(xp.maximum(-level, 0)) * 0.9
    for _ in range(8):
        scaled = _scaled_erfc(xp, z)
        excess = xp.log(scaled) - z * z - level
        z = xp.maximum(z + excess * scaled * (math.sqrt(math.pi) / 2), 0)
    return xp.where(p == 0, xp.inf, z)


def _erfinv(xp: Any, x: Array) -> Array:
    x = x.astype(xp.float64)
    size = xp.abs(x)
    tail = _erfc_inverse(xp, 1 - xp.minimum(size, 1))
    z = xp.minimum(size, 0.5) * (math.sqrt(math.pi) / 2)
    for _ in range(6):
        off = z * _ratio(z * z, *ERF_NEAR) - xp.minimum(size, 0.5)
        z = z - off * xp.exp(z * z) * (math.sqrt(math.pi) / 2)
    found = xp.sign(x) * xp.where(size < 0.45, z, tail)
    return xp.where(size <= 1, found, xp.nan)


def _ndtri(xp: Any, p: Array) -> Array:
    p = p.astype(xp.float64)
    z = _erfc_inverse(xp, 2 * xp.minimum(xp.maximum(xp.minimum(p, 1 - p), 0), 0.5)) * math.sqrt(2)
    return xp.where((p >= 0) & (p <= 1), xp.where(p < 0.5, -z, z), xp.nan)


erfc = smooth("erfc", "1 - erf(x), exact where erf rounds to 1.", _erfc,
              slope=lambda x: exp(-x * x) * (-2 / math.sqrt(math.pi)))  # fmt: skip
erfcx: Callable[[Any], Tensor] = smooth(
    "erfcx", "exp(x²) erfc(x).", _erfcx, slope=lambda x: 2 * x * erfcx(x) - 2 / math.sqrt(math.pi)
)
erfinv = smooth("erfinv", "The inverse of erf; infinite at ±1, NaN beyond.", _erfinv,
                slope_of_result=lambda y: exp(y * y) * (math.sqrt(math.pi) / 2))  # fmt: skip
ndtr = smooth("ndtr", "The normal distribution's cumulative probability.",
              lambda xp, x: _erfc(xp, x * x.dtype.type(-math.sqrt(0.5))) / 2,
              slope=lambda x: exp(x * x * -0.5) / math.sqrt(2 * math.pi))  # fmt: skip
ndtri = smooth("ndtri", "The normal distribution's quantile; NaN outside of 0 to 1.", _ndtri,
               slope_of_result=lambda y: exp(y * y * 0.5) * math.sqrt(2 * math.pi))  # fmt: skip
log_ndtr = smooth("log_ndtr", "log(ndtr(x)), exact far to the left.", _log_ndtr,
                  slope=lambda x: math.sqrt(2 / math.pi) / erfcx(x * -math.sqrt(0.5)))  # fmt: skip


# Source: Lanczos, SIAM J. Numer. Anal. B 1 (1964), with g = 7 and nine terms.
_LANCZOS = (676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059, 12.507343278686905,
            -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7)  # fmt: skip


def _lgamma(xp: Any, x: Array) -> Array:
    x = x.astype(xp.float64)
    mirrored = x < 0.5
    z = xp.where(mirrored, -x, x - 1)  # lgamma(1 + z)
    series = 0.99999999999980993 + sum(c / (z + i) for i, c in enumerate(_LANCZOS, 1))
    t = z + 7.5
    right = 0.5 * math.log(2 * math.pi) + (z + 0.5) * xp.log(t) - t + xp.log(series)
    left = xp.log(math.pi / xp.abs(xp.sin(math.pi * (x - xp.floor(x))))) - right
    left = xp.where(x == xp.floor(x), xp.inf, left)
    return xp.where(xp.isinf(x), xp.inf, xp.where(mirrored, left, right))


# B(2k) / (2k), for k from 1.
_DIGAMMA = (1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12)


def _digamma(xp: Any, x: Array) -> Array:
    x = x.astype(xp.float64)
    z = xp.where(x < 0.5, 1 - x, x)
    low = xp.zeros_like(z)
    for _ in range(8):  # psi(z) = psi(z + 1) - 1/z
        low = xp.where(z < 8, low - 1 / z, low)
        z = xp.where(z < 8, z + 1, z)
    w = 1 / (z * z)
    series = xp.zeros_like(z)
    for b in reversed(_DIGAMMA):
        series = (series + b) * w
    right = low + xp.log(z) - 0.5 / z - series
    mirrored = right - math.pi / xp.tan(math.pi * (x - xp.floor(x)))
    whole = xp.where(x == 0, xp.copysign(xp.inf, -x), xp.nan)
    return xp.where(x >= 0.5, right, xp.where(x == xp.floor(x), whole, mirrored))


lgamma = smooth("lgamma", "log |gamma(x)|; infinite at 0, -1, -2, ...", _lgamma, slope=lambda x: digamma(x))
digamma: Callable[[Any], Tensor] = smooth(
    "digamma", "The derivative of lgamma; NaN at -1, -2, ...", _digamma, slope=lambda x: polygamma(1, x)
)

# B(2k) / (2k)!, for k from 1.
_EULER_MACLAURIN = (1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600)


class Polygamma(Op):
    """The n-th derivative of digamma: (-1)^(n + 1) n! sum over k >= 0 of (x + k)^-(n + 1).

    The sum's first terms one by one, the rest by the formula of Euler and Maclaurin.
    """

    name = "polygamma"
    saves = ("x",)

    @staticmethod
    def infer(x: Spec, *, n: int) -> Spec:
        return x.with_dtype(as_float(x.dtype))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, n: int) -> None:
        s, terms = n + 1, 12 + n
        q = x.astype(xp.float64)
        with quiet():
            lift = xp.maximum(-xp.floor(q), 0)  # terms left of zero, for negative x
            total = xp.zeros_like(q)
            for k in range(int(lift.max()) if lift.size and bool(xp.isfinite(lift).all()) else 0):
                total += xp.where(k < lift, (q + k) ** -s, 0)
            start = q + lift
            for k in range(terms):
                total += (start + k) ** -s
            end = start + terms
            total += end ** (1 - s) / (s - 1) + end**-s / 2
            factor = float(s)
            for j, b in enumerate(_EULER_MACLAURIN):
                total += b * factor * end ** (-s - 2 * j - 1)
                factor *= (s + 2 * j + 1) * (s + 2 * j + 2)
            out[...] = total * ((-1.0) ** (n + 1) * math.factorial(n))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,) = node.saved
        return (g * polygamma(node.params["n"] + 1, x),)


def polygamma(n: Any, input: Any) -> Tensor:
    """The `n`-th derivative of digamma; as a method, `x.polygamma(n)`.

    Raises:
        ArgumentError: if `n` is negative.

    >>> polygamma(1, Tensor([1.0]))  # pi² / 6
    tensor([1.644934])
    """
    if isinstance(n, Tensor):
        n, input = input, n
    if n < 0:
        raise ArgumentError(f"polygamma: n must be 0 or more, got {n}")
    x = float_of(as_tensor(input))
    if n == 0:
        return digamma(x)
    result: Tensor = Polygamma.apply(x, n=int(n))
    return result


def multigammaln(input: Tensor, p: int) -> Tensor:
    """The logarithm of the `p`-dimensional gamma function, for elements above (p - 1) / 2.

    >>> multigammaln(Tensor([1.0]), 1)
    tensor([0.])
    """
    if p < 1:
        raise ArgumentError(f"multigammaln: p must be 1 or more, got {p}")
    x = float_of(as_tensor(input))
    total = lgamma(x)
    for i in range(1, p):
        total = total + lgamma(x - i / 2)
    return total + p * (p - 1) / 4 * math.log(math.pi)


def entr(input: Any) -> Tensor:
    """-x log(x), the entropy of a probability: 0 at 0, -inf below.

    >>> entr(Tensor([1.0, 0.0]))
    tensor([-0.,  0.])
    """
    x = float_of(as_tensor(input))
    inside = gt(x, 0)
    safe = where(inside, x, 1.0)
    return where(inside, -safe * log(safe), where(eq(x, 0), x * 0, where(x < 0, -math.inf, x)))
