"""Strips of columns: exact in whole numbers, every number of rows and columns, no write beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.column_tiles import VECTORS, column_largest, column_products, column_smallest, column_sums
from minidl.device.vectors import lanes_of

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")
SIGNATURE = "T[::1], float64[::1], const T[::1], const T[::1], intp, intp, intp"


@kernel(SIGNATURE, T=FLOATS)
def all_four(
    begin: int, end: int, into: Any, wide: Any, x: Any, y: Any, ld: int, rows: int, columns: int
) -> None:  # fmt: skip
    column_sums(into, 3, x, x, 2, ld, rows, columns)
    column_products(wide, 3, x, y, 2, ld, rows, columns)
    column_largest(into, 203, x, x, 2, ld, rows, columns)
    column_smallest(into, 403, x, x, 2, ld, rows, columns)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 8, 21])
@pytest.mark.parametrize("columns", [1, 5, 16, 33, 64, 90])
def test_columns_are_brought_to_one_number_each(dtype: str, rows: int, columns: int) -> None:
    rng, ld = np.random.default_rng(0), 100
    x, y = (rng.integers(-4, 5, 2 + rows * ld + 100).astype(dtype) for _ in range(2))
    into, wide = np.full(600, 77, dtype), np.full(200, 77.0)
    all_four(0, 1, into, wide, x, y, ld, rows, columns)
    made = min(columns, VECTORS * lanes_of(np.dtype(dtype)))
    a, b = (m[2 : 2 + rows * ld].reshape(rows, ld)[:, :made] for m in (x, y))
    wanted, products = np.full_like(into, 77), np.full_like(wide, 77)
    for first, numbers in ((3, a.sum(0)), (203, a.max(0)), (403, a.min(0))):
        wanted[first : first + made] = numbers
    products[3 : 3 + made] = (a * b).sum(0)
    np.testing.assert_array_equal(into, wanted)
    np.testing.assert_array_equal(wide, products)


def test_an_extreme_is_nan_where_one_number_is() -> None:
    x = np.arange(300, dtype=np.float32)
    x[2 + 100 + 4] = np.nan
    into, wide = np.zeros(600, np.float32), np.zeros(200)
    all_four(0, 1, into, wide, x, x, 100, 2, 16)
    for first in (203, 403):
        assert np.isnan(into[first : first + 16]).tolist() == [column == 4 for column in range(16)]
