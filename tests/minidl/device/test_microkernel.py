"""The micro-kernel and the transpose against NumPy: exact in whole numbers, and nothing is written beside."""

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.microkernel import gemm_block, gemm_taps, pack_panels, panel_columns
from minidl.device.row_sums import row_product, row_sum
from minidl.device.transpose import transpose
from minidl.device.vectors import aligned, aligned_empty, lanes, lanes_of

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]

FLOATS = ("float32", "float64")
SIZES = [(1, 1, 1), (5, 3, 2), (12, 32, 16), (13, 17, 33), (25, 40, 7), (48, 64, 64), (6, 16, 0)]


def whole(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@kernel("T[::1], intp, const T[::1], intp, const T[::1], intp, intp, intp, bool", T=FLOATS)
def product(
    begin: int, end: int, c: Any, ldc: int, a: Any, lda: int, b: Any, m: int, n: int, k: int, accumulate: bool
) -> None:
    gemm_block(c, 0, ldc, a, 0, lda, b, 0, m, n, k, accumulate)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("accumulate", [False, True])
def test_a_block_equals_numpy_and_spares_its_neighbours(dtype, sizes, accumulate) -> None:
    m, n, k = sizes
    a, b, before = whole(m, k + 3, dtype=dtype), whole(k, n, dtype=dtype, seed=1), whole(m, n, dtype=dtype, seed=2)
    c = np.full((m, n + 5), 77, dtype)
    c[:, :n] = before
    product(0, 1, c.reshape(-1), n + 5, a.reshape(-1), k + 3, pack_panels(b), m, n, k, accumulate)
    np.testing.assert_array_equal(c[:, :n], a[:, :k] @ b + (before if accumulate else 0))
    assert (c[:, n:] == 77).all()


@kernel("T[::1], T[::1], const T[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
def taps_product(begin: int, end: int, c: Any, row: Any, a: Any, b: Any, m: int, n: int, k: int, taps: int) -> None:
    width = 2 * lanes(c)
    gemm_taps(c, 0, n, row, 0, 0, a, 0, k, b, 0, taps * k * width, width, m, n, taps, m * k, k * width, k)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_taps_are_added_up_from_a_row_on(dtype, sizes) -> None:
    m, n, k = sizes
    a, b = whole(3, m, k, dtype=dtype), whole(3, k, n, dtype=dtype, seed=1)
    row, c = whole(n, dtype=dtype, seed=2), np.zeros((m, n), dtype)
    taps_product(0, 1, c.reshape(-1), row, a.reshape(-1), pack_panels(b.reshape(3 * k, n)), m, n, k, 3)
    np.testing.assert_array_equal(c, (a @ b).sum(0) + row)


def test_in_python_a_tile_means_the_same() -> None:
    a, b, c = whole(3, 4, dtype="float32"), whole(4, 5, dtype="float32", seed=1), np.zeros((3, 5), np.float32)
    packed = pack_panels(b)
    product.py_func(0, 1, c.reshape(-1), 5, a.reshape(-1), 4, packed, 3, 5, 4, False)
    np.testing.assert_array_equal(c, a @ b)


@kernel("T[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
def turn(
    begin: int, end: int, target: Any, source: Any, ld_target: int, ld_source: int, rows: int, columns: int
) -> None:
    transpose(target, 1, ld_target, source, 2, ld_source, rows, columns)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (16, 16), (3, 17), (33, 40), (8, 28), (50, 7), (17, 0)], ids=str)
def test_transpose_equals_numpy_and_spares_its_neighbours(dtype, shape) -> None:
    rows, columns = shape
    source = whole(2 + rows * (columns + 3), dtype=dtype)
    for run in (turn, turn.py_func):
        target = np.full(1 + columns * (rows + 2), 77, dtype)
        run(0, 1, target, source, rows + 2, columns + 3, rows, columns)
        grid = target[1:].reshape(columns, rows + 2)
        np.testing.assert_array_equal(grid[:, :rows], source[2:].reshape(rows, columns + 3)[:, :columns].T)
        assert (grid[:, rows:] == 77).all()
        assert target[0] == 77


@pytest.mark.parametrize("dtype", [np.dtype(np.float32), np.dtype(np.float64)])
def test_aligned_memory_begins_a_cache_line(dtype) -> None:
    for size in (1, 3, 17):
        array = aligned_empty(size, dtype)
        assert array.size == size
        assert array.ctypes.data % 64 == 0
        assert aligned(array) == 0
    assert panel_columns(dtype) == 2 * lanes_of(dtype)


@kernel("T[::1], const T[:, ::1], const T[:, ::1], intp, intp", T=FLOATS)
def sums(begin: int, end: int, out: Any, a: Any, b: Any, first: int, n: int) -> None:
    out[0] = row_sum(a, first, n)
    out[1] = row_product(a, first, a[0, 0], b, 1, b[0, 0], n)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [0, 1, 7, 16, 63, 64, 65, 200])
def test_row_sums_equal_numpy_and_do_not_look_behind_the_row(dtype, n) -> None:
    a, b = (np.full((4, 60), np.nan, dtype) for _ in range(2))
    a[0, 0] = b[0, 0] = 2
    a.reshape(-1)[3 : 3 + n], b.reshape(-1)[1 : 1 + n] = whole(n, dtype=dtype), whole(n, dtype=dtype, seed=1)
    left, right = whole(n, dtype=dtype), whole(n, dtype=dtype, seed=1)
    for run in (sums, sums.py_func):
        out = np.zeros(2, dtype)
        run(0, 1, out, a, b, 3, n)
        assert out.tolist() == [left.sum(), ((left - a[0, 0]) * (right - b[0, 0])).sum()]
