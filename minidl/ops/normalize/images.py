"""group_normalize: group and instance norm of images whose channels lie side by side in memory.

A group's numbers are then spread over all pixels of an image, so statistics are sums over pixels, one for each
channel: vectors hold channels, and of few channels several pixels are taken as one. Forward reads the image twice
(sums of what is left of each number when the mean of some pixels is taken off, and of its square; then the result),
backward likewise (sums of g and of g times the deviation; then a sum of three terms with coefficients for each
channel). 3 operations a number in each pass, so memory decides: 12 bytes a number forward in float32, 20 backward.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import block_count, inline, kernel, parallel

BLOCK_BYTES = 65536
RUN = 32  # rows that are added up in the type of the image; sums of runs are added up in float64
SAMPLES = 64  # pixels whose mean is taken off before squares are summed, so that little cancels
WIDE = 64  # numbers in a row, at least, where pixels can be taken together
FLOATS = ("float32", "float64")


def moments(x: Array, groups: int) -> tuple[Array, Array]:
    """Mean and variance of each group, (N, groups) in float64, of x (N, pixels, C)."""
    count, pixels, _ = x.shape
    centre = x[:, :: max(1, pixels // SAMPLES)].mean(axis=1)
    plain, square = (total / pixels for total in _summed(_deviations, x, (x,), centre))
    means = (centre + plain).reshape(count, groups, -1)
    mean = means.mean(axis=2)
    within = (square - plain * plain).reshape(count, groups, -1)
    return mean, (within + (means - mean[:, :, None]) ** 2).mean(axis=2)


def scaled(y: Array, x: Array, mean: Array, factor: Array, lift: Array) -> None:
    """y = (x - mean) * factor + lift; x (N, pixels, C), the others (N, C), lift (C,)."""
    fold = _fold(x)
    rows = [_folded(a, fold) for a in (y, x)]
    parallel(_scale, rows[0].shape[0] * rows[0].shape[1], *rows, *[_tiled(a, fold, x) for a in (mean, factor)],
             np.tile(lift.astype(x.dtype, copy=False), fold))  # fmt: skip


def gradients(
    gx: Array, g: Array, x: Array, weight: Array, mean: Array, rstd: Array, groups: int
) -> tuple[Array, Array]:
    """Fills gx, and gives the gradients of weight and bias; g and x (N, pixels, C), mean and rstd (N, groups)."""
    count, pixels, channels = x.shape
    by_channel = [np.repeat(a, channels // groups, axis=1) for a in (mean, rstd)]
    plain, along = _summed(_slopes, x, (g, x), by_channel[0])
    along = along * by_channel[1]
    share = pixels * (channels // groups)
    lift, tilt = ((sums * weight).reshape(count, groups, -1).sum(axis=2) / share for sums in (plain, along))
    each = [np.repeat(a, channels // groups, axis=1) for a in (-rstd * rstd * tilt, -rstd * lift)]
    fold = _fold(x)
    rows = [_folded(a, fold) for a in (gx, g, x)]
    parallel(_combine, rows[0].shape[0] * rows[0].shape[1], *rows,
             *[_tiled(a, fold, x) for a in (by_channel[0], weight * by_channel[1], *each)])  # fmt: skip
    return along.sum(axis=0), plain.sum(axis=0)


def _summed(loop: Any, x: Array, arrays: tuple[Array, ...], centre: Array) -> tuple[Array, Array]:
    """Both sums of each channel, (N, C)."""
    fold = _fold(x)
    rows = [_folded(a, fold) for a in arrays]
    count, length, width = rows[0].shape
    block = max(1, BLOCK_BYTES // (width * x.itemsize))
    parts = np.empty((count * block_count(length, block), 2, width))
    parallel(loop, len(parts), parts, *rows, _tiled(centre, fold, x), block, block=1)
    total = parts.reshape(count, -1, 2, fold, x.shape[2]).sum(axis=(1, 3))
    return total[:, 0], total[:, 1]


def _fold(x: Array) -> int:
    """How many pixels are taken as one."""
    fold = 1
    while fold * x.shape[2] < WIDE and x.shape[1] % (2 * fold) == 0:
        fold *= 2
    return fold


def _folded(a: Array, fold: int) -> Array:
    return a.reshape(len(a), a.shape[1] // fold, a.shape[2] * fold)


def _tiled(values: Array, fold: int, x: Array) -> Array:
    return np.tile(values.astype(x.dtype, copy=False), (1, fold))


@kernel("float64[:, :, ::1], const T[:, :, ::1], const T[:, ::1], intp", T=FLOATS)
def _deviations(begin: int, end: int, parts: Array, x: Array, centre: Array, block: int) -> None:
    """One unit is a block of rows of an image: sums of x - centre, and of its square."""
    count, width = x.shape[1], x.shape[2]
    blocks = -(-count // block)
    plain, square = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for unit in range(begin, end):
        image, start = unit // blocks, unit % blocks * block
        stop = min(start + block, count)
        middle = centre[image]
        parts[unit] = 0
        for first in range(start, stop, RUN):
            plain[:], square[:] = 0, 0
            for r in range(first, min(first + RUN, stop)):
                row = x[image, r]
                for j in range(width):
                    away = row[j] - middle[j]
                    plain[j] += away
                    square[j] += away * away
            _add_sums(parts, unit, plain, square)


@inline
def _add_sums(parts: Array, unit: int, one: Array, other: Array) -> None:
    for j in range(len(one)):
        parts[unit, 0, j] += one[j]
    for j in range(len(one)):
        parts[unit, 1, j] += other[j]


@kernel("float64[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], intp", T=FLOATS)
def _slopes(begin: int, end: int, parts: Array, g: Array, x: Array, centre: Array, block: int) -> None:
    """One unit is a block of rows of an image: sums of g, and of g times x - centre."""
    count, width = x.shape[1], x.shape[2]
    blocks = -(-count // block)
    plain, along = np.empty(width, x.dtype), np.empty(width, x.dtype)
    for unit in range(begin, end):
        image, start = unit // blocks, unit % blocks * block
        stop = min(start + block, count)
        middle = centre[image]
        parts[unit] = 0
        for first in range(start, stop, RUN):
            plain[:], along[:] = 0, 0
            for r in range(first, min(first + RUN, stop)):
                row, slope = x[image, r], g[image, r]
                for j in range(width):
                    plain[j] += slope[j]
                    along[j] += slope[j] * (row[j] - middle[j])
            _add_sums(parts, unit, plain, along)


@kernel("T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], const T[:, ::1], const T[::1]", T=FLOATS)
def _scale(begin: int, end: int, y: Array, x: Array, mean: Array, factor: Array, lift: Array) -> None:
    """Rows begin to end."""
    for unit in range(begin, end):
        image, r = unit // x.shape[1], unit % x.shape[1]
        row, into, centre, scale = x[image, r], y[image, r], mean[image], factor[image]
        for j in range(len(row)):
            into[j] = (row[j] - centre[j]) * scale[j] + lift[j]


@kernel(
    "T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], const T[:, ::1], const T[:, ::1], "
    "const T[:, ::1]",
    T=FLOATS,
)
def _combine(
    begin: int, end: int, gx: Array, g: Array, x: Array, mean: Array, factor: Array, tilt: Array, lift: Array
) -> None:
    """Rows begin to end."""
    for unit in range(begin, end):
        image, r = unit // x.shape[1], unit % x.shape[1]
        slope, row, into = g[image, r], x[image, r], gx[image, r]
        scale, centre, along, plain = factor[image], mean[image], tilt[image], lift[image]
        for j in range(len(row)):
            into[j] = slope[j] * scale[j] + (row[j] - centre[j]) * along[j] + plain[j]
