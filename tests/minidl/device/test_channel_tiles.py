"""Tiles of depthwise convolution: exact in whole numbers, zeros beside a row, no write beside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.channel_tiles import ENTRY, RUN, VECTORS, WINDOWS, taps_at_once, taps_tiles, windows_tiles
from minidl.device.vectors import lanes_of

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")
windows_tile, taps_tile = windows_tiles[1], taps_tiles[1]
WIDTH, CHANNELS, ROWS = 11, 37, 3


def whole(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def pixel(x: Any, row: int, column: int) -> Any:
    """All channels of a pixel, zeros beside the row."""
    return x[row, column] if 0 <= column < WIDTH else np.zeros_like(x[row, 0])


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const int64[::1], intp, intp, intp, intp, intp, float64",
    T=FLOATS,
)
def windows(
    begin: int, end: int, c: Any, start: Any, x: Any, weight: Any, table: Any, step: int, first: int, runs: int,
    taps: int, count: int, floor: float,
) -> None:  # fmt: skip
    windows_tile(c, 3, 40, start, 0, 0, x, 5, 37, step, first, 11, weight, 0, table, runs, taps, count, floor)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("step", "first", "runs"), [(1, 0, 3), (1, -4, 2), (2, -1, 1), (1, 9, 3), (3, 2, 0)])
@pytest.mark.parametrize("count", [1, 5, WINDOWS])
def test_each_channel_meets_its_own_weights(dtype, step, first, runs, count) -> None:
    line, taps = lanes_of(np.dtype(dtype)), 4
    x, weight = whole(ROWS, WIDTH, CHANNELS, dtype=dtype), whole(taps, RUN, line, dtype=dtype, seed=1)
    start, rng = whole(line, dtype=dtype, seed=2), np.random.default_rng(3)
    rows, columns = rng.integers(0, ROWS, taps), rng.integers(-2, 3, taps)
    entries = [rows * WIDTH * CHANNELS, np.arange(taps) * RUN * line, columns]
    table = np.stack(entries, 1).astype(np.int64).reshape(-1)
    for floor in (-np.inf, 0.0):
        c = np.full(3 + WINDOWS * 40 + line, 77, dtype)
        windows(0, 1, c, start, x.reshape(-1), weight.reshape(-1), table, step, first, runs, taps, count, floor)
        wanted = np.full_like(c, 77)
        for i in range(count):
            total = start.copy()
            for t in range(taps):
                for k in range(RUN if t < runs else 1):
                    seen = pixel(x, rows[t], first + columns[t] + (i + k) * step)
                    total += seen[5 : 5 + line] * weight[t, k]
            wanted[3 + 40 * i : 3 + 40 * i + line] = np.maximum(total, floor)
        np.testing.assert_array_equal(c, wanted)


@kernel("T[::1], intp, const T[::1], const T[::1], const int64[::1], intp, intp, intp, intp, intp, intp", T=FLOATS)
def sums(
    begin: int, end: int, c: Any, c_apart: int, x: Any, g: Any, table: Any, step: int, taps: int, apart: int,
    inner: int, outer: int, count: int,
) -> None:  # fmt: skip
    taps_tile(c, 2, c_apart, x, 1, 37, step, 11, table, 0, taps, g, 1, 37, apart, inner, outer, count)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("taps", [1, 4, 6, 9, 12])
@pytest.mark.parametrize("has_more", [False, True])
def test_sums_of_taps_skip_what_is_beside_the_row(dtype, taps, has_more) -> None:
    line, count, step = lanes_of(np.dtype(dtype)), 10, 1
    x, g = whole(ROWS, WIDTH, CHANNELS, dtype=dtype), whole(count, CHANNELS, dtype=dtype, seed=1)
    rng = np.random.default_rng(2)
    rows, columns = rng.integers(0, ROWS, taps), rng.integers(-2, 3, taps)
    table = np.stack([rows * WIDTH * CHANNELS, np.arange(taps) * line, columns], 1).astype(np.int64).reshape(-1)
    before = whole(2 + 2 * (taps + 1) * line, dtype=dtype, seed=3)
    c, apart, c_apart = before.copy(), (3 if has_more else 0), (taps + 1) * line * has_more
    sums(0, 1, c, c_apart, x.reshape(-1), g.reshape(-1), table, step, taps, apart, 2, 8, count)
    wanted = before.copy()
    for v in range(VECTORS if has_more else 1):
        for t in range(min(taps, taps_at_once())):
            cell, channel = 2 + t * line + v * c_apart, 1 + v * apart
            for i in range(count):
                product = pixel(x, rows[t], columns[t] + i * step) * g[i]
                wanted[cell : cell + line] += product[channel : channel + line]
    np.testing.assert_array_equal(c, wanted)
    assert table.size == ENTRY * taps
