"""The compiled loop of two arrays that broadcast, in any way and any number of dimensions.

The result is worked on in chunks of `CHUNK` numbers: several short rows, or a piece of a long one. What an input has
for a chunk lies side by side in its memory, or is put side by side first, in a room that stays in the first cache: one
number again and again, or a row again and again. Then there is one loop over vectors, whatever the shapes. A room is
filled once for all chunks that repeat the same numbers. (A loop for each row instead began anew for every 32 channels
of a pixel, and counted the users of its three slices each time, which two threads do in turns: 18.4 ms where this takes
0.5.)
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import Kernel, inline, kernel
from minidl.device.inline import Inline
from minidl.device.lines import move_line, repeat_number
from minidl.device.pointers import pointer_to, put, taken

FLOATS = ("float32", "float64")
CHUNK = 1024
# A merged dimension: its length, and how far both arrays go for the next number of it.
Dim = tuple[int, int, int]


@functools.lru_cache(maxsize=1024)
def chunks_of(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, Array]:
    """How C-contiguous arrays of these shapes broadcast: the number of chunks, and the table that the loop reads.

    The table has (rows in a chunk, numbers in one of its rows, pieces of a row), then a line for the numbers of a row,
    one for rows, and one for each dimension around them: length, and the steps of both arrays.
    """
    *outer, rows, numbers = _with_rows(merged(x, y))
    pieces = max(1, round(numbers[0] / CHUNK))
    length = -(-numbers[0] // pieces)
    pieces = -(-numbers[0] // length)
    count = min(rows[0], max(1, CHUNK // length)) if pieces == 1 else 1
    table = np.array([(count, length, pieces), numbers, rows, *reversed(outer)], np.int64)
    chunks = math.prod([d[0] for d in outer]) * -(-rows[0] // count) * pieces
    return chunks, table


def merged(x: tuple[int, ...], y: tuple[int, ...]) -> list[Dim]:
    """The dimensions of the result, neighbours as one where the same arrays are repeated along them.

    >>> merged((8, 16, 32), (16, 1))
    [(8, 512, 0), (16, 32, 1), (32, 1, 0)]
    """
    ndim = max(len(x), len(y))
    x, y = ((1,) * (ndim - len(s)) + s for s in (x, y))
    dims: list[Dim] = []
    step_x = step_y = 1
    for a, b in zip(reversed(x), reversed(y), strict=True):
        if a == b == 1:
            continue
        dim = max(a, b), 0 if a < b else step_x, 0 if b < a else step_y
        if dims and (dims[0][1] > 0, dims[0][2] > 0) == (dim[1] > 0, dim[2] > 0):
            dims[0] = (dims[0][0] * dim[0], *dims[0][1:])
        else:
            dims.insert(0, dim)
        step_x, step_y = step_x * a, step_y * b
    return dims


def _with_rows(dims: list[Dim]) -> list[Dim]:
    return [(1, 0, 0)] * (2 - len(dims)) + dims


@inline
def _gather(room: Any, source: Any, at: int, rows: int, length: int, row_step: int, step: int) -> None:
    """Put `rows` rows of `length` numbers side by side: each a piece of `source`, or one of its numbers repeated."""
    for k in range(rows):
        if step:
            move_line(room, k * length, source, at + k * row_step, length)
        else:
            repeat_number(room, k * length, source, at + k * row_step, length)


def broadcast_loop(formula: Inline) -> Kernel:
    """The kernel over the chunks of a result."""

    @kernel("T[::1], const T[::1], const T[::1], const int64[:, ::1]", T=FLOATS)
    def of_chunks(begin: int, end: int, out: Array, x: Array, y: Array, table: Array) -> None:
        most, length, pieces = table[0, 0], table[0, 1], table[0, 2]
        numbers, x_step, y_step = table[1, 0], table[1, 1], table[1, 2]
        rows, x_row, y_row = table[2, 0], table[2, 1], table[2, 2]
        groups = -(-rows // most)
        x_room, y_room = np.empty(most * length, x.dtype), np.empty(most * length, x.dtype)
        x_lies, y_lies = x_step == 1, y_step == 1
        if most > 1:
            x_lies, y_lies = x_lies and x_row == numbers, y_lies and y_row == numbers
        x_held, y_held, x_count, y_count = -1, -1, 0, 0
        for unit in range(begin, end):
            piece, rest = unit % pieces, unit // pieces
            group, matrix = rest % groups, rest // groups
            row, first = group * most, piece * length
            at = (matrix * rows + row) * numbers + first
            at_x, at_y = row * x_row + first * x_step, row * y_row + first * y_step
            for d in range(3, len(table)):
                index = matrix % table[d, 0]
                matrix //= table[d, 0]
                at_x += index * table[d, 1]
                at_y += index * table[d, 2]
            count = min(most, rows - row)
            size = min(length, numbers - first)
            if not x_lies and (at_x != x_held or count * size > x_count):
                _gather(x_room, x, at_x, count, size, x_row, x_step)
                x_held, x_count = at_x, count * size
            if not y_lies and (at_y != y_held or count * size > y_count):
                _gather(y_room, y, at_y, count, size, y_row, y_step)
                y_held, y_count = at_y, count * size
            a = pointer_to(x, at_x) if x_lies else pointer_to(x_room, 0)
            b = pointer_to(y, at_y) if y_lies else pointer_to(y_room, 0)
            places = (pointer_to(out, at), a, b)
            for i in range(count * size):
                _, p, q = taken(places, i)
                put(places, i, (formula(p, q),))

    return of_chunks
