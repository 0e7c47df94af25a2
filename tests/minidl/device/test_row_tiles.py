"""Products of few rows: whole numbers, exact to the last bit, in every tile, with both ways of reading A."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.row_tiles import multiply_rows, packed_lines
from minidl.device.vectors import lanes_of

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(not numba_status(), reason="Numba is not installed"),
]


@kernel("T[::1], T[::1], T[::1], const int64[::1]", T=("float32", "float64"))
def _run(begin: int, end: int, c: Any, a: Any, b: Any, n: Any) -> None:
    multiply_rows(c, n[0], n[1], n[2], n[3], n[4], a, n[5], n[6], n[7], b, n[8], n[9], n[10], n[11], n[12], n[13])


def product(a: np.ndarray, b: np.ndarray, start: np.ndarray, *, turned: bool, accumulate: bool) -> np.ndarray:
    """start + a @ b; A is handed over as it is or as its transpose, B in panels."""
    (rows, depth), width = a.shape, 2 * lanes_of(a.dtype)
    columns = packed_lines(b.shape[1], a.dtype)
    packed = np.zeros((depth, columns), a.dtype)
    packed[:, : b.shape[1]] = b
    packed = np.ascontiguousarray(packed.reshape(depth, -1, width).transpose(1, 0, 2)).reshape(-1)
    given = np.ascontiguousarray(a.T if turned else a).reshape(-1)
    c = np.full((rows + 2, columns), np.nan, a.dtype)  # a line of its own for the start, one that must stay as it is
    c[:rows] = start if accumulate else np.nan
    c[rows] = start[0]
    at, step = (0, columns) if accumulate else (rows * columns, 0)
    a_steps = (1, rows) if turned else (depth, 1)
    panels = -(-b.shape[1] // width)
    numbers = (0, width, columns, at, step, 0, *a_steps, 0, depth * width, width, rows, panels, depth)
    flat = c.reshape(-1)
    run = _run if b.size else _run.py_func
    run(0, 1, flat, given, packed, np.array(numbers))
    assert np.isnan(c[rows + 1]).all()
    return c[:rows, : b.shape[1]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("depth", [1, 3, 4, 17, 255, 256, 257, 700])
@pytest.mark.parametrize("rows", [*range(1, 14), 32])
def test_whole_numbers_are_exact(rows: int, depth: int, dtype: Any) -> None:
    rng = np.random.default_rng(rows * depth)
    for columns in (5, 16, 33, 100):
        a, b = rng.integers(-8, 9, (rows, depth)).astype(dtype), rng.integers(-8, 9, (depth, columns)).astype(dtype)
        for turned, accumulate in ((False, False), (False, True), (True, True)):
            start = np.zeros((rows, packed_lines(columns, np.dtype(dtype))), dtype)
            start[:] = rng.integers(-99, 99, start.shape if accumulate else start.shape[1])
            found = product(a, b, start, turned=turned, accumulate=accumulate)
            np.testing.assert_array_equal(found, start[:, :columns] + a @ b)


def test_the_python_meaning_is_the_compiled_one() -> None:
    rng = np.random.default_rng(0)
    a, b, c = rng.standard_normal((5, 7)), rng.standard_normal(7 * 64), np.zeros(5 * 64 + 64)
    numbers = np.array((0, 8, 64, 0, 64, 0, 7, 1, 0, 7 * 8, 8, 5, 3, 7))
    plain = c.copy()
    _run.py_func(0, 1, plain, a.reshape(-1), b, numbers)
    _run(0, 1, c, a.reshape(-1), b, numbers)
    if lanes_of(c.dtype) == 4:  # the numbers above are those of a host with vectors of 32 bytes
        np.testing.assert_allclose(c, plain, rtol=1e-13, atol=1e-13)
