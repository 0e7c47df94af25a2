"""exp, expm1, sigmoid, tanh, fma, root and chosen for kernels, in what LLVM turns into vector instructions.

A loop over `math.exp` costs 3 ns a number, and over `math.tanh` 19, because Numba has no vector form of them; these
take a fraction of that. NaN stays NaN; overflow gives inf, underflow 0.

x = n ln 2 + r with |r| <= ln 2 / 2, so exp(x) = 2**n exp(r). Adding and subtracting 1.5 * 2**(bits of the mantissa)
rounds to an integer, and the low bits of the sum are that integer. exp(r) - 1 is r + r² p(r): in float32 p has five
coefficients with the smallest error of exp over the range, 4e-9; in float64 they are Taylor's, and the first missing
term is r**14 / 14! < 5e-18. 2**n is put together from bits; exp does so in two halves, so that results near the largest
and the smallest number come out right. Sigmoid and tanh need no such results, and so one half of these steps. Products
and sums of the series are one instruction each (`fma`).

x = 2**n m with m between sqrt(1/2) and sqrt(2), so log(x) = n ln 2 + log(1 + f) with f = m - 1; with s = f / (2 + f)
that is f - s (f - R), where R = 2 s²/3 + 2 s⁴/5 + ...; the first missing term is below 2e-9 (float32) and 3e-17
(float64).

erf stands on two of Cody's rational approximations, both computed and one chosen: a branch would end the vectors.

Sources: the reduction of exp is that of Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6;
erf: Cody, Math. Comp. 23 (1969).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.device import device_of
from minidl.device.inline import Inline, by_dtype, inline, intrinsic


def _emit_fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fma(*args)

    return a(a, b, c), generate


@intrinsic(_emit_fma)
def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once, in one instruction; the compiler may not make it of `a * b + c` by itself."""
    plain = a * b + c
    if isinstance(plain, np.ndarray) or not np.isfinite(plain) or plain == 0:
        return plain
    from fractions import Fraction  # 2 ms that only tests need

    return type(plain)(Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c)))


@inline
def _series32(r: Any) -> Any:
    f = np.float32
    p = fma(r, f(0.0013814672129228711), f(0.008368726819753647))
    p = fma(r, fma(r, p, f(0.04166838526725769)), f(0.1666652113199234))
    return fma(r * r, fma(r, p, f(0.4999999403953552)), r)


@inline
def _series64(r: Any) -> Any:
    p = fma(r, 1 / 6227020800, 1 / 479001600)
    p = fma(r, fma(r, p, 1 / 39916800), 1 / 3628800)
    p = fma(r, fma(r, p, 1 / 362880), 1 / 40320)
    p = fma(r, fma(r, p, 1 / 5040), 1 / 720)
    p = fma(r, fma(r, p, 1 / 120), 1 / 24)
    return fma(r * r, fma(r, fma(r, p, 1 / 6), 1 / 2), r)


@inline
def _log_series32(q: Any) -> Any:
    f = np.float32
    return q * fma(q, fma(q, fma(q, f(2 / 9), f(2 / 7)), f(2 / 5)), f(2 / 3))


@inline
def _log_series64(q: Any) -> Any:
    p = fma(q, fma(q, fma(q, 2 / 19, 2 / 17), 2 / 15), 2 / 13)
    return q * fma(q, fma(q, fma(q, fma(q, fma(q, p, 2 / 11), 2 / 9), 2 / 7), 2 / 5), 2 / 3)


# Coefficients of erf(x) / x in x², and of exp(x²) erfc(x) in x, from the highest power down.
ERF_NEAR = (
    (1.85777706184603153e-1, 3.16112374387056560, 1.13864154151050156e2, 3.77485237685302021e2, 3.20937758913846947e3),
    (1.0, 2.36012909523441209e1, 2.44024637934444173e2, 1.28261652607737228e3, 2.84423683343917062e3),
)
ERF_FAR = (
    (2.15311535474403846e-8, 5.64188496988670089e-1, 8.88314979438837594, 6.61191906371416295e1, 2.98635138197400131e2,
     8.81952221241769090e2, 1.71204761263407058e3, 2.05107837782607147e3, 1.23033935479799725e3),
    (1.0, 1.57449261107098347e1, 1.17693950891312499e2, 5.37181101862009858e2, 1.62138957456669019e3,
     3.29079923573345963e3, 4.36261909014324716e3, 3.43936767414372164e3, 1.23033935480374942e3),
)  # fmt: skip
ERF_BORDER = 0.46875  # where the one takes over from the other


def _quartic(coefficients: tuple[float, ...], real: Any) -> Inline:
    a, b, c, d, e = map(real, coefficients)

    @inline
    def value(x: Any) -> Any:
        return fma(fma(fma(fma(a, x, b), x, c), x, d), x, e)

    return value


def _octic(coefficients: tuple[float, ...], real: Any) -> Inline:
    a, b, c, d, e = map(real, coefficients[:5])
    f, g, h, i = map(real, coefficients[5:])

    @inline
    def value(x: Any) -> Any:
        top = fma(fma(fma(fma(a, x, b), x, c), x, d), x, e)
        return fma(fma(fma(fma(top, x, f), x, g), x, h), x, i)

    return value


def _family(real: Any, integer: Any, mantissa: int, bias: int, series: Inline, log_series: Inline) -> dict[str, Inline]:
    """All functions in one floating type."""
    zero, one, two, round_ = real(0), real(1), real(2), real(1.5 * 2.0**mantissa)
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
        shifted = fma(x, log2_e, round_)
        n = shifted - round_
        return integer(real(shifted).view(integer) - round_bits), fma(n, -ln2_low, fma(n, -ln2_high, x))

    @inline
    def limited(x: Any, low: Any, high: Any) -> Any:
        x = high if x > high else x  # NaN is not, and stays
        return low if x < low else x

    @inline
    def exp(x: Any) -> Any:
        n, r = reduced(limited(x, lowest, highest))
        half = n >> 1
        first = power_of_two(half)
        return fma(series(r), first, first) * power_of_two(n - half)

    # Between these exp is a normal number, and so is 2**n.
    smallest, largest = real(-(bias - 1) * 0.6931471805599453), real((bias + 0.499) * 0.6931471805599453)

    @inline
    def exp_below(x: Any) -> Any:
        n, r = reduced(smallest if x < smallest else x)
        power = power_of_two(n)
        grown = fma(series(r), power, power)
        return zero if x < smallest else grown

    @inline
    def expm1(x: Any) -> Any:
        n, r = reduced(limited(x, lowest, highest))
        half = n >> 1
        first, second = power_of_two(half), power_of_two(n - half)
        grown = series(r)
        if n > mantissa + 1:  # 1 is less than half a unit in the last place, and 2**n may be inf where exp is not
            return fma(grown, first, first) * second
        # 2**n (exp(r) - 1) + (2**n - 1): nothing cancels near 0, where n is 0.
        total = grown * first * second + (first * second - one)
        return x if x == zero else total  # -0 stays -0

    @inline
    def sigmoid(x: Any) -> Any:
        n, r = reduced(limited(-x, smallest, largest))
        power = power_of_two(n)
        share = one / (fma(series(r), power, power) + one)
        return zero if -x > largest else share

    end = real(20)  # where tanh is 1 already

    @inline
    def tanh(x: Any) -> Any:
        n, r = reduced(two * limited(x, -end, end))
        power = power_of_two(n)
        wide = fma(series(r), power, power - one)  # exp(2 x) - 1
        return x if x == zero else wide / (wide + two)  # -0 stays -0

    tiny, infinite, nan = real(np.finfo(real).tiny), real(np.inf), real(np.nan)
    lift, lifted = real(2.0 ** (mantissa + 1)), integer(mantissa + 1)
    sqrt_half = real(0.7071067811865476)
    middle = integer(int(sqrt_half.view(integer)))

    @inline
    def log(x: Any) -> Any:
        is_small = x < tiny
        y = x * lift if is_small else x
        bits = real(y).view(integer)
        n = integer(integer(bits - middle) >> mantissa)
        f = integer(bits - integer(n << mantissa)).view(real) - one
        power = real(integer(n - lifted) if is_small else n)
        s = f / (two + f)
        near = fma(power, ln2_high, f - fma(power, -ln2_low, s * (f - log_series(s * s))))
        near = near if x < infinite else x  # inf, and NaN
        near = -infinite if x == zero else near
        return nan if x < zero else near

    @inline
    def log1p(x: Any) -> Any:
        grown = one + x
        # What rounding took from 1 + x comes back as a factor: x / (grown - 1).
        far = log(grown) * (x / (grown - one))
        far = far if x < infinite else x
        far = -infinite if grown == zero else far
        return x if grown == one else far

    near_top, near_bottom = _quartic(ERF_NEAR[0], real), _quartic(ERF_NEAR[1], real)
    far_top, far_bottom = _octic(ERF_FAR[0], real), _octic(ERF_FAR[1], real)
    border, far_end, root_half, half_ = real(ERF_BORDER), real(30), real(0.7071067811865476), real(0.5)

    @inline
    def erf(x: Any) -> Any:
        y = abs(x)
        near = x * (near_top(x * x) / near_bottom(x * x))
        held = y if y < far_end else far_end
        far = one - exp(-(x * x)) * (far_top(held) / far_bottom(held))
        return near if y < border else (far if x > zero else -far)

    @inline
    def normal(x: Any) -> Any:
        y = abs(x) * root_half
        bell = exp(-(half_ * x * x))
        square = half_ * x * x
        near = half_ + half_ * (x * root_half) * (near_top(square) / near_bottom(square))
        held = y if y < far_end else far_end
        tail = half_ * bell * (far_top(held) / far_bottom(held))
        return near if y < border else (one - tail if x > zero else tail), bell

    return {
        "exp": exp, "expm1": expm1, "sigmoid": sigmoid, "tanh": tanh, "log": log, "log1p": log1p, "erf": erf,
        "normal": normal, "exp_below": exp_below,
    }  # fmt: skip


def _normal32(exp_below: Inline) -> Inline:
    """`normal` with a single division and no second formula near 0, where only the error beside 1/2 counts.

    exp(y²) erfc(y) / 2 is a polynomial in t = 1 / (1 + 0.36 y), as in Hastings, Approximations for Digital Computers,
    1955, sheet 43; these coefficients are least squares with weights that even out the error: 9e-9 of the value for y
    up to 10, behind which exp(-y²) is 0.
    """
    f = np.float32
    a, b, c, d, e = f(0.0347292153), f(-0.187855299), f(0.35220635), f(-0.275910295), f(0.257725002)
    g, h, i, j, k = f(0.00332092513), f(0.115880559), f(0.0980210378), f(0.101897035), f(-1.45373108e-5)
    one, half, slope = f(1), f(0.5), f(0.36 * 0.7071067811865476)

    @inline
    def normal(x: Any) -> Any:
        bell = exp_below(-(half * x * x))
        t = one / fma(slope, abs(x), one)
        p = fma(fma(fma(fma(a, t, b), t, c), t, d), t, e)
        tail = fma(fma(fma(fma(fma(p, t, g), t, h), t, i), t, j), t, k) * bell
        return one - tail if x > f(0) else tail, bell

    return normal


_narrow = _family(np.float32, np.int32, 23, 127, _series32, _log_series32)
_narrow["normal"] = _normal32(_narrow["exp_below"])
_wide = _family(np.float64, np.int64, 52, 1023, _series64, _log_series64)

exp = by_dtype(float32=_narrow["exp"], float64=_wide["exp"])
# exp for numbers that are not above zero, in two thirds of the time; 0 where exp is below the smallest normal number.
exp_below = by_dtype(float32=_narrow["exp_below"], float64=_wide["exp_below"])
expm1 = by_dtype(float32=_narrow["expm1"], float64=_wide["expm1"])
sigmoid = by_dtype(float32=_narrow["sigmoid"], float64=_wide["sigmoid"])
tanh = by_dtype(float32=_narrow["tanh"], float64=_wide["tanh"])
log = by_dtype(float32=_narrow["log"], float64=_wide["log"])
log1p = by_dtype(float32=_narrow["log1p"], float64=_wide["log1p"])
erf = by_dtype(float32=_narrow["erf"], float64=_wide["erf"])
# The normal distribution's cumulative probability at x, and exp(-x²/2), which it needs on the way.
normal = by_dtype(float32=_narrow["normal"], float64=_wide["normal"])


def _emit_typed(typing_context: Any, value: Any, like: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.cast(builder, args[0], value, like)

    return like(value, like), generate


@intrinsic(_emit_typed)
def typed(value: Any, like: Any) -> Any:
    """`value` in the type of `like`: a bare 0.5 beside a float32 would make float64 of both."""
    return type(like)(value)


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
