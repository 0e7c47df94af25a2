"""Formulas on whole vectors: errors of sigmoid and tanh against longer arithmetic, special values, Python itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.vector_math import fma, lanewise, relu, sigmoid, tanh, where_positive

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(not numba_status(), reason="Numba is not installed"),
]


@lanewise
def _all(x: Any, y: Any) -> Any:
    return sigmoid(x), tanh(x), relu(x), where_positive(x, y), fma(x, y, 1 - x), (2 * x - y) / (1 + y * y), 0


@kernel("T[::1], intp", T=("float32", "float64"))
def _run(begin: int, end: int, room: Any, n: int) -> None:
    _all(room, (0, n, 2 * n, 3 * n, 4 * n, 5 * n, 6 * n, 7 * n, 8 * n), n)


def results(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    room = np.concatenate([x, y, np.full(7 * len(x), np.nan, x.dtype)])
    _run(0, 1, room, len(x))
    return list(room.reshape(9, -1)[2:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("end", [0.01, 1, 10, 80])
def test_sigmoid_and_tanh_are_near_the_truth(dtype: Any, end: float) -> None:
    """Bounds: 2 units of the type for tanh, relative; 1 unit of the value 1 for sigmoid. Measured: 1.9 and 0.8."""
    x = np.random.default_rng(0).uniform(-end, end, 1 << 14).astype(dtype)
    found = results(x, x)
    longer = x.astype(np.longdouble if dtype == np.float64 else np.float64)
    unit = np.finfo(dtype).eps
    assert np.abs(found[0] - 1 / (1 + np.exp(-longer))).max() <= unit
    assert (np.abs(found[1] - np.tanh(longer)) / np.abs(np.tanh(longer))).max() <= 2 * unit


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_special_values(dtype: Any) -> None:
    x = np.array([0, np.nan, np.inf, -np.inf, 1e30, -1e30, 1e-30, -0.5] * 2, dtype)
    logistic, hyperbolic, rectified, positive, *_ = results(x, np.ones_like(x))
    tiny = np.finfo(dtype).tiny * 4
    np.testing.assert_allclose(logistic[:7], [0.5, np.nan, 1, 0, 1, 0, 0.5], atol=tiny)
    np.testing.assert_array_equal(hyperbolic[:6], [0, np.nan, 1, -1, 1, -1])
    assert hyperbolic[6] == pytest.approx(1e-30, rel=1e-6)
    np.testing.assert_array_equal(rectified[:8], [0, np.nan, np.inf, 0, dtype(1e30), 0, dtype(1e-30), 0])
    np.testing.assert_array_equal(positive[:8], [0, 0, 1, 0, 1, 0, 1, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_python_meaning_is_the_compiled_one(dtype: Any) -> None:
    x, y = np.random.default_rng(1).standard_normal((2, 48)).astype(dtype)
    room = np.concatenate([x, y, np.zeros(7 * 48, dtype)])
    _run.py_func(0, 1, room, 48)
    for ours, plain in zip(results(x, y), room.reshape(9, -1)[2:], strict=True):
        np.testing.assert_allclose(ours, plain, rtol=20 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
