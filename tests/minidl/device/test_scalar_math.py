"""The functions of scalar_math against NumPy and math in a wider type, over the whole range."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from minidl.device import kernel, numba_status
from minidl.device.scalar_math import erf, exp, exp_below, expm1, fma, log, log1p, normal, sigmoid, tanh

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

NAMES = ("exp", "expm1", "sigmoid", "tanh")


@kernel("T[:, ::1], const T[::1]", T=("float32", "float64"))
def all_four(begin: int, end: int, out: Any, x: Any) -> None:
    for i in range(begin, end):
        out[0, i] = exp(x[i])
    for i in range(begin, end):
        out[1, i] = expm1(x[i])
    for i in range(begin, end):
        out[2, i] = sigmoid(x[i])
    for i in range(begin, end):
        out[3, i] = tanh(x[i])


def compiled(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = np.empty((4, len(x)), x.dtype)
    all_four(0, len(x), out, x)
    return out


def expected(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    with np.errstate(all="ignore"):
        return np.stack([np.exp(x), np.expm1(x), 1 / (1 + np.exp(-x)), np.tanh(x)])


def grid(dtype: Any) -> npt.NDArray[Any]:
    """Dense where the functions bend, out to where they overflow, and down to tiny numbers."""
    limit = 110 if dtype == np.float32 else 760
    tiny = np.logspace(-37, 0, 20_001)
    return np.concatenate([np.linspace(-limit, limit, 200_001), np.linspace(-1, 1, 100_001), tiny, -tiny]).astype(dtype)


@pytest.mark.parametrize(
    ("dtype", "wide", "bound"),
    # Rounding alone is 0.6e-7 and 1.1e-16 for each operation; the functions have a handful that count.
    [(np.float32, np.float64, 3e-7), (np.float64, np.longdouble, 6e-16)],
)
def test_the_relative_error_is_within_its_bound(dtype: Any, wide: Any, bound: float) -> None:
    if np.finfo(wide).eps >= np.finfo(dtype).eps:
        pytest.skip("no type wider than float64 on this machine")
    x = grid(dtype)
    got, right = compiled(x).astype(wide), expected(x.astype(wide))
    normal = (np.abs(right) >= np.finfo(dtype).tiny) & (np.abs(right) <= np.finfo(dtype).max)
    with np.errstate(all="ignore"):
        errors = np.where(normal, np.abs(got - right) / np.abs(right), 0).max(axis=1)
    assert dict(zip(NAMES, errors <= bound, strict=True)) == dict.fromkeys(NAMES, True), errors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_overflow_underflow_and_nan_come_out_right(dtype: Any) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 0, 20, -50], dtype)
    assert compiled(x)[0, :6].tolist() == pytest.approx([np.nan, np.inf, 0, np.inf, 0, 1], rel=0, nan_ok=True)
    assert compiled(x)[1, :6].tolist() == pytest.approx([np.nan, np.inf, -1, np.inf, -1, 0], rel=0, nan_ok=True)
    assert compiled(x)[2, :6].tolist() == pytest.approx([np.nan, 1, 0, 1, 0, 0.5], rel=0, nan_ok=True)
    assert compiled(x)[3].tolist() == pytest.approx([np.nan, 1, -1, 1, -1, 0, 1, -1], rel=0, nan_ok=True)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_results_below_the_smallest_normal_number_fade_out(dtype: Any) -> None:
    smallest = np.finfo(dtype).tiny
    x = np.log(smallest) - np.linspace(0, 10, 101).astype(dtype)
    right = np.exp(x.astype(np.longdouble))
    assert np.all(np.abs(compiled(x.astype(dtype))[0] - right) <= 4 * np.finfo(dtype).smallest_subnormal + 1e-6 * right)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_python_gives_the_same_bits(dtype: Any) -> None:
    x = np.concatenate([np.linspace(-3, 3, 101), [-200, 200, np.nan, np.inf]]).astype(dtype)
    plain = np.empty((4, len(x)), dtype)
    all_four.py_func(0, len(x), plain, x)
    np.testing.assert_array_equal(compiled(x), plain)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bits_do_not_depend_on_the_place_in_a_vector(dtype: Any) -> None:
    x = np.linspace(-8, 8, 67).astype(dtype)
    whole = compiled(x)
    for shift in range(1, 9):
        np.testing.assert_array_equal(compiled(x[shift:].copy()), whole[:, shift:])


@kernel("T[::1], const T[::1], const T[::1], const T[::1]", T=("float32", "float64"))
def fused(begin: int, end: int, out: Any, a: Any, b: Any, c: Any) -> None:
    for i in range(begin, end):
        out[i] = fma(a[i], b[i], c[i])


def test_fma_rounds_once() -> None:
    """(1 + e)(1 - e) - 1 is -e², which two roundings lose; the formula needs no wider type."""
    for dtype in (np.float32, np.float64):
        eps = np.full(37, np.finfo(dtype).eps)
        out = np.empty_like(eps)
        fused(0, len(eps), out, 1 + eps, 1 - eps, -np.ones_like(eps))
        np.testing.assert_array_equal(out, -(eps**2))


@kernel("T[:, ::1], const T[::1]", T=("float32", "float64"))
def the_others(begin: int, end: int, out: Any, x: Any) -> None:
    for i in range(begin, end):
        out[0, i] = log(x[i])
    for i in range(begin, end):
        out[1, i] = log1p(x[i])
    for i in range(begin, end):
        out[2, i] = erf(x[i])
    for i in range(begin, end):
        share, bell = normal(x[i])
        out[3, i], out[4, i] = share, bell
    for i in range(begin, end):
        out[5, i] = exp_below(-abs(x[i]))


def others(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    out = np.empty((6, len(x)), x.dtype)
    the_others(0, len(x), out, x)
    return out


def relative(got: npt.NDArray[Any], right: npt.NDArray[Any]) -> float:
    return float(np.max(np.abs(got.astype(right.dtype) - right) / np.abs(right)))


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2.5e-7), (np.float64, 5e-16)])
def test_logarithms_are_within_two_roundings_or_three(dtype: Any, bound: float) -> None:
    wide = np.float64 if dtype == np.float32 else np.longdouble
    if np.finfo(wide).eps >= np.finfo(dtype).eps:
        pytest.skip("no type wider than float64 on this machine")
    positive = np.concatenate([np.logspace(-37, 38, 100_001), np.linspace(0.5, 2, 100_000)]).astype(dtype)
    positive = positive[positive != 1]
    assert relative(others(positive)[0], np.log(positive.astype(wide))) <= bound
    near = np.concatenate([np.linspace(-0.999, 9, 100_000), np.logspace(-30, 20, 9999), -np.logspace(-30, -1, 9999)])
    near = near.astype(dtype)
    assert relative(others(near)[1], np.log1p(near.astype(wide))) <= bound


@pytest.mark.parametrize(("dtype", "bound"), [(np.float32, 2.5e-7), (np.float64, 6e-16)])
def test_erf_and_the_normal_distribution_follow_math(dtype: Any, bound: float) -> None:
    """erf and the bell relative to themselves; the share of the left tail relative to 1, as products with it need."""
    x = np.concatenate([np.linspace(-6, 6, 50_000), np.logspace(-30, 0, 5001), -np.logspace(-30, 0, 5001)]).astype(
        dtype
    )
    got = others(x).astype(np.float64)
    wide = x.astype(np.float64)
    assert relative(got[2], np.array([math.erf(v) for v in wide])) <= bound
    np.testing.assert_allclose(got[3], [math.erfc(-v * math.sqrt(0.5)) / 2 for v in wide], rtol=0, atol=bound)
    # x² / 2 is rounded before the exponential, which makes that rounding 18 times as large at 6
    np.testing.assert_allclose(got[4], np.exp(-0.5 * wide * wide), rtol=20 * bound)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_others_at_the_ends_of_the_range(dtype: Any) -> None:
    smallest = np.finfo(dtype).smallest_subnormal
    x = np.array([np.nan, np.inf, -np.inf, 0, -1, -2, smallest], dtype)
    got = others(x)
    nan, inf = np.nan, np.inf
    log_smallest = float(np.log(np.longdouble(smallest)))
    assert got[0].tolist() == pytest.approx([nan, inf, nan, -inf, nan, nan, log_smallest], nan_ok=True)
    assert got[1].tolist() == pytest.approx([nan, inf, nan, 0, -inf, nan, smallest], rel=1e-6, abs=0, nan_ok=True)
    assert got[2][:4].tolist() == pytest.approx([nan, 1, -1, 0], nan_ok=True)
    assert got[3][:4].tolist() == pytest.approx([nan, 1, 0, 0.5], nan_ok=True)
    assert got[5][:4].tolist() == pytest.approx([nan, 0, 0, 1], nan_ok=True)
