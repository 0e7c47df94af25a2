"""Kernels that copy rows named by an index, and that add rows to where an index says: embeddings, x[:, index].

Arrays are (A, n, B): what lies before the dimension that is indexed, the dimension, and a row. Forward copies. Adding
clears the result and goes through the index in its order; threads share out the rows of the result, so nobody meets
anybody and the bits are the same on any number of them. Numbers below zero count from the end.
"""

from __future__ import annotations

import math

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.lines import add_line, clear_line, move_line

FLOATS = ("float32", "float64")
PIECES = 16  # of the rows, for threads to share out


def pick_rows(out: Array, x: Array, index: Array, dim: int) -> None:
    """out[a, k] = x[a, index[k]], where `a` are the places before dimension `dim` of x; all C-contiguous."""
    before, row = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    parallel(_pick, before * index.size, out.reshape(-1), x.reshape(-1), index.reshape(-1), row, x.shape[dim],
             size=out.nbytes)  # fmt: skip


def add_rows(out: Array, g: Array, index: Array, dim: int, skipped: int = -1) -> None:
    """out[a, i] = the sum of g[a, k] over all k whose index[k] is i.

    Args:
        skipped: a row that gets nothing; -1 for none.
    """
    before, rows, row = math.prod(out.shape[:dim]), out.shape[dim], math.prod(out.shape[dim + 1 :])
    piece = -(-rows // max(1, PIECES // before))
    units = before * -(-rows // piece)
    parallel(_add, units, out.reshape(-1), g.reshape(-1), index.reshape(-1), rows, piece, row, skipped, block=1)


@kernel("T[::1], const T[::1], const int64[::1], intp, intp", T=FLOATS)
def _pick(begin: int, end: int, out: Array, x: Array, index: Array, length: int, rows: int) -> None:
    """One unit is a row that is picked."""
    a, k = begin // len(index), begin % len(index)
    for unit in range(begin, end):
        at = index[k]
        move_line(out, unit * length, x, (a * rows + (at if at >= 0 else at + rows)) * length, length)
        k += 1
        if k == len(index):
            a, k = a + 1, 0


@kernel("T[::1], const T[::1], const int64[::1], intp, intp, intp, intp", T=FLOATS)
def _add(
    begin: int, end: int, out: Array, g: Array, index: Array, rows: int, piece: int, length: int, skipped: int
) -> None:
    """One unit is a piece of the rows."""
    pieces = (rows + piece - 1) // piece
    for unit in range(begin, end):
        a, first = unit // pieces, unit % pieces * piece
        last = min(rows, first + piece)
        clear_line(out, (a * rows + first) * length, out, 0, (last - first) * length)
        for k in range(len(index)):
            at = index[k]
            if at < 0:
                at += rows
            if first <= at < last and at != skipped:
                add_line(out, (a * rows + at) * length, g, (a * len(index) + k) * length, length)
