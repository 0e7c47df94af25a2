"""Moving, adding, clearing and filling lines between arrays of several dimensions, against slices of NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minidl.device import kernel, numba_status
from minidl.device.lines import add_line, clear_line, fetch_line, first_aligned, move_line, move_lines, repeat_number

pytestmark = [
    pytest.mark.numba,
    pytest.mark.skipif(not numba_status(), reason="Numba is not installed"),
]


@kernel("T[:, ::1], const T[:, :, ::1], T[::1], intp", T=("float32", "float64"))
def _run(begin: int, end: int, target: Any, source: Any, room: Any, count: int) -> None:
    width = target.shape[1]
    move_line(target, 1, source, 5, count)
    add_line(target, width + 2, source, 6, count)
    clear_line(target, 2 * width + 3, source, 0, count)
    repeat_number(target, 3 * width + 4, source, 7, count)
    fetch_line(target, 0, source, -1000, count)
    room[first_aligned(room)] = 7


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 3, 8, 17, 40])
def test_lines_are_slices(count: int, dtype: Any, compiled: bool) -> None:
    rng = np.random.default_rng(count)
    target, source = rng.standard_normal((4, 50)).astype(dtype), rng.standard_normal((2, 3, 20)).astype(dtype)
    expected, flat, room = target.copy(), source.reshape(-1), np.zeros(40, dtype)
    expected[0, 1 : 1 + count] = flat[5 : 5 + count]
    expected[1, 2 : 2 + count] += flat[6 : 6 + count]
    expected[2, 3 : 3 + count] = 0
    expected[3, 4 : 4 + count] = flat[7]
    (_run if compiled else _run.py_func)(0, 1, target, source, room, count)
    np.testing.assert_array_equal(target, expected)
    (place,) = np.flatnonzero(room)
    assert (room.ctypes.data + place * room.itemsize) % 64 == 0
    assert place * room.itemsize < 64


@kernel("T[::1], const T[::1], intp, intp", T=("float32", "float64"))
def _run_many(begin: int, end: int, target: Any, source: Any, lines: int, count: int) -> None:
    move_lines(target, 1, 45, source, 2, 41, lines, count)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 16, 17, 32, 40])
@pytest.mark.parametrize("lines", [0, 1, 5])
def test_many_lines_are_parts_of_matrices(lines: int, count: int, dtype: Any, compiled: bool) -> None:
    """What lies between the lines is left as it was."""
    target, source = np.zeros(300, dtype), np.arange(1, 301, dtype=dtype)
    expected = target.copy()
    for line in range(lines):
        expected[1 + 45 * line :][:count] = source[2 + 41 * line :][:count]
    (_run_many if compiled else _run_many.py_func)(0, 1, target, source, lines, count)
    np.testing.assert_array_equal(target, expected)
