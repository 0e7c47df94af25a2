"""Convolutions with few channels or few filters: first layers and output heads, any window, stride and dilation.

A matrix product wants many of both. With few channels (up to 8) the lanes hold filters, and one step takes one number
of each of some windows; with few filters the lanes hold channels, and one step takes one vector of each window. Both
walk a table that says where number s of a window lies (`window_tiles.py`), so that 9 products for a channel cost one
short loop.

Windows are read from a band: rows of the image with the zeros of the padding around them, copied by the block that
needs them; of a volume, the same rows of all planes that a window sees. With few channels that is a small part of the
traffic; with few filters it is 2 loads and stores beside 18 multiplications (16 channels, 3×3).

The gradient of the image is the same with the weights turned, for stride 1.

Kernels know volumes alone; an image is one of a single plane. 2·N·K·OD·OH·OW·C·k³ operations on N·C·D·H·W +
N·K·OD·OH·OW + K·C·k³ numbers; lanes / K or lanes / C times as many operations where both are below the lanes of a
vector.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array, Run
from minidl.core.remember import Prepared
from minidl.device import kernel
from minidl.device.dtypes import DType
from minidl.device.inline import inline, separate
from minidl.device.lines import clear_line, move_line
from minidl.device.scratch import give_back
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes, lanes_of
from minidl.device.window_tiles import channels_tile, filters_tile, windows_1, windows_2
from minidl.ops.conv.epilogue import Epilogue, flat_residuals_of, lifts_of
from minidl.ops.conv.volumes import in_three, volumes
from minidl.ops.windows import Sizes

_filters_1, _filters_2 = filters_tile(1), filters_tile(2)
_channels_1, _channels_2 = channels_tile(1), channels_tile(2)

# Places in the table of numbers that kernels take: of the image, of the result, of the window, of the band (`Band`).
IMAGES, DEPTH, HEIGHT, WIDTH, CHANNELS, OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH, FILTERS = range(9)
DEEP, DOWN, ALONG, PAD_DEEP, PAD_DOWN, PAD_ALONG, PLANES, BETWEEN, ROWS, IN_PLANE, REACH, COLUMNS, SIZE = range(9, 22)
OTHERS = 22

BAND_BYTES = 48 << 10  # of the rows of an image that a block reads
ITEMS = 16  # blocks at least, where there are so many rows
BLOCKS = 32
SLACK = 16  # windows behind a short row, which are computed and not kept


class Band(NamedTuple):
    """How rows of windows are cut into blocks, and what a block reads."""

    planes: int  # that one window sees
    between: int  # planes from one to the next
    rows: int  # of windows, in a block
    blocks: int  # of a plane
    reach: int  # rows that one window spans
    columns: int  # of the band
    size: int  # pixels of a plane of the band


def band_of(
    images: int, windows: Sizes, channels: int, item: int, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> Band:
    """The band for so many windows, with `channels` numbers of `item` bytes in a pixel; sizes alone decide."""
    reach, across = (d * (k - 1) + 1 for k, d in zip(kernel[1:], dilation[1:], strict=True))
    columns = (windows[2] - 1) * stride[2] + across
    rows = max(1, (BAND_BYTES // (kernel[0] * columns * channels * item) - reach) // stride[1] + 1)
    rows = min(rows, -(-windows[1] // -(-ITEMS // (images * windows[0]))))
    blocks = -(-windows[1] // rows)
    rows = -(-windows[1] // blocks)
    return Band(kernel[0], dilation[0], rows, blocks, reach, columns, ((rows - 1) * stride[1] + reach) * columns)


def vector_starts(count: int, line: int) -> list[int]:
    """Where vectors of `line` begin that cover range(count); the last one overlaps the one before it, if need be."""
    return [max(0, min(i, count - line)) for i in range(0, count, line)]


def offsets(kernel: Sizes, dilation: Sizes, band: Band, channels: int, starts: list[int]) -> Array:
    """Where in a window of a band each tap begins, plus each of `starts`."""
    taps = itertools.product(*map(range, kernel))
    places = [(z * band.size + r * dilation[1] * band.columns + q * dilation[2]) * channels for z, r, q in taps]
    return np.array([place + start for place in places for start in starts], np.int64)


class Plan(NamedTuple):
    """How one convolution is cut, and where its weights go."""

    sizes: Array  # for the kernel
    table: Array  # of the taps in a band
    strips: Array
    source: Array  # of each packed weight: its number in (*kernel, C, K) plus one, or 0 for none
    items: int
    room: int  # numbers that a thread needs


@functools.lru_cache(maxsize=512)
def plan(
    is_back: bool, x: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType,
    has_relu: bool, is_more: bool,
) -> Plan:  # fmt: skip
    """Cut rows of windows into blocks, and lay the weights out in vectors."""
    kernel, stride, padding, dilation = in_three(kernel, stride, padding, dilation)
    if is_back:
        padding = tuple([d * (k - 1) - p for k, d, p in zip(kernel, dilation, padding, strict=True)])
    x, out = volumes(x), volumes(out)
    line, (images, *windows, filters), channels = lanes_of(dtype), out, x[4]
    band = band_of(images, tuple(windows), channels, dtype.itemsize, kernel, stride, dilation)
    numbers = np.arange(1, math.prod(kernel) * channels * filters + 1)
    has_channel_lanes = filters < line <= channels
    if has_channel_lanes:
        starts = vector_starts(channels, line)
        source, strips = _packed_channels(numbers.reshape(*kernel, channels, filters), starts, line)
    else:
        starts = list(range(channels))
        source, strips = _packed_filters(numbers.reshape(-1, filters), line)
    table = offsets(kernel, dilation, band, channels, starts)
    by_line = windows[2] < SLACK or is_more or (filters < line and not has_channel_lanes)
    sizes = np.array(
        (*x, *windows, filters, *stride, *padding, *band, has_channel_lanes, by_line, has_relu, is_more), np.int64
    )
    room = (band.planes * band.size + SLACK * stride[2]) * channels + (windows[2] + SLACK) * filters + 8 * line
    return Plan(sizes, table, strips, source, images * windows[0] * band.blocks, room)


def forward(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Run:
    """The convolution of x (N, *space, C) with weight (K, C, *kernel) to out (N, *windows, K), all C-contiguous."""
    return _bound(False, out, x, weight, epilogue, stride, padding, dilation)


def backward(out: Array, g: Array, weight: Array, epilogue: Epilogue, padding: Sizes, dilation: Sizes) -> Run:
    """Its adjoint in the image for stride 1: g (N, *windows, K) to out (N, *space, C)."""
    return _bound(True, out, g, weight, epilogue, (1,) * len(padding), padding, dilation)


def _bound(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes,
    dilation: Sizes,
) -> Run:  # fmt: skip
    dtype = out.dtype
    cut = plan(is_back, x.shape, out.shape, weight.shape[2:], stride, padding, dilation, dtype,
               epilogue.activation == "relu", epilogue.is_more)  # fmt: skip

    def pack(room: Array, weight: Array) -> None:
        numbers = np.zeros(weight.size + 1, dtype)
        seen = _seen(weight, is_back)
        numbers[1:].reshape(seen.shape)[...] = seen
        numbers.take(cut.source, out=room[: cut.source.size], mode="clip")

    weights = Prepared(("direct", is_back), cut.source.size, pack)
    lift, flat = lifts_of(out.shape[-1] + lanes_of(dtype), dtype), flat_residuals_of(dtype)
    slide = Blocks(_slide, cut.items, size=out.nbytes + x.nbytes, block=-(-cut.items // BLOCKS), scratch_size=cut.room)

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        packed, lent = weights.of(weight)
        slide(out.reshape(-1), x.reshape(-1), packed, lift(bias), flat(residual), cut.table, cut.strips,
              cut.sizes)  # fmt: skip
        give_back(lent)

    return run


def _seen(weight: Array, is_back: bool) -> Array:
    """(taps, channels that come in, channels that go out); on the way back taps come in the opposite order."""
    by_tap = weight.reshape(*weight.shape[:2], -1)
    return by_tap[:, :, ::-1].transpose(2, 0, 1) if is_back else by_tap.transpose(2, 1, 0)


def _packed_filters(matrix: Array, line: int) -> tuple[Array, Array]:
    """Weights (steps, filters) in strips [strip][step][filter], and (first filter, vectors, place) of each strip."""
    starts = vector_starts(matrix.shape[1], line)
    parts, strips, place = [], [], 0
    while starts:
        width = 2 if len(starts) > 1 and starts[1] == starts[0] + line else 1
        first = starts[0]
        part = np.zeros((len(matrix), width * line), matrix.dtype)
        columns = matrix[:, first : first + width * line]
        part[:, : columns.shape[1]] = columns
        parts.append(part.reshape(-1))
        strips.append((first, width, place))
        place += part.size
        starts = starts[width:]
    return np.concatenate(parts), np.array(strips, np.int64)


def _packed_channels(weight: Array, starts: list[int], line: int) -> tuple[Array, Array]:
    """Weights (*kernel, C, K) as [group of filters][step][filter][lane], and (first filter, filters, place) of groups.

    Channels that two vectors share have their weight in the first of them.
    """
    taps = weight.reshape(-1, *weight.shape[-2:])
    steps = np.zeros((len(taps), len(starts), line, taps.shape[2]), weight.dtype)
    for number, start in enumerate(starts):
        shared = max(0, number * line - start)
        steps[:, number, shared:] = taps[:, start + shared : start + line]
    steps = steps.reshape(-1, line, taps.shape[2])
    parts, groups, place = [], [], 0
    for first in range(0, taps.shape[2], 2):
        part = steps[:, :, first : first + 2].swapaxes(1, 2)
        parts.append(part.reshape(-1))
        groups.append((first, part.shape[1], place))
        place += part.size
    return np.concatenate(parts), np.array(groups, np.int64)


@inline
def fill_band(band: Array, at: int, x: Array, volume: int, sizes: Array, plane: int, first_row: int, rows: int) -> None:
    """Rows of all planes that windows of plane `plane` of the result see to band[at:], zero outside.

    `volume` is the number of the volume in x.
    """
    depth, height, width, channels = sizes[DEPTH], sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    first = plane * sizes[DEEP] - sizes[PAD_DEEP]
    for t in range(sizes[PLANES]):
        z = first + t * sizes[BETWEEN]
        fill_plane(band, at + t * sizes[SIZE] * channels, x, (volume * depth + z) * height * width * channels,
                   height if 0 <= z < depth else 0, width, channels, first_row, rows, -sizes[PAD_ALONG],
                   sizes[COLUMNS])  # fmt: skip


@separate
def fill_plane(
    band: Array, at: int, x: Array, plane: int, height: int, width: int, channels: int, first_row: int, rows: int,
    first_column: int, columns: int,
) -> None:  # fmt: skip
    """Rows and columns of a plane, zero outside, to band[at:]; `plane` is the index of its first number in x."""
    left = min(max(0, -first_column), columns)
    stop = max(left, min(columns, width - first_column))
    for r in range(rows):
        row, begin = first_row + r, at + r * columns * channels
        if row < 0 or row >= height:
            clear_line(band, begin, band, 0, columns * channels)
            continue
        clear_line(band, begin, band, 0, left * channels)
        clear_line(band, begin + stop * channels, band, 0, (columns - stop) * channels)
        move_line(band, begin + left * channels, x, plane + (row * width + first_column + left) * channels,
                  (stop - left) * channels)  # fmt: skip


@separate
def _row_over_filters(
    c: Array, ic: int, ldc: int, band: Array, at: int, step: int, table: Array, weight: Array, strips: Array,
    lift: Array, count: int,
) -> None:  # fmt: skip
    """One row of windows with filters in the lanes. The last tile overlaps the one before it."""
    for s in range(len(strips)):
        first, width, place = strips[s, 0], strips[s, 1], strips[s, 2]
        if width == 2:
            for start in range(0, count, windows_2()):
                i = max(0, min(start, count - windows_2()))
                _filters_2(c, ic + i * ldc + first, ldc, band, at + i * step, step, table, len(table), weight, place,
                           lift, first)  # fmt: skip
        else:
            for start in range(0, count, windows_1()):
                i = max(0, min(start, count - windows_1()))
                _filters_1(c, ic + i * ldc + first, ldc, band, at + i * step, step, table, len(table), weight, place,
                           lift, first)  # fmt: skip


@separate
def _row_over_channels(
    c: Array, ic: int, ldc: int, band: Array, at: int, step: int, table: Array, weight: Array, strips: Array,
    lift: Array, count: int,
) -> None:  # fmt: skip
    """One row of windows with channels in the lanes."""
    for s in range(len(strips)):
        first, width, place = strips[s, 0], strips[s, 1], strips[s, 2]
        tile = lanes(c) // width
        for start in range(0, count, tile):
            i = max(0, min(start, count - tile))
            if width == 2:
                _channels_2(c, ic + i * ldc + first, ldc, band, at + i * step, step, table, len(table), weight, place,
                            lift, first)  # fmt: skip
            else:
                _channels_1(c, ic + i * ldc + first, ldc, band, at + i * step, step, table, len(table), weight, place,
                            lift, first)  # fmt: skip


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const T[::1], const int64[::1], const int64[:, ::1], "
    "const int64[::1], T[::1]",
    T=("float32", "float64"),
)
def _slide(
    begin: int, end: int, out: Array, x: Array, weight: Array, lift: Array, residual: Array, table: Array,
    strips: Array, sizes: Array, room: Array,
) -> None:  # fmt: skip
    """Blocks of rows of windows begin to end."""
    out_depth, out_height, out_width, filters = sizes[OUT_DEPTH], sizes[OUT_HEIGHT], sizes[OUT_WIDTH], sizes[FILTERS]
    down, step, rows, blocks = sizes[DOWN], sizes[ALONG] * sizes[CHANNELS], sizes[ROWS], sizes[IN_PLANE]
    has_channel_lanes, by_line, is_more = sizes[OTHERS] != 0, sizes[OTHERS + 1] != 0, sizes[OTHERS + 3] != 0
    floor = x.dtype.type(0 if sizes[OTHERS + 2] else -np.inf)
    at_line = sizes[PLANES] * sizes[SIZE] * sizes[CHANNELS] + SLACK * step + 2 * lanes(x)
    for item in range(begin, end):
        plane, first = item // blocks, item % blocks * rows
        count = min(rows, out_height - first)
        fill_band(room, 0, x, plane // out_depth, sizes, plane % out_depth, first * down - sizes[PAD_DOWN],
                  (count - 1) * down + sizes[REACH])  # fmt: skip
        for y in range(count):
            target = (plane * out_height + first + y) * out_width * filters
            source = y * down * sizes[COLUMNS] * sizes[CHANNELS]
            c, ic = (room, at_line) if by_line else (out, target)
            if has_channel_lanes:
                _row_over_channels(c, ic, filters, room, source, step, table, weight, strips, lift, out_width)
            else:
                _row_over_filters(c, ic, filters, room, source, step, table, weight, strips, lift, out_width)
            if by_line and not is_more:
                move_line(out, target, room, at_line, out_width * filters)
            elif by_line:
                _finish(out[target : target + out_width * filters], room[at_line:], residual[target:], floor)


@separate
def _finish(out: Array, line: Array, residual: Array, floor: float) -> None:
    """The rest of the epilogue for one row of windows, where nothing overlaps."""
    if residual.size:
        for i in range(len(out)):
            total = line[i] + residual[i]
            out[i] = floor if total < floor else total
    else:
        for i in range(len(out)):
            out[i] = floor if line[i] < floor else line[i]
