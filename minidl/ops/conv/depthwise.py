"""Depthwise convolution: every channel with windows of its own, so there is no matrix product to make of it.

Nine multiply-adds on each pixel that is read. In channels-last memory a vector holds channels, so the result of a
window is the sum over its taps of pixel times weight, both vectors: six windows and two vectors of channels stay in
registers, and the image is read in place, windows at the border with fewer taps (`regions.py`). The input gradient is
the same, phase by phase; in the weight gradient taps and windows change places.

The last vectors of a pixel begin early enough to end with it, and compute some channels twice. Images with fewer
channels than a vector are filled up, and several filters for a channel see a copy of it each.

2·N·K·OH·OW·k² operations on N·C·H·W + N·K·OH·OW numbers.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, inline, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.gathered import SPARE_ROWS, add_apart
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.conv.regions import (
    FIRST_UNIT,
    PER_DIM,
    TAPS,
    Units,
    backward_way,
    calls_for,
    forward_way,
    in_three_dims,
    list_taps,
    list_windows,
    region_of,
    regions_of,
    space_of,
    units_of,
    windows_of,
    work,
)
from minidl.ops.windows import Sizes

CHUNK = 192  # windows
SHARE = 128  # channels at once: the pixels of a few windows fit the first-level cache
COST = 8  # a product takes as long as so many operations of a matrix product
BLOCKS = 32  # pieces that threads share out
PIECES = 16  # of the weight gradient, each with sums of its own


class Plan(NamedTuple):
    """How one convolution is cut: the kernel's sizes and regions."""

    sizes: Array
    units: Units
    order: Array  # of the taps
    calls: int


@functools.lru_cache(maxsize=512)
def plan(is_back: bool, x: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Plan:
    """Cut the windows into regions and chunks."""
    kernel, *steps = in_three_dims(kernel, stride, padding, dilation)
    way = (backward_way if is_back else forward_way)(kernel, *steps)
    all_regions = regions_of(way, space_of(x), space_of(out))
    pixels = math.prod(space_of(x)) + math.prod(space_of(out))
    units = units_of(all_regions, x[0], 4 * x[-1] * pixels, CHUNK, 1)
    sizes = np.array((x[-1], x[0], units.together, units.each, units.total, *space_of(x), *space_of(out), *kernel),
                     np.int64)  # fmt: skip
    calls = calls_for(COST * work(all_regions, x[0], 1) * x[-1], BLOCKS)
    return Plan(sizes, units, np.array(way.tap_order(kernel), np.int64), calls)


def convolve(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    """x (N, *space, C) with weight (K, 1, *kernel) to out (N, *windows, K); filter k sees channel k // (K / C)."""
    share = len(weight) // x.shape[-1]
    _run(False, out, x if share == 1 else np.repeat(x, share, -1), weight, epilogue, (stride, padding, dilation))


def convolve_back(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    """The adjoint of `convolve` in its image."""
    share = len(weight) // out.shape[-1]
    if share == 1:
        _run(True, out, g, weight, epilogue, (stride, padding, dilation))
        return
    each = empty(CPU, (*out.shape[:-1], len(weight)), out.dtype)
    _run(True, each, g, weight, Epilogue(), (stride, padding, dilation))
    each.reshape(*out.shape, share).sum(-1, out=out)
    epilogue.apply(out)


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
    """The adjoint of `convolve` in its weight: out (K, 1, *kernel)."""
    if not g.size:
        out[...] = 0
        return
    share = len(out) // x.shape[-1]
    x, g = _filled_up(x if share == 1 else np.repeat(x, share, -1)), _filled_up(g)
    cut = plan(False, x.shape, g.shape, out.shape[2:], stride, padding, dilation)
    channels, width = x.shape[-1], _width(x.shape[-1], out.dtype)
    panels, pieces = -(-channels // width), min(PIECES, cut.units.total, cut.calls)
    sums = np.zeros((pieces, panels, len(cut.order), width), out.dtype)
    parallel(_dots, pieces, sums.reshape(-1), x.reshape(-1), g.reshape(-1), cut.sizes, cut.units.regions, block=1)
    totals = sums.sum(0)
    for p in range(panels):
        first = min(p * width, channels - width)
        part = out[first : first + width]
        part[...] = totals[p, :, : len(part)].T.reshape(part.shape)


def _run(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, steps: tuple[Sizes, Sizes, Sizes]
) -> None:
    if not out.size:
        return
    channels = x.shape[-1]
    if channels < lanes_of(x.dtype):
        wide = empty(CPU, (*out.shape[:-1], lanes_of(x.dtype)), out.dtype)
        residual = None if epilogue.residual is None else _filled_up(epilogue.residual)
        _run(is_back, wide, _filled_up(x), weight, epilogue._replace(residual=residual), steps)
        out[...] = wide[..., :channels]
        return
    cut = plan(is_back, x.shape, out.shape, weight.shape[2:], *steps)
    packed = np.zeros((len(cut.order), channels), out.dtype)
    packed[:, : len(weight)] = weight.reshape(len(weight), -1)[:, cut.order].T
    start = epilogue.lift(channels, out.dtype)
    if epilogue.residual is not None:
        start = epilogue.residual + start
    parallel(_slide, cut.units.total, out.reshape(-1), x.reshape(-1), packed.reshape(-1), start.reshape(-1),
             epilogue.residual is not None, epilogue.floor, cut.sizes, cut.units.regions,
             block=-(-cut.units.total // cut.calls))  # fmt: skip


def _width(channels: int, dtype: DType) -> int:
    """Channels in a panel."""
    return 2 * lanes_of(dtype) if channels >= 2 * lanes_of(dtype) else lanes_of(dtype)


def _filled_up(images: Array) -> Array:
    """With zeros behind the channels, if they are fewer than a vector holds."""
    missing = lanes_of(images.dtype) - images.shape[-1]
    return images if missing <= 0 else np.pad(images, [(0, 0)] * (images.ndim - 1) + [(0, missing)])


@inline
def _panel_width(channels: int, x: Array) -> int:
    return int(2 * lanes(x)) if channels >= 2 * lanes(x) else int(lanes(x))


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], bool, float64, const int64[::1], const int64[:, ::1]",
    T=("float32", "float64"),
)
def _slide(
    begin: int, end: int, out: Array, x: Array, weight: Array, start: Array, by_row: bool, floor: float, sizes: Array,
    regions: Array,
) -> None:  # fmt: skip
    """Chunks of windows begin to end."""
    channels, images, together, each = sizes[0], sizes[1], sizes[2], sizes[3]
    pixels, results, kernel = sizes[5:8], sizes[8:11], sizes[11:14]
    windows = np.empty(2 * (CHUNK + SPARE_ROWS), np.int64)
    taps = np.empty(2 * kernel[0] * kernel[1] * kernel[2] + 2, np.int64)
    width = _panel_width(channels, x)
    for unit in range(begin, end):
        region = regions[region_of(regions, unit % each)]
        first, last = windows_of(region, unit % each - region[FIRST_UNIT], unit // each * together, images, together)
        list_windows(windows, region, first, last, SPARE_ROWS, pixels, channels, results, channels)
        used = list_taps(taps, region, pixels, channels, kernel, channels, False)
        for j in range(0, channels, SHARE):
            # The last share may begin early, so that it is no narrower than a panel.
            at = min(j, max(0, channels - width))
            add_apart(out, at, start, at, int(by_row), x, at, weight, at, windows, last - first,
                      min(channels, j + SHARE) - at, width, taps, 0, used, floor)  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], const int64[:, ::1]", T=("float32", "float64"))
def _dots(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, regions: Array) -> None:
    """sums[piece, panel, tap, channel] of pieces begin to end."""
    channels, images, together, each, units = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    pixels, results, kernel = sizes[5:8], sizes[8:11], sizes[11:14]
    count = kernel[0] * kernel[1] * kernel[2]
    windows, taps = np.empty(2 * CHUNK + 2, np.int64), np.empty(2 * (count + SPARE_ROWS), np.int64)
    width = _panel_width(channels, x)
    panels = (channels + width - 1) // width
    pieces = len(sums) // (panels * count * width)
    for piece in range(begin, end):
        for unit in range(units * piece // pieces, units * (piece + 1) // pieces):
            region = regions[region_of(regions, unit % each)]
            if region[TAPS] * region[PER_DIM + TAPS] * region[2 * PER_DIM + TAPS] == 0:
                continue
            first, last = windows_of(
                region, unit % each - region[FIRST_UNIT], unit // each * together, images, together
            )
            list_windows(windows, region, first, last, 0, pixels, channels, results, channels)
            used = list_taps(taps, region, pixels, channels, kernel, width, False)
            for i in range(used, used + SPARE_ROWS):
                taps[2 * i], taps[2 * i + 1] = taps[2 * used - 2], taps[2 * used - 1]
            for p in range(panels):
                j, at = min(p * width, channels - width), (piece * panels + p) * count * width
                add_apart(sums, at, sums, at, 1, x, j, g, j, taps, used, width, width, windows, 0, last - first,
                          -np.inf)  # fmt: skip
