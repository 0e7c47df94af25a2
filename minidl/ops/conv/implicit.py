"""Convolution as a matrix product whose matrix is never made: any window, stride, padding, dilation and groups.

In channels-last memory a pixel is a row of a matrix, and the pixels under one row of a window lie side by side. So a
convolution is a product of windows times weights that reads the image in place: the micro-kernel finds a window by one
table and its taps by another, and adds up all taps in registers. Nothing is copied, k² times as im2col does or once as
padding does, and no tap beside the image is multiplied (`regions.py`). A unit of work is a chunk of windows, of one
image or of many, so that each block of weights is read once for all of them.

The input gradient is the same with the taps turned, one phase of its pixels after the other; a transposed convolution
of 2×2 windows with stride 2 is four plain products. Windows of one pixel are left to `pointwise.py`.

Many small regions (7×7 windows on a small image have 49) waste rows of tiles; where a padded copy of the image costs
less than that, it is made.

2·N·K·OH·OW·(C/groups)·k² operations on N·C·H·W + N·K·OH·OW + K·(C/groups)·k² numbers, each read or written once.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable
from typing import NamedTuple

import numpy as np

from minidl.core import Array, Run
from minidl.core.remember import Prepared
from minidl.device import kernel
from minidl.device.dtypes import DType
from minidl.device.gathered import SPARE_ROWS, panel_of_runs, tile_rows
from minidl.device.lines import fetch_line, move_line
from minidl.device.microkernel import panel_columns, panel_count
from minidl.device.scratch import give_back
from minidl.device.threads import Blocks
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes
from minidl.ops.conv import pointwise
from minidl.ops.conv.epilogue import Epilogue, flat_residuals_of, lifts_of
from minidl.ops.conv.groups import joined_groups, joined_weight
from minidl.ops.conv.pointwise import is_pointwise
from minidl.ops.conv.regions import (
    FIRST_UNIT,
    PER_DIM,
    TAP_STEP,
    TAPS,
    Ground,
    Units,
    backward_way,
    calls_for,
    forward_way,
    ground_of,
    list_taps,
    list_windows,
    region_of,
    units_of,
    windows_of,
    work,
)
from minidl.ops.conv.volumes import in_three, space_of
from minidl.ops.windows import Sizes

CHUNK_BYTES = 128 << 10  # of the pixels and results of a chunk
FEWEST, MOST = 96, 768  # windows in a chunk
UNITS = 16  # at least, where there is so much work
PACKED = 16  # channels whose weights are turned at once
BLOCKS = 32  # pieces that threads share out
PACK_COST = 16  # packing a number takes as long as so many operations
STEPS = 1152  # of a product over one panel before its sums go back to memory


class Plan(NamedTuple):
    """How one convolution is cut."""

    ground: Ground
    sizes: Array  # for the kernels
    units: Units
    block: int  # of units in one call
    order: Array  # of the taps
    panels: int  # of packed weights, in all groups
    weights: int  # numbers in them
    form: tuple[Hashable, ...]  # what the packed weights depend on, beside the weights


@functools.lru_cache(maxsize=512)
def plan(
    is_back: bool, x: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    dtype: DType,
) -> Plan:  # fmt: skip
    """Cut the windows into regions and chunks."""
    kernel, *steps = in_three(kernel, stride, padding, dilation)
    way = (backward_way if is_back else forward_way)(kernel, *steps)
    images, channels, filters, results = x[0], x[-1] // groups, out[-1] // groups, space_of(out)
    ground = ground_of(way, images, space_of(x), results, filters, tile_rows(2))
    panels = panel_count(filters, dtype)
    bytes_each = dtype.itemsize * (x[-1] * math.prod(way.in_step) + out[-1])
    chunk = chunk_of(images * math.prod(results), bytes_each)
    chunks = max(1, images * math.prod(results) // chunk)
    share = -(-panels // min(panels, max(1, UNITS // (groups * chunks))))
    parts = -(-panels // share)
    units = units_of(ground.regions, images, bytes_each * math.prod(results), chunk, groups * parts)
    sizes = (groups, channels, filters, panels, parts, share, chunk, images, units.together, units.each, *ground.pixels,
             *results, *kernel)  # fmt: skip
    order = np.array(way.tap_order(kernel), np.int64)
    calls = calls_for(2 * work(ground.regions, images, 1) * channels * out[-1], BLOCKS)
    weights = groups * panels * len(order) * channels * panel_columns(dtype)
    form = (is_back, groups, channels, filters, order.tobytes())
    return Plan(
        ground, np.array(sizes, np.int64), units, -(-units.total // calls), order, groups * panels, weights, form
    )


def chunk_of(windows: int, bytes_each: int) -> int:
    """How many of all windows make a chunk: as many as stay in the second-level cache, and enough for all threads."""
    return -(-min(MOST, max(FEWEST, min(CHUNK_BYTES // bytes_each, windows // UNITS))) // 24) * 24


def forward(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Run:
    """The convolution of x (N, *space, C) with weight (K, C / groups, *kernel) to out (N, *windows, K)."""
    if is_pointwise(weight.shape, stride, padding, groups):
        return pointwise.forward(out, x, weight, epilogue)
    return _bound(False, out, x, weight, epilogue, (stride, padding, dilation), groups)


def backward(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Run:
    """The adjoint: g (N, *windows, K) spread over an image (N, *space, C)."""
    if is_pointwise(weight.shape, stride, padding, groups):
        return pointwise.backward(out, g, weight, epilogue)
    return _bound(True, out, g, weight, epilogue, (stride, padding, dilation), groups)


def _bound(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, steps: tuple[Sizes, Sizes, Sizes],
    groups: int,
) -> Run:  # fmt: skip
    dtype, joined, taps = out.dtype, joined_groups(weight, groups), math.prod(weight.shape[2:])
    cut = plan(is_back, x.shape, out.shape, weight.shape[2:], *steps, groups // joined, dtype)
    apart = joined * weight.shape[1] * taps, taps  # numbers from first dimension to first dimension, and second
    pack = Blocks(_pack, cut.panels, size=cut.weights * dtype.itemsize,
                  block=-(-cut.panels // calls_for(PACK_COST * cut.weights, BLOCKS)))  # fmt: skip

    def fill(room: Array, weight: Array) -> None:
        whole = weight if joined == 1 else joined_weight(weight, groups, joined)
        pack(room, whole.reshape(-1), cut.sizes, cut.order, *(apart[::-1] if is_back else apart))

    weights = Prepared(("implicit", joined, cut.form), cut.weights, fill)
    lift, flat = lifts_of(out.shape[-1] + panel_columns(dtype), dtype), flat_residuals_of(dtype)
    slide = Blocks(_slide, cut.units.total, size=out.nbytes + x.nbytes, block=cut.block)
    ground, adds, floor = cut.ground, epilogue.has_residual, epilogue.floor

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        packed, lent = weights.of(weight)
        slide(out.reshape(-1), ground.of(x).reshape(-1), packed, lift(bias), flat(residual), adds, floor, cut.sizes,
              cut.units.regions)  # fmt: skip
        give_back(lent)

    return run


@kernel("T[::1], const T[::1], const int64[::1], const int64[::1], intp, intp", T=("float32", "float64"))
def _pack(
    begin: int, end: int, packed: Array, weight: Array, sizes: Array, order: Array, filter_step: int, channel_step: int
) -> None:
    """Lay panels begin to end of all groups out: [group][panel][tap][channel][column], taps in the order of use."""
    groups, channels, filters, panels = sizes[0], sizes[1], sizes[2], sizes[3]
    panel, taps = 2 * lanes(weight), len(order)
    places = np.empty(taps, np.int64)
    for t in range(taps):
        places[order[t]] = t * channels * panel
    at_once = PACKED if channel_step == taps else 1  # channels that lie side by side
    turned = np.zeros(PACKED * taps * panel, weight.dtype)
    for unit in range(begin, end):
        at, p = unit * taps * channels * panel, unit % panels
        source = unit // panels * (weight.size // groups) + p * panel * filter_step
        columns = min(panel, filters - p * panel)
        if columns < panel:
            for q in range(len(turned)):
                turned[q] = 0
        for first in range(0, channels, at_once):
            count = min(at_once, channels - first)
            if filter_step == 1 and columns == panel:
                move_line(turned, 0, weight, source + first * channel_step, panel)
            else:
                transpose(turned, 0, panel, weight, source + first * channel_step, filter_step, columns, count * taps)
            for c in range(count):
                for t in range(taps):
                    move_line(packed, at + places[t] + (first + c) * panel, turned, (c * taps + t) * panel, panel)


@kernel(
    "T[::1], const T[::1], const T[::1], T[::1], const T[::1], bool, float64, const int64[::1], const int64[:, ::1]",
    T=("float32", "float64"),
)
def _slide(
    begin: int, end: int, out: Array, x: Array, packed: Array, start: Array, residual: Array, adds: bool, floor: float,
    sizes: Array, regions: Array,
) -> None:  # fmt: skip
    """Units begin to end: chunks of windows, of each group, with a share of the filters."""
    groups, channels, filters, panels = sizes[0], sizes[1], sizes[2], sizes[3]
    parts, share, chunk, images, together, each = sizes[4], sizes[5], sizes[6], sizes[7], sizes[8], sizes[9]
    pixels, results, kernel = sizes[10:13], sizes[13:16], sizes[16:19]
    panel, taps = 2 * lanes(x), kernel[0] * kernel[1] * kernel[2]
    windows, table = np.empty(2 * (chunk + SPARE_ROWS), np.int64), np.empty(2 * taps + 2, np.int64)
    for unit in range(begin, end):
        region = regions[region_of(regions, unit % each)]
        number = unit % each - region[FIRST_UNIT]
        group, part = number // parts % groups, number % parts
        first, last = windows_of(region, number // parts // groups, unit // each * together, images, together)
        list_windows(windows, region, first, last, SPARE_ROWS, pixels, groups * channels, results, groups * filters)
        joined = region[2 * PER_DIM + TAPS] == 1 or (groups == 1 and region[2 * PER_DIM + TAP_STEP] == 1)
        used = list_taps(table, region, pixels, groups * channels, kernel, channels * panel, joined)
        if groups > 1 and group == 0 and used > 0:  # a group's channels lie too far apart to be fetched ahead
            for i in range(last - first):
                fetch_line(out, 0, x, windows[2 * i] + table[2 * used - 2], groups * channels)
        run = region[2 * PER_DIM + TAPS] * channels if joined else channels
        at_once = max(1, STEPS // max(1, run))
        pieces = -(-run // STEPS)
        steps = max(1, -(-run // max(1, pieces)))
        begin_filter, end_filter = part * share * panel, min(filters, (part + 1) * share * panel)
        if adds:
            for i in range(last - first):
                to = windows[2 * i + 1] + group * filters
                for j in range(begin_filter, end_filter):
                    out[to + j] = residual[to + j] + start[group * filters + j]
        for j in range(begin_filter, end_filter, panel):
            weights = (group * panels + j // panel) * taps * channels * panel
            to = group * filters + j
            for t in range(0, max(1, used), at_once):
                for k in range(0, max(1, run), steps):
                    before, at_before, by_row = start, to, 0
                    if adds or t > 0 or k > 0:
                        before, at_before, by_row = out, to, 1
                    is_last = t + at_once >= used and k + steps >= run
                    panel_of_runs(
                        out, to, before, at_before, by_row, x, group * channels + k, packed, weights + k * panel, panel,
                        windows, last - first, end_filter - j, table, t, min(t + at_once, used), min(steps, run - k),
                        floor if is_last else -np.inf,
                    )  # fmt: skip
