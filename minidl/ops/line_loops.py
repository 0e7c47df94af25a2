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
from minidl.device.turn import contiguous

FLOATS = ("float32", "float64")


def copy_runs(out: Array, first_out: int, x: Array, first_x: int, dim: int, length: int) -> None:
    """out[first_out + i] = x[first_x + i] along `dim`, for i below `length`; x may lie in another order."""
    order = dense_order(out)
    assert order is not None
    inner = math.prod([out.shape[d] for d in order[order.index(dim) + 1 :]])
    flat = out.transpose(order).reshape(-1), contiguous(x.transpose(order)).reshape(-1)
    steps = out.shape[dim] * inner, first_out * inner, x.shape[dim] * inner, first_x * inner
    parallel(_copy_runs, out.size // steps[0], *flat, *steps, length * inner)


@kernel("T[::1], const T[::1], intp, intp, intp, intp, intp", T=FLOATS)
def _copy_runs(
    begin: int, end: int, out: Array, x: Array, step_out: int, at_out: int, step_x: int, at_x: int, length: int
) -> None:
    for run in range(begin, end):
        move_line(out, run * step_out + at_out, x, run * step_x + at_x, length)
