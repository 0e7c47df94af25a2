"""exp, expm1, sigmoid, tanh, fma, root and chosen for kernels, in what LLVM turns into vector instructions.

A loop over `math.exp` costs 3 ns a number, and over `math.tanh` 19, because Numba has no vector form of them; these
take a fraction of that. NaN stays NaN; overflow gives inf, underflow 0.

x = n ln 2 + r with |r| <= ln 2 / 2, so exp(x) = 2**n exp(r). Adding and subtracting 1.5 * 2**(bits of the mantissa)
rounds to an integer, and the low bits of the sum are that integer. exp(r) - 1 is Taylor's series, long enough for the
type: the first missing term is r**8 / 8! < 6e-9 (float32), r**14 / 14! < 5e-18 (float64). 2**n is put together from
bits, in two halves, so that results near the largest and the smallest number come out right.

Source: the reduction is that of Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.device import device_of
from minidl.device.inline import Inline, by_dtype, inline, intrinsic


@inline
def _series32(r: Any) -> Any:
    f = np.float32
    p = f(1 / 720) + r * f(1 / 5040)
    p = f(1 / 24) + r * (f(1 / 120) + r * p)
    return r + r * r * (f(1 / 2) + r * (f(1 / 6) + r * p))


@inline
def _series64(r: Any) -> Any:
    p = 1 / 479001600 + r * (1 / 6227020800)
    p = 1 / 3628800 + r * (1 / 39916800 + r * p)
    p = 1 / 40320 + r * (1 / 362880 + r * p)
    p = 1 / 720 + r * (1 / 5040 + r * p)
    p = 1 / 24 + r * (1 / 120 + r * p)
    return r + r * r * (1 / 2 + r * (1 / 6 + r * p))


def _family(real: Any, integer: Any, mantissa: int, bias: int, series: Inline) -> dict[str, Inline]:
    """exp, expm1, sigmoid and tanh in one floating type."""
    one, two, round_ = real(1), real(2), real(1.5 * 2.0**mantissa)
    log2_e = real(1.4426950408889634)
    # ln 2 in two parts, so that n * ln2_high is exact for every n that occurs.
    ln2_high = real(0.693359375) if mantissa == 23 else real(6.93147180369123816490e-01)
    ln2_low = real(-2.12194440054690583e-4) if mantissa == 23 else real(1.90821492927058770002e-10)
    highest, lowest = real(bias * 0.6931471805599453 + 1), real(-(bias + mantissa + 1) * 0.6931471805599453)
    round_bits = round_.view(integer)

    @inline
    def power_of_two(n: Any) -> Any:
        return integer((n + bias) << mantissa).view(real)

    @inline
    def reduced(x: Any) -> Any:
        x = highest if x > highest else x
        x = lowest if x < lowest else x
        shifted = x * log2_e + round_
        n = shifted - round_
        return integer(real(shifted).view(integer) - round_bits), (x - n * ln2_high) - n * ln2_low

    @inline
    def exp(x: Any) -> Any:
        n, r = reduced(x)
        half = n >> 1
        return (one + series(r)) * power_of_two(half) * power_of_two(n - half)

    @inline
    def expm1(x: Any) -> Any:
        n, r = reduced(x)
        half = n >> 1
        first, second = power_of_two(half), power_of_two(n - half)
        grown = series(r)
        if n > mantissa + 1:  # 1 is less than half a unit in the last place, and 2**n may be inf where exp is not
            return (one + grown) * first * second
        # 2**n (exp(r) - 1) + (2**n - 1): nothing cancels near 0, where n is 0.
        return grown * first * second + (first * second - one)

    @inline
    def sigmoid(x: Any) -> Any:
        return one / (one + exp(-x))

    @inline
    def tanh(x: Any) -> Any:
        x = real(20) if x > real(20) else x  # where tanh is 1 already, and before expm1 is inf
        wide = expm1(two * x)
        return wide / (wide + two)

    return {"exp": exp, "expm1": expm1, "sigmoid": sigmoid, "tanh": tanh}


_narrow = _family(np.float32, np.int32, 23, 127, _series32)
_wide = _family(np.float64, np.int64, 52, 1023, _series64)

exp = by_dtype(float32=_narrow["exp"], float64=_wide["exp"])
expm1 = by_dtype(float32=_narrow["expm1"], float64=_wide["expm1"])
sigmoid = by_dtype(float32=_narrow["sigmoid"], float64=_wide["sigmoid"])
tanh = by_dtype(float32=_narrow["tanh"], float64=_wide["tanh"])


def _emit_fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, b, c), generate


@intrinsic(_emit_fma)
def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, in one instruction; the compiler may not make it of `a * b + c` by itself."""
    return a * b + c


def _emit_root(typing_context: Any, x: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.call(builder.module.declare_intrinsic("llvm.sqrt", [args[0].type]), args)

    return x(x), generate


@intrinsic(_emit_root)
def root(x: Any) -> Any:
    """The square root of a number, or of each number of an array."""
    return _module_of(x).sqrt(x)


def _module_of(x: Any) -> Any:
    """What computes with `x`: Python's own numbers are NumPy's business too."""
    return np if isinstance(x, (bool, int, float)) else device_of(x).xp


def _emit_chosen(typing_context: Any, condition: Any, value: Any, other: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.select(*args)

    return value(condition, value, value), generate


@intrinsic(_emit_chosen)
def chosen(condition: Any, value: Any, other: Any) -> Any:
    """`value` where the condition holds, `other` elsewhere: numbers of one type, or arrays; no branch."""
    return _module_of(condition).where(condition, value, other)
