"""Tiles of depthwise convolution: exact in whole numbers, zeros beside a row, no write beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.channel_sums import rows_at_once, sums_tile
from minidl.device.channel_tiles import ENTRY, WINDOWS, windows_tile
from minidl.device.vectors import lanes_of

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")
RUN, RATIO = 3, 2
tile, sums_of_rows = windows_tile(1, RUN, RATIO), sums_tile(1, RUN, RATIO, 2)
WIDTH, CHANNELS, ROWS, LINES = 11, 37, 5, 2


def whole(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def pixel(x: Any, row: int, column: int) -> Any:
    """All channels of a pixel, zeros beside the row."""
    return x[row, column] if 0 <= column < WIDTH else np.zeros_like(x[row, 0])


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const int64[::1], intp, intp, intp, intp, intp, intp, float64",
    T=FLOATS,
)
def windows(
    begin: int, end: int, c: Any, start: Any, x: Any, weight: Any, table: Any, step: int, first: int, both: int,
    second: int, rows: int, count: int, floor: float,
) -> None:  # fmt: skip
    tile(c, 3, 400, 40, start, 0, 0, 0, x, 5, 37, step, first, 11, weight, 0, table, both, second, len(table) // 4,
         rows, count, floor, 7, 2, 5, 1)  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("step", "first"), [(1, 0), (1, -4), (2, -1), (1, 9), (3, 2)])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("count", [1, 3, WINDOWS, 2 * WINDOWS + 1])
def test_each_channel_meets_its_own_weights(dtype, step, first, rows, count) -> None:
    line, taps, both, second = lanes_of(np.dtype(dtype)), 5, 1, 4
    x, weight = whole(ROWS, WIDTH, CHANNELS, dtype=dtype), whole(taps, 2, RUN, line, dtype=dtype, seed=1)
    start, rng = whole(line, dtype=dtype, seed=2), np.random.default_rng(3)
    seen, columns = rng.integers(0, ROWS, taps), rng.integers(-2, 3, taps)
    places = np.arange(2 * taps).reshape(taps, 2).T * RUN * line
    table = np.stack([seen * WIDTH * CHANNELS, *places, columns], 1).astype(np.int64).reshape(-1)
    assert table.size == ENTRY * taps
    for floor in (-np.inf, 0.0):
        c = np.full(3 + 400 + count * 40 + line, 77, dtype)
        windows(0, 1, c, start, x.reshape(-1), weight.reshape(-1), table, step, first, both, second, rows, count, floor)
        wanted = np.full_like(c, 77)
        for r, i in np.ndindex(rows, count):
            total = start.copy()
            for t in range(both, taps) if r else range(second):
                for k in range(RUN):
                    one = pixel(x, seen[t], first + columns[t] + (RATIO * i + k) * step)
                    total += one[5 : 5 + line] * weight[t, r, k]
            at = 3 + 400 * r + 40 * i
            wanted[at : at + line] = np.maximum(total, floor)
        np.testing.assert_array_equal(c, wanted)


@kernel("T[::1], const T[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
def sums(begin: int, end: int, c: Any, x: Any, g: Any, step: int, first: int, count: int, lines: int) -> None:
    sums_of_rows(c, 2, 100, x, 1, 2 * 11 * 37, 11 * 37, 37, step, first, 11, g, 1, 8 * 37, 37, count, lines, 3, 1, 0, 2)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("step", "first"), [(1, 0), (1, -2), (2, -1), (1, 7)])
@pytest.mark.parametrize("count", [1, 3, 4, 7])
@pytest.mark.parametrize("lines", [0, 1, LINES])
def test_sums_of_taps_skip_what_is_beside_the_row(dtype, step, first, count, lines) -> None:
    line = lanes_of(np.dtype(dtype))
    x, g = whole(ROWS, WIDTH, CHANNELS, dtype=dtype), whole(LINES, 8, CHANNELS, dtype=dtype, seed=1)
    before = whole(2 + 100 + RUN * line + 1, dtype=dtype, seed=3)
    c, wanted = before.copy(), before.copy()
    sums(0, 1, c, x.reshape(-1), g.reshape(-1), step, first, count, lines)
    for b, k, n, i in np.ndindex(2, RUN, lines, count):
        product = pixel(x, 2 * b + n, first + (RATIO * i + k) * step) * g[n, i]
        cell = 2 + 100 * b + k * line
        wanted[cell : cell + line] += product[1 : 1 + line]
    np.testing.assert_array_equal(c, wanted)


@pytest.mark.parametrize(("members", "run"), [(1, 1), (1, 3), (1, 7), (4, 3), (8, 1)])
def test_sums_have_registers(members, run) -> None:
    assert 1 <= rows_at_once(members, run) <= 3
