"""What the convolution kernels are made of, against NumPy: whole tiles, patch transforms, runs, scratch."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status, parallel, set_num_threads
from minidl.device.lines import clear_line, move_line
from minidl.device.patches import gathered_transform, patch_transform, tile_transform
from minidl.device.scratch import scratch
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product, product_turned, strip_width

FLOATS = ("float32", "float64")
needs_numba = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")
MATRIX = ((1.0, 0.0, -2.0), (0.0, 1.0, 1.0), (0.0, -1.0, 1.0), (2.0, 0.0, 0.0))
ALONG = ((1.0, 3.0, 0.0), (-1.0, 1.0, 2.0))
GROUPS = ((0, 3), (1, 2))
_plain, _bounded = (patch_transform(MATRIX, ALONG, GROUPS, bounded=bounded) for bounded in (False, True))
_gathered, _tile = gathered_transform(MATRIX, ALONG), tile_transform(MATRIX, ALONG, GROUPS)
_careful, _narrow = (tile_transform(MATRIX, ALONG, GROUPS, careful=True, narrow=narrow) for narrow in (False, True))
PLACES = np.array([0, 1, 2, 3, -1, 5, 6, 7, 8])  # of which the middle is zero


def whole(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


@kernel("T[::1], const T[::1], const T[::1], intp, intp, intp, bool, bool", T=FLOATS)
def multiply(
    begin: int, end: int, c: Any, a: Any, b: Any, rows: int, vectors: int, steps: int, turned: bool, adds: bool
) -> None:
    width = vectors * lanes(c)
    if turned:
        product_turned(c, 0, width, a, 0, rows, b, 0, width, rows, vectors, steps, adds)
    else:
        product(c, 0, width, a, 0, steps, b, 0, rows, vectors, steps)


@pytest.mark.numba
@needs_numba
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("sizes", [(4, 1, 1), (12, 2, 5), (16, 3, 16), (24, 5, 33), (28, 4, 300), (8, 7, 8)], ids=str)
def test_whole_tiles_equal_numpy(dtype, sizes) -> None:
    rows, vectors, steps = sizes
    line = lanes_of(np.dtype(dtype))
    a, b = whole(rows, steps, dtype=dtype), whole(steps, vectors * line, dtype=dtype, seed=1)
    strips, v = [], 0
    while v < vectors:
        width = strip_width(vectors - v)
        strips.append(b[:, v * line : (v + width) * line].reshape(-1))
        v += width
    for run in (multiply, multiply.py_func):
        c = np.full((rows, vectors * line), 7, dtype)
        run(0, 1, c.reshape(-1), a.reshape(-1), np.concatenate(strips), rows, vectors, steps, False, False)
        np.testing.assert_array_equal(c, a @ b)
        for adds in (True, False):
            before = c.copy()
            run(0, 1, c.reshape(-1), a.T.reshape(-1), b.reshape(-1), rows, vectors, steps, True, adds)
            np.testing.assert_array_equal(c, a @ b + (before if adds else 0))


@kernel("T[::1], const T[::1], const T[::1], T[::1], const intp[::1], intp", T=FLOATS)
def transform(begin: int, end: int, out: Any, x: Any, lift: Any, spare: Any, places: Any, which: int) -> None:
    n, floor = lanes(out), out.dtype.type(0)
    if which == 0:
        _plain(out, 0, 2 * n, n, x, 0, 3 * n, n, 0, 3, 0, 3, spare, n)
    elif which == 1:
        _bounded(out, 0, 2 * n, n, x, 0, 3 * n, n, 1, 3, -1, 2, spare, n - 1)
    elif which == 2:
        _gathered(out, 0, 2 * n, n, x, 0, places, 0, 9, n - 1)
    elif which == 3:
        _tile(out, 0, 2 * n, n, x, 0, 3 * n, n, lift, 1, 4, 2, x, 0, 0, 0, floor, spare, n)
    elif which == 4:
        _careful(out, 0, 2 * n, n, x, 0, 3 * n, n, lift, 1, 3, 1, x, 0, 2 * n, n, floor, spare, n)
    else:
        _narrow(out, 0, 2 * n, n, x, 0, 3 * n, n, lift, 1, 3, 1, x, 0, 2 * n, n, floor, spare, n - 1)


@pytest.mark.numba
@needs_numba
@pytest.mark.parametrize("dtype", FLOATS)
def test_transforms_equal_matrix_products(dtype) -> None:
    n = lanes_of(np.dtype(dtype))
    m, k = np.array(MATRIX), np.array(ALONG)
    x, lift = whole(9 * n, dtype=dtype), whole(n + 1, dtype=dtype, seed=1)
    grid = x.reshape(3, 3, n)
    bounded = grid.copy()
    bounded[0], bounded[:, 2], bounded[..., -1] = 0, 0, 0
    gathered = np.ascontiguousarray(x.reshape(n, 3, 3).transpose(1, 2, 0))
    gathered[..., -1], gathered[1, 1] = gathered[..., -2], 0
    plain = np.einsum("ri,ijn,qj->rqn", m, grid, k)
    careful = plain + lift[1:]
    careful[:3, 0] = np.maximum(careful[:3, 0] + [x[2 * r * n :][:n] for r in range(3)], 0)
    careful[3:], careful[:, 1:] = 77, 77
    narrow = careful.copy()
    narrow[..., -1] = 77
    wanted = [plain, np.einsum("ri,ijn,qj->rqn", m, bounded, k), np.einsum("ri,ijn,qj->rqn", m, gathered, k),
              plain + lift[1:], careful, narrow]  # fmt: skip
    for which, result in enumerate(wanted):
        for run in (transform, transform.py_func):
            out = np.full((4, 2, n), 77, dtype)
            run(0, 1, out.reshape(-1), x, lift, np.zeros(n, dtype), PLACES, which)
            np.testing.assert_array_equal(out, result, err_msg=f"transform {which}")


@kernel("T[::1], const T[::1]", T=FLOATS)
def runs(begin: int, end: int, out: Any, x: Any) -> None:
    move_line(out, 2, x, 1, 5)
    clear_line(out, 8, out, 0, 3)


@pytest.mark.numba
@needs_numba
def test_runs_are_copied_and_cleared_and_nothing_beside() -> None:
    for run in (runs, runs.py_func):
        out = np.full(12, 77, np.float32)
        run(0, 1, out, np.arange(9, dtype=np.float32))
        assert out.tolist() == [77, 77, 1, 2, 3, 4, 5, 77, 0, 0, 0, 77]


def test_scratch_is_lent_once_at_a_time_and_again_afterwards() -> None:
    dtype = np.dtype(np.float32)
    with scratch(100, dtype) as outer, scratch(100, dtype) as inner:
        assert not np.shares_memory(outer, inner)
        assert outer.ctypes.data % 64 == inner.ctypes.data % 64 == 0
        first = {outer.ctypes.data, inner.ctypes.data}
    with scratch(90, dtype) as again:
        assert again.ctypes.data in first
        other = []
        thread = threading.Thread(target=lambda: other.append(scratch(90, dtype).__enter__().ctypes.data))
        thread.start()
        thread.join()
        assert again.ctypes.data not in other


@kernel("T[::1], T[::1]", T=("float32", "float64"))
def means_of_scratch(begin: int, end: int, out: Any, room: Any) -> None:
    for i in range(room.size):
        room[i] = begin
    for i in range(begin, end):
        total = 0.0
        for j in range(room.size):
            total += room[j]
        out[i] = total / room.size


@needs_numba
@pytest.mark.numba
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_thread_of_a_job_has_scratch_of_the_type_of_the_first_array(count: int, dtype: Any) -> None:
    """Were it shared, one thread would read what another wrote; 1000 numbers are 16 microseconds of chances."""
    set_num_threads(count)
    seen = np.zeros(400, dtype)
    for _ in range(5):
        parallel(means_of_scratch, 400, seen, block=1, scratch_size=1000)
        np.testing.assert_array_equal(seen, np.arange(400))
