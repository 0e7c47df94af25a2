"""Compiled loops over lines: the stretches of memory that lie behind one index of one dimension.

An array is seen as (outer, length, inner), inner being all that lies behind the dimension in memory: for images that
lie channels-last a line is the channels of a pixel, or a row of pixels. `combine` makes each line of the result a
weighted sum of lines (resizing, and its adjoint); `copy_runs` copies stretches of lines (joining arrays, and cutting
them apart).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.lines import move_line
from minidl.device.mixed_lines import mix_lines, sum_lines
from minidl.device.pointers import pointer_to
from minidl.device.turn import contiguous

FLOATS = ("float32", "float64")
SHORT = 4  # lines for which a vector would mostly be empty


class Mix(NamedTuple):
    """Line i of a result is the sum of weights[k] * line places[k] for k from starts[i] up to starts[i + 1]."""

    starts: Array
    places: Array
    weights: Array


def combine(out: Array, x: Array, dim: int, mix: Mix) -> None:
    """Lines of `out` along `dim` from those of `x`, both C-contiguous."""
    inner = math.prod(out.shape[dim + 1 :])
    lengths = out.shape[dim], x.shape[dim]
    weights = mix.weights.astype(out.dtype)
    flat = out.reshape(-1), x.reshape(-1)
    parallel(_combine, out.size // inner, *flat, mix.starts, mix.places, weights, *lengths, inner)


def combine_planes(out: Array, x: Array, rows: Mix, columns: Mix) -> None:
    """Planes (..., H, W, C) of `out` from those of `x`: rows are mixed to one in the first cache, its pixels then."""
    height, width, channels = out.shape[-3:]
    shape = x.shape[-3], x.shape[-2], height, width, channels
    mixes = [a if a.dtype == np.int64 else a.astype(out.dtype) for a in (*rows, *columns)]
    parallel(_combine_planes, out.size // (width * channels), out.reshape(-1), x.reshape(-1), *mixes, *shape)


@kernel(
    "T[::1], const T[::1], const int64[::1], const int64[::1], const T[::1], const int64[::1], const int64[::1], "
    "const T[::1], intp, intp, intp, intp, intp",
    T=FLOATS,
)
def _combine_planes(
    begin: int, end: int, out: Array, x: Array, row_starts: Array, row_places: Array, row_weights: Array,
    starts: Array, places: Array, weights: Array, old_rows: int, old_columns: int, rows: int, columns: int,
    channels: int,
) -> None:  # fmt: skip
    """One unit is a row of a result. One that is a row of x is read where it lies; the same again is copied.

    Lines are handled here and not in a function: its arrays would be counted as used at each call (30 ns a pixel).
    """
    length, width = old_columns * channels, columns * channels
    mixed, held = np.empty(length, x.dtype), -1
    for unit in range(begin, end):
        first, r = unit // rows * old_rows * length, unit % rows
        k, last = row_starts[r], row_starts[r + 1]
        line = pointer_to(mixed, 0)
        if last - k == 1 and row_weights[k] == 1:
            lies = first + row_places[k] * length
            if lies == held:
                move_line(out, unit * width, out, (unit - 1) * width, width)
                continue
            line, held = pointer_to(x, lies), lies
        elif last - k == 2:
            a, b = first + row_places[k] * length, first + row_places[k + 1] * length
            mix_lines(mixed, 0, x, b, row_weights[k + 1], a, row_weights[k], length)
            held = -1
        else:
            sum_lines(mixed, 0, x, first, row_places, row_weights, k, last, length)
            held = -1
        for q in range(columns):
            at, k, last = (unit * columns + q) * channels, starts[q], starts[q + 1]
            if last - k == 2 and channels >= SHORT:
                a, b = places[k] * channels, places[k + 1] * channels
                mix_lines(out, at, line, a, weights[k], b, weights[k + 1], channels)
            elif last - k == 1 and weights[k] == 1:
                move_line(out, at, line, places[k] * channels, channels)
            elif channels >= SHORT:
                sum_lines(out, at, line, 0, places, weights, k, last, channels)
            else:
                for j in range(channels):
                    total = x.dtype.type(0)
                    for more in range(k, last):
                        total += line[places[more] * channels + j] * weights[more]
                    out[at + j] = total


@kernel("T[::1], const T[::1], const int64[::1], const int64[::1], const T[::1], intp, intp, intp", T=FLOATS)
def _combine(
    begin: int, end: int, out: Array, x: Array, starts: Array, places: Array, weights: Array, new: int, old: int,
    inner: int,
) -> None:  # fmt: skip
    for line in range(begin, end):
        first, i = line // new * old * inner, line % new
        sum_lines(out, line * inner, x, first, places, weights, starts[i], starts[i + 1], inner)


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
