"""Tiles that find their rows by tables, outer products, gathered rows: exact in whole numbers, no write beside."""

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.gather import gather_rows
from minidl.device.gathered import SPARE_ROWS, panel_of_runs
from minidl.device.lines import add_line, move_line
from minidl.device.outer import SPARE_COLUMNS, add_outer
from minidl.device.vectors import lanes, lanes_of

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")


def whole(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


def table(*columns: Any, spare: int = 0) -> Any:
    pairs = np.stack(columns, 1)
    return np.concatenate([pairs, np.repeat(pairs[-1:], spare, 0)]).astype(np.int64).reshape(-1)


@kernel(
    "T[::1], T[::1], const T[::1], const T[::1], const int64[::1], intp, intp, const int64[::1], intp, intp, float64",
    T=FLOATS,
)
def runs(
    begin: int, end: int, c: Any, start: Any, a: Any, b: Any, rows: Any, m: int, n: int, taps: Any, count: int,
    run: int, floor: float,
) -> None:  # fmt: skip
    width = 2 * lanes(c)
    for j in range(0, n, width):
        panel = j // width * count * run * width
        panel_of_runs(c, j, start, j, 0, a, 0, b, panel, width, rows, m, n - j, taps, 0, count, run, floor)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (7, 3, 2, 5), (13, 17, 3, 8), (30, 40, 1, 9), (6, 8, 4, 0)], ids=str)
def test_rows_and_taps_may_lie_anywhere(dtype, sizes) -> None:
    m, n, count, run = sizes
    rng = np.random.default_rng(1)
    a, b, start = whole(500, dtype=dtype), whole(count, run, n, dtype=dtype, seed=1), whole(n + 64, dtype=dtype, seed=2)
    of_row, of_tap, to = rng.integers(0, 200, m), rng.integers(0, 200, count), rng.permutation(m) * (n + 3)
    width = 2 * lanes_of(np.dtype(dtype))
    panels = -(-n // width)
    packed = np.zeros((panels, count, run, width), dtype)
    for j in range(n):
        packed[j // width, :, :, j % width] = b[:, :, j]
    wanted = np.array([[start[j] + sum(a[r + t : r + t + run] @ b[i, :, j] for i, t in enumerate(of_tap))
                        for j in range(n)] for r in of_row])  # fmt: skip
    for floor in (-np.inf, 0.0):
        c = np.full(m * (n + 3), 77, dtype)
        runs(0, 1, c, start, a, packed.reshape(-1), table(of_row, to, spare=SPARE_ROWS), m, n,
             table(of_tap, np.arange(count) * run * width), count, run, floor)  # fmt: skip
        found = c.reshape(m, n + 3)[to // (n + 3)]
        np.testing.assert_array_equal(found[:, :n], np.maximum(wanted, floor))
        assert (found[:, n:] == 77).all()


@kernel("T[::1], intp, const T[::1], intp, const T[::1], intp, intp, intp", T=FLOATS)
def outer(begin: int, end: int, c: Any, ldc: int, a: Any, lda: int, b: Any, m: int, n: int, k: int) -> None:
    width = 2 * lanes(c)
    for j in range(0, n, width):
        add_outer(c, j, ldc, a, 0, lda, b, j * k, width, m, n - j, k)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (5, 3, 2), (13, 17, 33), (48, 40, 7), (6, 16, 0)], ids=str)
def test_outer_products_are_added_up(dtype, sizes) -> None:
    m, n, k = sizes
    width = 2 * lanes_of(np.dtype(dtype))
    panels = -(-n // width)
    a, b = whole(k, m, dtype=dtype), whole(k, panels * width, dtype=dtype, seed=1)
    before = whole(m + 2, panels * width, dtype=dtype, seed=2)
    b[:, n:] = 0
    c, packed = before.copy(), b.reshape(k, panels, width).swapaxes(0, 1)
    outer(0, 1, c.reshape(-1), panels * width, np.append(a.reshape(-1), np.zeros(SPARE_COLUMNS, dtype)), m,
          np.ascontiguousarray(packed).reshape(-1), m, n, k)  # fmt: skip
    before[:m] += a.T @ b
    np.testing.assert_array_equal(c, before)


@kernel("T[::1], T[::1], T[::1], const T[::1], const int64[::1], intp, intp, intp", T=FLOATS)
def rows_of(
    begin: int, end: int, gathered: Any, copied: Any, added: Any, source: Any, places: Any, rows: int, count: int,
    pitch: int,
) -> None:  # fmt: skip
    gather_rows(gathered, 1, pitch, source, 2, places, 1, rows, count)
    move_line(copied, 1, source, 2, count)
    add_line(added, 1, source, 2, count)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("count", [0, 1, 7, 8, 16, 21])
def test_rows_are_copied_and_added_and_nothing_beside(dtype, count) -> None:
    source, places = whole(100, dtype=dtype), np.array([9, 50, 0, 77])
    vector = lanes_of(np.dtype(dtype))
    whole_vectors = -(-count // vector) * vector  # of a gathered row: zeros behind its numbers
    gathered, copied, added = (np.full(4 * (whole_vectors + 2) + 1, 5, dtype) for _ in range(3))
    rows_of(0, 1, gathered, copied, added, source, table(places * 0, places), 4, count, whole_vectors + 2)
    wanted = np.full((4, whole_vectors + 2), 5, dtype)
    wanted[:, :whole_vectors] = 0
    for row, place in zip(wanted, places, strict=True):
        row[:count] = source[place + 2 : place + 2 + count]
    np.testing.assert_array_equal(gathered[1:].reshape(4, -1), wanted)
    np.testing.assert_array_equal(copied[1 : 1 + count], source[2 : 2 + count])
    np.testing.assert_array_equal(added[1 : 1 + count], source[2 : 2 + count] + 5)
    for result in (copied, added):
        assert result[0] == 5
        assert (result[1 + count :] == 5).all()
