"""Convolution as a matrix product whose matrix is never made: any window, stride, padding, dilation and groups.

In channels-last memory the pixels under one row of a window lie side by side, so a row of windows times the weights is
a matrix product that reads the image in place: row m of A begins m strides further on. The micro-kernel adds up the
rows of the window in registers; nothing is copied k² times, as im2col does.

The input gradient is the same: pixel i of the image gets g[o]·w[a] from every window o and tap a for which
o s - p + a d = i. For each of the s remainders of i the taps that fit are evenly spaced in o, so each remainder
("phase") is a convolution of its own with part of the taps, and nothing is multiplied by zero (Dumoulin and Visin 2016,
arXiv:1603.07285, section 4, fills g with zeros instead, which costs s² times as much).

2·N·K·OH·OW·(C/groups)·k² operations on N·C·H·W + N·K·OH·OW + K·(C/groups)·k² numbers, each read or written once.
"""

from __future__ import annotations

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.microkernel import gemm_taps, panel_columns, panel_count
from minidl.device.transpose import transpose
from minidl.device.vectors import aligned, aligned_empty, lanes, lanes_of
from minidl.ops.conv.bands import BAND_BYTES, drain_band, fill_band
from minidl.ops.windows import Sizes

STEPS = 256  # of a product over one panel: more of the panel would not stay in the first-level cache
BLOCKS = 32  # pieces that threads share out


class Line(NamedTuple):
    """One phase along one dimension: result out_step·u + start sums pixels in_step·u + first + t·step over its taps."""

    start: int
    first: int
    step: int
    taps: tuple[int, ...]  # which taps of the window they are

    @property
    def last(self) -> int:
        return self.first + self.step * max(0, len(self.taps) - 1)


class Way(NamedTuple):
    """A convolution, or the adjoint of one, along both dimensions."""

    lines: tuple[tuple[Line, ...], tuple[Line, ...]]
    in_step: Sizes
    out_step: Sizes


def forward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way:
    lines = [(Line(0, -p, d, tuple(range(k))),) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    return Way((lines[0], lines[1]), stride, (1, 1))


def backward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way:
    lines = [_phases(*sizes) for sizes in zip(kernel, stride, padding, dilation, strict=True)]
    return Way((lines[0], lines[1]), (1, 1), stride)


def _phases(kernel: int, stride: int, padding: int, dilation: int) -> tuple[Line, ...]:
    lines = []
    for start in range(stride):
        taps = [a for a in reversed(range(kernel)) if (start + padding - a * dilation) % stride == 0]
        windows = [(start + padding - a * dilation) // stride for a in taps]
        step = windows[1] - windows[0] if len(taps) > 1 else 1
        lines.append(Line(start, windows[0] if taps else 0, step, tuple(taps)))
    return tuple(lines)


class Plan(NamedTuple):
    """What the kernels need to know, as arrays of whole numbers."""

    sizes: Array
    phases: Array
    taps: Array
    units: int
    weights: int


@functools.lru_cache(maxsize=256)
def plan(way: Way, x: Sizes, out: Sizes, kernel: Sizes, groups: int, dtype: DType) -> Plan:
    """Cut the work into bands, and list the phases."""
    channels, filters = x[1] // groups, out[1] // groups
    lows = [min(line.first for line in lines) for lines in way.lines]
    highs = [max(line.last for line in lines) for lines in way.lines]
    counts = [-(-n // step) for n, step in zip(out[2:], way.out_step, strict=True)]
    columns = way.in_step[1] * (counts[1] - 1) + highs[1] - lows[1] + 1
    is_flat = way.in_step == way.out_step == (1, 1)  # rows of windows join to one long row, with a few idle windows
    pitch = filters if filters < lanes_of(dtype) else -(-filters // lanes_of(dtype)) * lanes_of(dtype)
    out_columns = columns if is_flat else counts[1] * way.out_step[1]
    row_bytes = dtype.itemsize * (columns * channels * way.in_step[0] + out_columns * pitch * way.out_step[0])
    rows = max(1, min(counts[0], (BAND_BYTES - columns * channels * (highs[0] - lows[0])) // row_bytes))
    bands = -(-counts[0] // rows)
    rows = -(-counts[0] // bands)
    phases, taps, used = [], [], 0
    for down, along in itertools.product(*way.lines):
        count = len(down.taps) * len(along.taps)
        phases.append(
            (down.start, down.first - lows[0], down.step, len(down.taps), -(-(out[2] - down.start) // way.out_step[0]),
             along.start, along.first - lows[1], along.step, len(along.taps),
             -(-(out[3] - along.start) // way.out_step[1]), used)
        )  # fmt: skip
        taps += [a * kernel[1] + b for a, b in itertools.product(down.taps, along.taps)]
        used += count
    sizes = (
        groups, channels, *x[2:], filters, *out[2:], *way.in_step, *way.out_step, rows, bands, columns, out_columns,
        pitch, lows[0], lows[1], highs[0] - lows[0] + 1, int(is_flat), panel_columns(dtype),
        panel_count(filters, dtype),
    )  # fmt: skip
    as_array = functools.partial(np.array, dtype=np.int64)
    weights = math.prod(kernel) * groups * panel_count(filters, dtype) * channels * panel_columns(dtype)
    return Plan(as_array(sizes), as_array(phases).reshape(-1, 11), as_array(taps), x[0] * groups * bands, weights)


def convolve(
    out: Array, x: Array, weight: Array, bias: Array | None, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """The convolution of x (N, C, H, W) with weight (K, C / groups, kH, kW), plus bias."""
    way = forward_way(weight.shape[2:], stride, padding, dilation)
    taps = math.prod(weight.shape[2:])
    _run(way, out, x, weight, bias, groups, weight.shape[1] * taps, taps)


def convolve_back(
    out: Array, g: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """The adjoint: g (N, K, OH, OW) spread over an image (N, C, H, W)."""
    way = backward_way(weight.shape[2:], stride, padding, dilation)
    taps = math.prod(weight.shape[2:])
    _run(way, out, g, weight, None, groups, taps, weight.shape[1] * taps)


def _run(
    way: Way, out: Array, x: Array, weight: Array, bias: Array | None, groups: int, filter_step: int, channel_step: int
) -> None:
    if not out.size:
        return
    work = plan(way, x.shape, out.shape, weight.shape[2:], groups, out.dtype)
    packed = aligned_empty(work.weights, out.dtype)
    cuts = (work.sizes, work.phases, work.taps)
    panels = groups * panel_count(out.shape[1] // groups, out.dtype)
    parallel(_pack, panels, packed, weight.reshape(-1), *cuts, filter_step, channel_step, block=1)
    start = np.zeros(out.shape[1], out.dtype) if bias is None else bias.copy()
    block = -(-work.units // BLOCKS)
    parallel(_slide, work.units, out.reshape(-1), x.reshape(-1), packed, start, work.sizes, work.phases, block=block)


@kernel(
    "T[::1], const T[::1], const int64[::1], const int64[:, ::1], const int64[::1], intp, intp",
    T=("float32", "float64"),
)
def _pack(
    begin: int, end: int, packed: Array, weight: Array, sizes: Array, phases: Array, taps: Array,
    filter_step: int, channel_step: int,
) -> None:  # fmt: skip
    """Lay panels begin to end of all groups out: [phase][group][panel][tap][channel][column]."""
    groups, channels, filters, panel, panels = sizes[0], sizes[1], sizes[4], sizes[20], sizes[21]
    turned = np.zeros(len(taps) * panel, weight.dtype)
    for unit in range(begin, end):
        group, p = unit // panels, unit % panels
        source = group * (weight.size // groups) + p * panel * filter_step
        columns = min(panel, filters - p * panel)
        turned[:] = 0
        for c in range(channels):
            transpose(turned, 0, panel, weight, source + c * channel_step, filter_step, columns, len(taps))
            for phase in range(len(phases)):
                count, first = phases[phase, 3] * phases[phase, 8], phases[phase, 10]
                at = ((first * groups + group * count) * panels + p * count) * channels * panel + c * panel
                for t in range(count):
                    row = taps[first + t] * panel
                    for q in range(panel):
                        packed[at + t * channels * panel + q] = turned[row + q]


@kernel("T[::1], const T[::1], const T[::1], T[::1], const int64[::1], const int64[:, ::1]", T=("float32", "float64"))
def _slide(
    begin: int, end: int, out: Array, x: Array, packed: Array, start: Array, sizes: Array, phases: Array
) -> None:
    """Bands begin to end of all images and groups."""
    groups, channels, height, width = sizes[0], sizes[1], sizes[2], sizes[3]
    filters, out_height, out_width = sizes[4], sizes[5], sizes[6]
    in_down, in_along, out_down, out_along = sizes[7], sizes[8], sizes[9], sizes[10]
    rows, bands, columns, out_columns, pitch = sizes[11], sizes[12], sizes[13], sizes[14], sizes[15]
    low_row, low_column, reach, is_flat, panel, panels = (
        sizes[16],
        sizes[17],
        sizes[18],
        sizes[19],
        sizes[20],
        sizes[21],
    )
    in_rows = (rows - 1) * in_down + reach
    band = np.empty(in_rows * columns * channels, x.dtype)
    room = np.empty(rows * out_down * out_columns * pitch + lanes(x) * 4, x.dtype)
    at_room = aligned(room)
    for unit in range(begin, end):
        image, first = unit // bands, unit % bands * rows
        group = image % groups
        fill_band(band, 0, channels, x, image * channels * height * width, channels, height, width,
                  first * in_down + low_row, in_rows, low_column, columns)  # fmt: skip
        for phase in range(len(phases)):
            row_start, row_first, row_step = phases[phase, 0], phases[phase, 1], phases[phase, 2]
            taps_down, row_count = phases[phase, 3], phases[phase, 4]
            column_start, column_first, column_step = phases[phase, 5], phases[phase, 6], phases[phase, 7]
            taps_along, column_count, weights = phases[phase, 8], phases[phase, 9], phases[phase, 10]
            lines = min(rows, row_count - first)
            length = column_count
            if is_flat:
                lines, length = min(1, lines), (lines - 1) * columns + column_count
            is_joined = taps_along == 1 or column_step == 1
            run = channels * taps_along if is_joined else channels
            times = 1 if is_joined else max(1, taps_along)
            panel_step = taps_down * taps_along * channels * panel
            at_weight = weights * groups * panels * channels * panel + group * panels * panel_step
            down_step, weight_step = row_step * columns * channels, taps_along * channels * panel
            # Few steps: all taps at once, sums in registers. Many: a piece of the panel that fits the cache at a time.
            at_once, pieces, steps = 1, taps_down * times, STEPS
            if taps_down * taps_along == 0 or (is_joined and taps_down * run <= STEPS):
                at_once, pieces, steps = taps_down, 1, max(1, run)
            for line in range(lines):
                at_band = ((line * in_down + row_first) * columns + column_first) * channels
                at_out = at_room + ((line * out_down + row_start) * out_columns + column_start) * pitch
                for piece in range(pieces):
                    t, b = piece // times, piece % times
                    for k in range(0, max(1, run), steps):
                        before, at_before, step_before = room, at_out, out_along * pitch
                        if piece == 0 and k == 0:
                            before, at_before, step_before = start, group * filters, 0
                        gemm_taps(
                            room, at_out, out_along * pitch, before, at_before, step_before,
                            band, at_band + t * down_step + b * column_step * channels + k, in_along * channels,
                            packed, at_weight + t * weight_step + (b * channels + k) * panel, panel_step, panel,
                            length, filters, at_once, down_step, weight_step, min(steps, run - k),
                        )  # fmt: skip
        drain_band(out, image * filters * out_height * out_width, filters, out_height, out_width,
                   room, at_room, pitch, out_columns, first * out_down, rows * out_down)  # fmt: skip
