"""Narrow matrices turned and back: every number at its place, and none written beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.narrow import columns_apart, columns_together

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")
STEP = 70


@kernel("T[::1], T[::1], const T[::1], intp, intp", T=FLOATS)
def there_and_back(
    begin: int, end: int, apart: Any, together: Any, x: Any, rows: int, columns: int
) -> None:  # fmt: skip
    columns_apart(apart, STEP, x, 5, rows, columns)
    columns_together(together, 3, apart, STEP, rows, columns)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 8, 17])
@pytest.mark.parametrize("rows", [1, 7, 16, 33, 64])
def test_columns_go_apart_and_come_together(dtype: str, columns: int, rows: int) -> None:
    x = np.random.default_rng(0).standard_normal(5 + rows * columns).astype(dtype)
    apart, together = np.full(columns * STEP, 77, dtype), np.full(rows * columns + 30, 77, dtype)
    there_and_back(0, 1, apart, together, x, rows, columns)
    matrix = x[5:].reshape(rows, columns)
    wanted = np.full((columns, STEP), 77, dtype)
    wanted[:, :rows] = matrix.T
    np.testing.assert_array_equal(apart.reshape(columns, STEP)[:, :rows], wanted[:, :rows])
    np.testing.assert_array_equal(together[3:-27], matrix.reshape(-1))
    assert (together[:3] == 77).all()
    assert (together[-27:] == 77).all()
