"""Compiled loops over lines: the stretches of memory that lie behind one index of one dimension.

An array is seen as (outer, length, inner), inner being all that lies behind the dimension in memory: for images that
lie channels-last a line is the channels of a pixel, or a row of pixels. `copy_runs` copies stretches of lines (joining
arrays, and cutting them apart).
"""

from __future__ import annotations

import math

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.lines import move_line
from minidl.device.pointers import pointer_to
from minidl.device.turn import contiguous

FLOATS = ("float32", "float64")
PIECE = 8192  # numbers that are a unit of work
SHORT = 4  # runs for which a call takes longer than the copying


def copy_runs(out: Array, first_out: int, x: Array, first_x: int, dim: int, length: int) -> None:
    """out[first_out + i] = x[first_x + i] along `dim`, for i below `length`; x may lie in another order."""
    order = dense_order(out)
    assert order is not None
    inner = math.prod([out.shape[d] for d in order[order.index(dim) + 1 :]])
    flat = out.transpose(order).reshape(-1), contiguous(x.transpose(order)).reshape(-1)
    steps = out.shape[dim] * inner, first_out * inner, x.shape[dim] * inner, first_x * inner
    pieces = -(-length * inner // PIECE)
    parallel(_copy_runs, out.size // steps[0] * pieces, *flat, *steps, length * inner, pieces)


@kernel("T[::1], const T[::1], intp, intp, intp, intp, intp, intp", T=FLOATS)
def _copy_runs(
    begin: int, end: int, out: Array, x: Array, step_out: int, at_out: int, step_x: int, at_x: int, length: int,
    pieces: int,
) -> None:  # fmt: skip
    """One unit is a piece of a run; of short ones, which are one piece each, first all first numbers are copied."""
    if length < SHORT:
        for i in range(length):
            to, at = pointer_to(out, at_out + i), pointer_to(x, at_x + i)
            for run in range(begin, end):
                to[run * step_out] = at[run * step_x]
        return
    for unit in range(begin, end):
        run, first = unit // pieces, unit % pieces * PIECE
        to, at = run * step_out + at_out + first, run * step_x + at_x + first
        move_line(out, to, x, at, min(PIECE, length - first))
