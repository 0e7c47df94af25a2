"""The gradient of the weights where there are few channels or few filters: all sums stay in registers.

gw[k, tap, c] is the sum over all windows of g[window, k] · x[window + tap, c]. Where channels are few, the numbers are
those of a window (taps times channels, found by a table) and the vectors hold filters; where filters are few, the
numbers are g's and the vectors hold channels. A tile of 6×2, 2×6 or so of these sums runs over all windows of a band of
rows before it is stored.

Bands are joined to pieces with sums of their own, which are added up in order; these cuts depend on sizes alone.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array, Run
from minidl.device import kernel
from minidl.device.dtypes import DType
from minidl.device.inline import separate
from minidl.device.lines import move_line
from minidl.device.scratch import scratch
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes, lanes_of
from minidl.device.window_tiles import outer_tile
from minidl.ops.conv.direct import (
    ALONG,
    CHANNELS,
    COLUMNS,
    DOWN,
    FILTERS,
    IN_PLANE,
    OTHERS,
    OUT_DEPTH,
    OUT_HEIGHT,
    OUT_WIDTH,
    PAD_DOWN,
    PLANES,
    REACH,
    ROWS,
    SIZE,
    band_of,
    fill_band,
    offsets,
    vector_starts,
)
from minidl.ops.conv.volumes import in_three, volumes
from minidl.ops.windows import Sizes

# Rows times vectors of a tile: many rows with few vectors of filters, or few filters with many vectors of channels.
# Where there are few vectors, as in 1×1 heads, four windows at a time have sums of their own.
SHAPES = ((6, 2), (9, 1), (1, 9), (2, 6), (2, 1))
_outer_0, _outer_1, _outer_2, _outer_3, _outer_4 = (outer_tile(*shape) for shape in (*SHAPES[:4], (2, 1, 4)))

FEW_VECTORS = 4
PIECES = 16


class Plan(NamedTuple):
    """How one weight gradient is cut, and where its sums are."""

    sizes: Array  # for the kernel
    numbers: Array  # tables of offsets
    vectors: Array
    pieces: int
    total: int  # sums of a piece
    place: Array  # of the sum for each weight (K, C, *kernel)
    room: int  # numbers that a thread needs


@functools.lru_cache(maxsize=512)
def plan(x: Sizes, g: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType) -> Plan:
    """Cut rows of windows into bands and pieces, and weights into tiles of numbers and vectors."""
    kernel, stride, padding, dilation = in_three(kernel, stride, padding, dilation)
    x, g = volumes(x), volumes(g)
    (images, *windows, filters), channels, line = g, x[4], lanes_of(dtype)
    band = band_of(images, tuple(windows), channels, dtype.itemsize, kernel, stride, dilation)
    has_channel_lanes = filters < line <= channels
    starts = vector_starts(channels if has_channel_lanes else filters, line)
    taps = offsets(kernel, dilation, band, channels, starts if has_channel_lanes else [*range(channels)])
    if has_channel_lanes:
        numbers, vectors = np.arange(filters, dtype=np.int64), taps
        shape = 4 if len(taps) < FEW_VECTORS else 2 if filters == 1 else 3
    else:
        numbers, vectors = taps, np.array(starts, np.int64)
        shape = 0 if len(starts) > 1 else 1
    rows, width = SHAPES[shape]
    numbers, vectors = _filled_up(numbers, rows), _filled_up(vectors, width)
    items = images * windows[0] * band.blocks
    pieces = min(PIECES, items)
    sizes = np.array(
        (*x, *windows, filters, *stride, *padding, *band, has_channel_lanes, shape, items, pieces), np.int64
    )
    room = band.planes * band.size * channels + band.rows * windows[2] * filters + 4 * line
    shares = (len(numbers) // rows, len(vectors) // width, rows, width, line)
    sums = np.arange(math.prod(shares)).reshape(shares).swapaxes(1, 2).reshape(len(numbers), len(vectors), line)
    if has_channel_lanes:
        place = np.empty((filters, len(taps) // len(starts), channels), np.int64)
        for number, start in enumerate(starts):
            columns = sums[:filters, number : len(taps) : len(starts), : channels - start]
            place[:, :, start : start + line] = columns
        place = place.swapaxes(1, 2)
    else:
        place = np.empty((len(taps), filters), np.int64)
        for number, start in enumerate(starts):
            place[:, start : start + line] = sums[: len(taps), number, : filters - start]
        place = place.reshape(-1, channels, filters).transpose(2, 1, 0)
    return Plan(sizes, numbers, vectors, pieces, sums.size, place.reshape(-1), room)


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> Run:
    """The adjoint of a convolution in its weight: out (K, C, *kernel) from x (N, *space, C) and g (N, *windows, K)."""
    cut, dtype = plan(x.shape, g.shape, out.shape[2:], stride, padding, dilation, out.dtype), out.dtype
    count = cut.pieces * cut.total
    add_up = Blocks(_sum_windows, cut.pieces, size=x.nbytes + g.nbytes, block=1, scratch_size=cut.room)

    def run(out: Array, x: Array, g: Array) -> None:
        with scratch(count, dtype) as sums:
            add_up(sums, x.reshape(-1), g.reshape(-1), cut.numbers, cut.vectors, cut.sizes)
            with np.errstate(over="ignore", invalid="ignore"):  # lanes behind the last filter hold what lay in memory
                total = sums[:count].reshape(cut.pieces, -1).sum(0)
        out.reshape(-1)[...] = total.take(cut.place)

    return run


def _filled_up(table: Array, step: int) -> Array:
    """A table whose length is a multiple of `step`: the last number is repeated, and its sums are not used."""
    return np.pad(table, (0, -len(table) % step), mode="edge")


@separate
def _add_band(
    sums: Array, at: int, room: Array, ia: int, a_down: int, a_step: int, numbers: Array, ib: int, b_down: int,
    b_step: int, vectors: Array, shape: int, down: int, count: int,
) -> None:  # fmt: skip
    """All tiles of sums over one band; numbers are read from room[ia:], vectors from room[ib:]."""
    line = lanes(sums)
    if shape == 0:
        for r in range(0, len(numbers), 6):
            for v in range(0, len(vectors), 2):
                _outer_0(sums, at + (r * len(vectors) + 6 * v) * line, room, ia, a_down, a_step, numbers, r,
                         room, ib, b_down, b_step, vectors, v, down, count)  # fmt: skip
    elif shape == 1:
        for r in range(0, len(numbers), 9):
            _outer_1(sums, at + r * line, room, ia, a_down, a_step, numbers, r,
                     room, ib, b_down, b_step, vectors, 0, down, count)  # fmt: skip
    elif shape == 2:
        for v in range(0, len(vectors), 9):
            _outer_2(sums, at + v * line, room, ia, a_down, a_step, numbers, 0,
                     room, ib, b_down, b_step, vectors, v, down, count)  # fmt: skip
    elif shape == 4:
        for r in range(0, len(numbers), 2):
            for v in range(len(vectors)):
                _outer_4(sums, at + (r * len(vectors) + 2 * v) * line, room, ia, a_down, a_step, numbers, r,
                         room, ib, b_down, b_step, vectors, v, down, count)  # fmt: skip
    else:
        for r in range(0, len(numbers), 2):
            for v in range(0, len(vectors), 6):
                _outer_3(sums, at + (r * len(vectors) + 2 * v) * line, room, ia, a_down, a_step, numbers, r,
                         room, ib, b_down, b_step, vectors, v, down, count)  # fmt: skip


@kernel(
    "T[::1], const T[::1], const T[::1], const int64[::1], const int64[::1], const int64[::1], T[::1]",
    T=("float32", "float64"),
)
def _sum_windows(
    begin: int, end: int, sums: Array, x: Array, g: Array, numbers: Array, vectors: Array, sizes: Array, room: Array
) -> None:
    """sums[piece][tile of rows][tile of vectors][row][vector] of pieces begin to end."""
    out_depth, out_height, out_width, filters = sizes[OUT_DEPTH], sizes[OUT_HEIGHT], sizes[OUT_WIDTH], sizes[FILTERS]
    down, channels, rows, blocks = sizes[DOWN], sizes[CHANNELS], sizes[ROWS], sizes[IN_PLANE]
    has_channel_lanes, shape, items, pieces = (
        sizes[OTHERS] != 0, sizes[OTHERS + 1], sizes[OTHERS + 2], sizes[OTHERS + 3],
    )  # fmt: skip
    at_slopes = sizes[PLANES] * sizes[SIZE] * channels
    x_down, x_step = down * sizes[COLUMNS] * channels, sizes[ALONG] * channels
    share = len(numbers) * len(vectors) * lanes(x)
    for piece in range(begin, end):
        sums[piece * share : (piece + 1) * share] = 0
        for item in range(items * piece // pieces, items * (piece + 1) // pieces):
            plane, first = item // blocks, item % blocks * rows
            count = min(rows, out_height - first)
            fill_band(room, 0, x, plane // out_depth, sizes, plane % out_depth, first * down - sizes[PAD_DOWN],
                      (count - 1) * down + sizes[REACH])  # fmt: skip
            move_line(room, at_slopes, g, (plane * out_height + first) * out_width * filters,
                      count * out_width * filters)  # fmt: skip
            if has_channel_lanes:
                _add_band(sums, piece * share, room, at_slopes, out_width * filters, filters, numbers,
                          0, x_down, x_step, vectors, shape, count, out_width)  # fmt: skip
            else:
                _add_band(sums, piece * share, room, 0, x_down, x_step, numbers,
                          at_slopes, out_width * filters, filters, vectors, shape, count, out_width)  # fmt: skip
