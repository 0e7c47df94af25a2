"""The gradient of the weights without im2col: windows times the pixels under them.

gw[(tap, channel), filter] = the sum over all windows o of x[o s - p + a d, channel]·g[o, filter]: a product whose steps
are the windows. The micro-kernel keeps a tile of weights in registers while it goes through a chunk of windows, and
finds the pixel of each by a table; taps that lie beside the image in some windows have sums over fewer (`regions.py`).
The slopes of a chunk are laid out for a panel of filters at a time, so that they are read in order.

The work is cut into panels of filters, parts of the weights, and pieces of the windows with sums of their own, which
are added up in order; all cuts depend on sizes alone, and so do the bits.

2·N·K·OH·OW·(C/groups)·k² operations on N·C·H·W + N·K·OH·OW + K·(C/groups)·k² numbers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.core import Array, Run
from minidl.device import CPU, empty, inline, kernel
from minidl.device.dtypes import DType
from minidl.device.gather import gather_rows
from minidl.device.lines import add_line, move_line
from minidl.device.microkernel import panel_columns, panel_count
from minidl.device.outer import SPARE_COLUMNS, add_outer
from minidl.device.threads import Blocks
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes
from minidl.ops.conv import pointwise
from minidl.ops.conv.groups import joined_groups, own_weights
from minidl.ops.conv.pointwise import is_pointwise
from minidl.ops.conv.regions import (
    FIRST_UNIT,
    PER_DIM,
    TAPS,
    Ground,
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

CHUNK_BYTES = 64 << 10  # of the pixels of a chunk of windows
FEWEST, MOST = 96, 128  # windows in a chunk
ROWS = 48  # of weights at once
PITCH = ROWS + 24  # from window to window in their copy: a last vector may reach behind; no power of two, for the cache
COLLECTED = 16  # channels whose weights are turned at once
COLLECT_COST = 8  # a sum of pieces takes as long as so many operations
TILE_WINDOWS = 24  # a tile of sums is read and written in the time of so many windows
ITEMS = 16  # shares of the work, where there is so much


class Plan(NamedTuple):
    """How one weight gradient is cut."""

    ground: Ground
    sizes: Array  # for the kernels
    regions: Array
    items: int
    sums: int  # numbers in all pieces
    blocks: int  # of results


@functools.lru_cache(maxsize=512)
def plan(
    x: Sizes, g: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, dtype: DType
) -> Plan:
    """Cut windows into regions, chunks and pieces, and filters into shares of whole panels."""
    kernel, *steps = in_three(kernel, stride, padding, dilation)
    way, images, channels, filters = forward_way(kernel, *steps), x[0], x[-1] // groups, g[-1] // groups
    ground = ground_of(way, images, space_of(x), space_of(g), filters, TILE_WINDOWS)
    used = ground.regions[ground.regions[:, TAPS::PER_DIM].prod(1) > 0]
    chunk = min(MOST, max(FEWEST, CHUNK_BYTES // (dtype.itemsize * x[-1] * math.prod(way.in_step))))
    image_bytes = dtype.itemsize * (x[-1] * math.prod(ground.pixels) + g[-1] * math.prod(space_of(g)))
    units = units_of(used, images, image_bytes, chunk, 1)
    panels = panel_count(filters, dtype)
    sums = groups * math.prod(kernel) * channels * panels * panel_columns(dtype)
    calls = -(-calls_for(2 * work(used, images, 1) * channels * g[-1], ITEMS) // groups)
    rows, windows = math.prod(kernel) * channels, images * math.prod(space_of(g))
    most = (-(-rows // ROWS) if 2 * channels > ROWS else 1, panels, max(1, units.total))
    cut = min(
        itertools.product(*[range(1, min(m, calls) + 1) for m in most]), key=cost_of(calls, windows, rows, filters)
    )
    share = -(-panels // cut[1])
    shares, pieces = -(-panels // share), cut[2]
    items = groups * shares * cut[0] * pieces
    sizes = (groups, channels, filters, panels, share, shares, chunk, units.total, pieces, images, units.together,
             units.each, *ground.pixels, *space_of(g), *kernel, cut[0])  # fmt: skip
    blocks = groups * panels * -(-channels // COLLECTED)
    return Plan(ground, np.array(sizes, np.int64), units.regions, items, pieces * sums, blocks)


def cost_of(calls: int, windows: int, rows: int, filters: int) -> Callable[[tuple[int, ...]], tuple[float, ...]]:
    """What a cut into (parts of the rows, shares of the filters, pieces) costs beside the products.

    A part of the rows copies all slopes once more, a share of the filters all pixels, and a piece has sums of its own.
    """

    def cost(cut: tuple[int, ...]) -> tuple[float, ...]:
        parts, shares, pieces = cut
        copied = windows * (parts * filters + shares * rows) / 4
        missing = max(1.0, calls / math.prod(cut))  # threads that would have nothing to do
        return missing, copied + pieces * rows * filters

    return cost


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Run:
    """out (K, C / groups, *kernel) from x (N, *space, C) and g (N, *windows, K)."""
    if is_pointwise(out.shape, stride, padding, groups) and pointwise.fills_panels(out):
        return pointwise.weight_gradient(out, x, g)
    if (joined := joined_groups(out, groups)) > 1:
        return _of_joined_groups(out, x, g, (stride, padding, dilation), groups, joined)
    dtype = out.dtype
    cut = plan(x.shape, g.shape, out.shape[2:], stride, padding, dilation, groups, dtype)
    add_up = Blocks(_sum_windows, cut.items, size=x.nbytes + g.nbytes, block=-(-cut.items // ITEMS))
    collect = Blocks(_collect, cut.blocks, size=cut.sums * dtype.itemsize,
                     block=-(-cut.blocks // calls_for(COLLECT_COST * cut.sums, ITEMS)))  # fmt: skip

    def run(out: Array, x: Array, g: Array) -> None:
        sums = empty(CPU, (cut.sums,), dtype)
        add_up(sums, cut.ground.of(x).reshape(-1), g.reshape(-1), cut.sizes, cut.regions)
        collect(out.reshape(-1), sums, cut.sizes)

    return run


def _of_joined_groups(
    out: Array, x: Array, g: Array, steps: tuple[Sizes, Sizes, Sizes], groups: int, joined: int
) -> Run:
    shape = (len(out), joined * out.shape[1], *out.shape[2:])
    run_wide = weight_gradient(empty(CPU, shape, out.dtype), x, g, *steps, groups // joined)

    def run(out: Array, x: Array, g: Array) -> None:
        wide = empty(CPU, shape, out.dtype)
        run_wide(wide, x, g)
        own_weights(wide, groups, joined, out)

    return run


@inline
def _copy_slopes(slopes: Array, chunk: int, g: Array, windows: Array, count: int, first: int, last: int) -> None:
    """slopes[panel, window, filter] from the filters first to last of the windows in a table; chunk windows a panel."""
    panel = 2 * lanes(g)
    for j in range(first, last, panel):
        gather_rows(slopes, (j - first) * chunk, panel, g, j, windows, 1, count, min(panel, last - j))


@inline
def _taps_beside(taps: Array, used: int, tap: int, channels: int) -> int:
    """How many taps from `tap` on have sums side by side, of which a copy holds all channels; at least one."""
    count = 1
    while (
        tap + count < used
        and (count + 1) * channels <= ROWS
        and taps[2 * (tap + count) + 1] == taps[2 * tap + 1] + count * channels
    ):
        count += 1
    return count


@inline
def _taps_joined(taps: Array, last: int, tap: int, channels: int) -> int:
    """How many taps from `tap` to before `last` see pixels side by side, without channels of other groups between."""
    count = 1
    while tap + count < last and taps[2 * (tap + count)] == taps[2 * tap] + count * channels:
        count += 1
    return count


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], const int64[:, ::1]", T=("float32", "float64"))
def _sum_windows(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, regions: Array) -> None:
    """sums[piece, group, tap, channel, filter] for (group, share of the filters, part of the rows, piece)."""
    groups, channels, filters, panels, share, shares = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    chunk, units, pieces, images = sizes[6], sizes[7], sizes[8], sizes[9]
    together, each, pixels, results, kernel = sizes[10], sizes[11], sizes[12:15], sizes[15:18], sizes[18:21]
    parts = sizes[21]  # of the rows: each owns every so many of the copies
    panel, pitch, depth = 2 * lanes(x), panels * 2 * lanes(x), groups * channels
    lines = kernel[0] * kernel[1] * kernel[2] * channels
    copies = (channels + ROWS - 1) // ROWS
    per_copy = ((channels + copies - 1) // copies + 5) // 6 * 6  # whole tiles
    windows, taps = np.empty(2 * chunk + 2, np.int64), np.empty(2 * kernel[0] * kernel[1] * kernel[2] + 2, np.int64)
    slopes, seen = np.empty(chunk * share * panel, x.dtype), np.empty(chunk * PITCH + SPARE_COLUMNS, x.dtype)
    for item in range(begin, end):
        owner, piece = item // pieces % parts, item % pieces
        group, part = item // pieces // parts // shares, item // pieces // parts % shares
        at_sums = (piece * groups + group) * lines * pitch
        first_filter, last_filter = part * share * panel, min(panels, (part + 1) * share) * panel
        for i in range(lines):
            if (i // channels * copies + i % channels // per_copy) % parts == owner:
                for j in range(first_filter, last_filter):
                    sums[at_sums + i * pitch + j] = 0
        if last_filter > filters:  # the last panel is not full: what lies behind its filters stays zero
            for q in range((last_filter - first_filter - panel) * chunk, (last_filter - first_filter) * chunk):
                slopes[q] = 0
        last_filter = min(filters, last_filter)
        for unit in range(units * piece // pieces, units * (piece + 1) // pieces):
            region = regions[region_of(regions, unit % each)]
            first, last = windows_of(
                region, unit % each - region[FIRST_UNIT], unit // each * together, images, together
            )
            count = last - first
            list_windows(windows, region, first, last, 0, pixels, depth, results, groups * filters)
            used = list_taps(taps, region, pixels, depth, kernel, channels, False)
            _copy_slopes(
                slopes, chunk, g, windows, count, group * filters + first_filter, group * filters + last_filter
            )
            tap = 0
            while tap < used:
                beside = _taps_beside(taps, used, tap, channels)
                for row in range(0, channels, per_copy):
                    if (taps[2 * tap + 1] // channels * copies + row // per_copy) % parts != owner:
                        continue
                    rows = min(per_copy, channels - row)
                    t = 0
                    while t < beside:
                        joined = _taps_joined(taps, tap + beside, tap + t, channels)
                        gather_rows(seen, t * channels, PITCH, x, taps[2 * (tap + t)] + group * channels + row, windows,
                                    0, count, (joined - 1) * channels + rows)  # fmt: skip
                        t += joined
                    rows, at = (beside - 1) * channels + rows, at_sums + (taps[2 * tap + 1] + row) * pitch
                    for j in range(first_filter, last_filter, panel):
                        add_outer(sums, at + j, pitch, seen, 0, PITCH, slopes, (j - first_filter) * chunk, panel, rows,
                                  last_filter - j, count)  # fmt: skip
                tap += beside


@kernel("T[::1], const T[::1], const int64[::1]", T=("float32", "float64"))
def _collect(begin: int, end: int, out: Array, sums: Array, sizes: Array) -> None:
    """out[filter, channel, tap] = the sum over the pieces, for (group, panel, block of channels) begin to end."""
    groups, channels, filters, panels, pieces = sizes[0], sizes[1], sizes[2], sizes[3], sizes[8]
    panel, taps = 2 * lanes(out), sizes[18] * sizes[19] * sizes[20]
    blocks = (channels + COLLECTED - 1) // COLLECTED
    total = np.empty(COLLECTED * taps * panel, out.dtype)
    for unit in range(begin, end):
        group, p, first = unit // blocks // panels, unit // blocks % panels, unit % blocks * COLLECTED
        count = min(COLLECTED, channels - first)
        for t in range(taps):
            for c in range(count):
                at = ((group * taps + t) * channels + first + c) * panels * panel + p * panel
                move_line(total, (c * taps + t) * panel, sums, at, panel)
                for piece in range(1, pieces):
                    more = at + piece * groups * taps * channels * panels * panel
                    add_line(total, (c * taps + t) * panel, sums, more, panel)
        filter_ = group * filters + p * panel
        transpose(out, (filter_ * channels + first) * taps, channels * taps, total, 0, panel, count * taps,
                  min(panel, filters - p * panel))  # fmt: skip
