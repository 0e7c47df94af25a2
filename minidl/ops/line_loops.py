"""Compiled loops over lines: the stretches of memory that lie behind one index of one dimension.

An array is seen as (outer, length, inner), inner being all that lies behind the dimension in memory: for images that
lie channels-last a line is the channels of a pixel, or a row of pixels. `join_parts` copies stretches of lines (joining
arrays, and cutting them apart), all of them in one launch: of two inputs, each is too short for help to be called.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.lines import move_lines
from minidl.device.pointers import cells, pointers_at
from minidl.device.turn import contiguous

FLOATS = ("float32", "float64")
PIECE = 8192  # numbers of a long row that are a unit of work
SHORT = 2048  # numbers of short rows that are: with what is read for them they fit into the first cache
START, LENGTH, FIRST, STEP = range(4)  # of a part: in a line of the result, and in a line of its array
_ONE = (0,)


def join_parts(out: Array, dim: int, arrays: Sequence[Array], parts: tuple[tuple[int, int], ...]) -> None:
    """out = array[first : first + length] of all arrays, one behind the other along `dim`.

    Args:
        arrays: each in any order of memory.
        parts: first and length, for each of the arrays.
    """
    order = dense_order(out)
    assert order is not None
    inner = math.prod([out.shape[d] for d in order[order.index(dim) + 1 :]])
    straight = [contiguous(x.transpose(order)) for x in arrays]
    told = _told(inner, tuple([x.shape[dim] for x in arrays]), parts)
    width = out.shape[dim] * inner
    rows, pieces, outer = max(1, SHORT // width), -(-width // PIECE), out.size // width
    table, _kept = cells(straight, 1)
    flat = out.transpose(order).reshape(-1)
    parallel(_join, -(-outer // rows) * pieces, flat, table, told, width, outer, rows, pieces, size=2 * out.nbytes)


@functools.lru_cache(maxsize=256)
def _told(inner: int, lengths: tuple[int, ...], parts: tuple[tuple[int, int], ...]) -> Array:
    """(arrays, 4): what the kernel is told of each part, in numbers."""
    starts = np.cumsum([0, *[length for _, length in parts]])[:-1]
    columns = starts, [length for _, length in parts], [first for first, _ in parts], lengths
    return np.stack(columns, 1).astype(np.intp) * inner


@kernel("T[::1], const intp[:, ::1], const intp[:, ::1], intp, intp, intp, intp", T=FLOATS)
def _join(
    begin: int, end: int, out: Array, table: Any, parts: Any, width: int, outer: int, rows: int, pieces: int
) -> None:  # fmt: skip
    """One unit is a piece of a row of the result, or some short rows."""
    for unit in range(begin, end):
        row, low = unit // pieces * rows, unit % pieces * PIECE
        lines, high = min(rows, outer - row), min(low + PIECE, width)
        for i in range(len(parts)):
            start, step = parts[i, START], parts[i, STEP]
            left, right = max(low, start), min(high, start + parts[i, LENGTH])
            if left < right:
                at = row * step + parts[i, FIRST] + left - start
                source = pointers_at(table, i, out, _ONE)[0]
                move_lines(out, row * width + left, width, source, at, step, lines, right - left)
