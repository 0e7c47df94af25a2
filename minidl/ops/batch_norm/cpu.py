"""The Numba kernels of batch normalisation, on images that lie channels-last.

An image is a matrix of pixels by channels, and a vector holds channels. Where these are fewer than a few vectors,
several pixels count as one row (`fold`), so that loops stay long: a row is `width` = fold x channels numbers, and lane
i belongs to channel i % channels.

Statistics take one read of x from memory: a block of rows (64 KiB, so it stays in the cache) is summed, then the
deviations from its own mean are squared, and the blocks are merged in float64 in their order, so that nothing cancels
however far the mean lies from 0 (Chan, Golub and LeVeque 1983, Am. Stat. 37, eq. 2.1). On one core of a Zen 3, 8
images of 32 channels, 128² (16.8 MB): statistics 1.2 ms, which is what one read takes; the second pass, ReLU included,
1.5 ms, which is what a copy takes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import block_count, kernel, parallel
from minidl.device.inline import Inline
from minidl.ops.batch_norm.activation import FORMULAS, Activation

BLOCK_BYTES = 65536
WIDTH = 128  # the least length of a row, where pixels can be folded
FLOATS = ("float32", "float64")
# Rows of `affine`: y = (x - mean) * scale + shift.
MEAN, SCALE, SHIFT = 0, 1, 2


def fold(pixels: int, channels: int) -> int:
    """How many pixels count as one row: a power of two that divides their number."""
    count = 1
    while count * channels < WIDTH and pixels % (2 * count) == 0:
        count *= 2
    return count


def moments(x: Array, mean: Array, var: Array) -> None:
    """Write mean and (biased) variance of each channel of x, (..., C)."""
    channels = x.shape[-1]
    width = channels * fold(x.size // channels, channels)
    rows = max(1, BLOCK_BYTES // (width * x.itemsize))
    blocks = block_count(x.size // width, rows)
    parts = np.empty((blocks, 2, width))
    parallel(_moments_of_blocks, blocks, parts, x.reshape(-1), rows)
    _merge_moments(0, 1, mean, var, parts, x.size // width, rows)


def affine_of(x: Array, mean: Array, scale: Array, shift: Array) -> Array:
    """The three numbers of each lane of a row of x."""
    channels = x.shape[-1]
    affine = np.empty((3, fold(x.size // channels, channels), channels), x.dtype)
    affine[MEAN], affine[SCALE], affine[SHIFT] = mean, scale, shift
    return affine.reshape(3, -1)


def apply_affine(y: Array, x: Array, affine: Array, residual: Array | None, activation: Activation) -> None:
    """y = act((x - mean) * scale + shift [+ residual])."""
    rows, (kind, level) = x.size // affine.shape[1], activation
    if residual is None:
        parallel(_APPLY[kind], rows, y.reshape(-1), x.reshape(-1), affine, level)
    else:
        parallel(_APPLY_AND_ADD[kind], rows, y.reshape(-1), x.reshape(-1), residual.reshape(-1), affine, level)


def normal_affine(x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Array:
    """The same for (x - mean) / sqrt(var + eps) * weight + bias."""
    channels = x.shape[-1]
    affine = np.empty((3, channels * fold(x.size // channels, channels)), x.dtype)
    _normal_affine(0, 1, affine, weight, bias, mean, var, eps)
    return affine


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, affine: Array, weight: Array, var: Array, eps: float,
    activation: Activation,
) -> None:  # fmt: skip
    """Write the gradients of x, weight and bias; g counts as the activation lets it through.

    Where that was, is found by computing its argument from x again. What takes long to find is kept in the place of the
    first gradient.
    """
    gx, (kind, level) = out[0], activation
    parts, rows = _parts(x, affine)
    flat = g.reshape(-1), x.reshape(-1)
    if FORMULAS[kind].is_long:
        parallel(_SUMS_KEPT[kind], len(parts), parts, gx.reshape(-1), *flat, affine, rows, level)
        lanes = _finished(out, parts, x, weight, var, eps)
        parallel(_gradient_of_kept, x.size // affine.shape[1], gx.reshape(-1), flat[1], affine, lanes)
    else:
        parallel(_SUMS[kind], len(parts), parts, *flat, affine, rows, level)
        lanes = _finished(out, parts, x, weight, var, eps)
        parallel(_GRADIENT[kind], x.size // affine.shape[1], gx.reshape(-1), *flat, affine, lanes, level)


def gradients_under_relu(
    out: tuple[Array, Array, Array, Array], g: Array, x: Array, y: Array, affine: Array, weight: Array, var: Array,
    eps: float,
) -> None:  # fmt: skip
    """The same under a ReLU whose result is y; the fourth is what it lets through of g."""
    gx, _, _, kept = out
    parts, rows = _parts(x, affine)
    flat = kept.reshape(-1), y.reshape(-1), g.reshape(-1), x.reshape(-1)
    parallel(_sums_through, len(parts), parts, *flat, affine, rows)
    lanes = _finished(out[:3], parts, x, weight, var, eps)
    parallel(_GRADIENT["none"], x.size // affine.shape[1], gx.reshape(-1), flat[0], flat[3], affine, lanes, 0.0)


def _parts(x: Array, affine: Array) -> tuple[Array, int]:
    """Room for the sums of each block, and the rows of a block."""
    width = affine.shape[1]
    rows = max(1, BLOCK_BYTES // (width * x.itemsize))
    return np.empty((block_count(x.size // width, rows), 2, width)), rows


def _finished(out: tuple[Array, Array, Array], parts: Array, x: Array, weight: Array, var: Array, eps: float) -> Array:
    """Write the gradients of weight and bias; the slope and the lift of each lane for that of x."""
    lanes = np.empty((2, parts.shape[2]), x.dtype)
    _finish(0, 1, lanes, out[1], out[2], parts, weight, var, eps, x.size // x.shape[-1])
    return lanes


@kernel("T[:, ::1], const T[::1], const T[::1], const T[::1], const T[::1], float64", T=FLOATS)
def _normal_affine(
    begin: int, end: int, affine: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float
) -> None:
    channels = len(mean)
    for c in range(channels):
        scale = weight[c] / np.sqrt(np.float64(var[c]) + eps)
        for at in range(c, affine.shape[1], channels):
            affine[MEAN, at], affine[SCALE, at], affine[SHIFT, at] = mean[c], scale, bias[c]


@kernel(
    "T[:, ::1], T[::1], T[::1], const float64[:, :, ::1], const T[::1], const T[::1], float64, intp", T=FLOATS
)  # fmt: skip
def _finish(
    begin: int, end: int, lanes: Array, gw: Array, gb: Array, parts: Array, weight: Array, var: Array, eps: float,
    count: int,
) -> None:  # fmt: skip
    """Sums of blocks of g and of g * (x - mean) to gx = g * scale + (x - mean) * slope + lift, for each lane."""
    channels, width = len(gw), parts.shape[2]
    plain, along = np.zeros(width), np.zeros(width)
    for block in range(len(parts)):
        for i in range(width):
            plain[i] += parts[block, 0, i]
            along[i] += parts[block, 1, i]
    for c in range(channels):
        total, moment = 0.0, 0.0
        for at in range(c, width, channels):
            total += plain[at]
            moment += along[at]
        rstd = 1 / np.sqrt(np.float64(var[c]) + eps)
        gb[c], gw[c] = total, moment * rstd
        scale = rstd * weight[c]
        for at in range(c, width, channels):
            lanes[0, at], lanes[1, at] = -scale * rstd * rstd * moment / count, -scale * total / count


@kernel("float64[:, :, ::1], const T[::1], intp", T=FLOATS)
def _moments_of_blocks(begin: int, end: int, parts: Array, x: Array, rows: int) -> None:
    width = parts.shape[2]
    for block in range(begin, end):
        first = block * rows * width
        last = min(first + rows * width, x.size)
        count = (last - first) // width
        centre, off, square = np.zeros(width, x.dtype), np.zeros(width, x.dtype), np.zeros(width, x.dtype)
        even = first + count // 4 * 4 * width
        for at in range(first, even, 4 * width):  # four rows at once: the sums are loaded and stored once for all
            a, b = x[at : at + width], x[at + width : at + 2 * width]
            c, d = x[at + 2 * width : at + 3 * width], x[at + 3 * width : at + 4 * width]
            for i in range(width):
                centre[i] += (a[i] + b[i]) + (c[i] + d[i])
        for at in range(even, last, width):
            a = x[at : at + width]
            for i in range(width):
                centre[i] += a[i]
        for i in range(width):
            centre[i] /= count
        for at in range(first, even, 4 * width):
            a, b = x[at : at + width], x[at + width : at + 2 * width]
            c, d = x[at + 2 * width : at + 3 * width], x[at + 3 * width : at + 4 * width]
            for i in range(width):
                p, q, r, s = a[i] - centre[i], b[i] - centre[i], c[i] - centre[i], d[i] - centre[i]
                off[i] += (p + q) + (r + s)
                square[i] += (p * p + q * q) + (r * r + s * s)
        for at in range(even, last, width):
            a = x[at : at + width]
            for i in range(width):
                p = a[i] - centre[i]
                off[i] += p
                square[i] += p * p
        for i in range(width):
            shift = np.float64(off[i]) / count  # what rounding left between `centre` and the mean
            parts[block, 0, i] = centre[i] + shift
            parts[block, 1, i] = square[i] - shift * off[i]


@kernel("T[::1], T[::1], const float64[:, :, ::1], intp, intp", T=FLOATS)
def _merge_moments(begin: int, end: int, mean: Array, var: Array, parts: Array, all_rows: int, rows: int) -> None:
    channels, width = len(mean), parts.shape[2]
    total = all_rows * (width // channels)
    lanes, squares, centre, sums = np.zeros(width), np.zeros(width), np.zeros(channels), np.zeros(channels)
    for block in range(len(parts)):
        count, part = min(rows, all_rows - block * rows), parts[block, 0]
        for i in range(width):
            lanes[i] += count * part[i]
    for at in range(0, width, channels):
        for c in range(channels):
            centre[c] += lanes[at + c] / total
    for at in range(0, width, channels):
        for c in range(channels):
            lanes[at + c] = centre[c]
    for block in range(len(parts)):
        count, part, square = min(rows, all_rows - block * rows), parts[block, 0], parts[block, 1]
        for i in range(width):
            squares[i] += square[i] + count * (part[i] - lanes[i]) * (part[i] - lanes[i])
    for at in range(0, width, channels):
        for c in range(channels):
            sums[c] += squares[at + c]
    for c in range(channels):
        mean[c], var[c] = centre[c], sums[c] / total


def _applying(activation: Inline) -> Any:
    @kernel("T[::1], const T[::1], const T[:, ::1], T", T=FLOATS)
    def apply_rows(begin: int, end: int, y: Array, x: Array, affine: Array, level: float) -> None:
        width = affine.shape[1]
        mean, scale, shift = affine[MEAN], affine[SCALE], affine[SHIFT]
        for at in range(begin * width, end * width, width):
            into, a = y[at : at + width], x[at : at + width]
            for i in range(width):
                into[i] = activation((a[i] - mean[i]) * scale[i] + shift[i], level)

    return apply_rows


def _adding(activation: Inline) -> Any:
    @kernel("T[::1], const T[::1], const T[::1], const T[:, ::1], T", T=FLOATS)
    def apply_and_add_rows(
        begin: int, end: int, y: Array, x: Array, residual: Array, affine: Array, level: float
    ) -> None:  # fmt: skip
        width = affine.shape[1]
        mean, scale, shift = affine[MEAN], affine[SCALE], affine[SHIFT]
        for at in range(begin * width, end * width, width):
            into, a, b = y[at : at + width], x[at : at + width], residual[at : at + width]
            for i in range(width):
                into[i] = activation((a[i] - mean[i]) * scale[i] + shift[i] + b[i], level)

    return apply_and_add_rows


def _summing(through: Inline) -> Any:
    @kernel("float64[:, :, ::1], const T[::1], const T[::1], const T[:, ::1], intp, T", T=FLOATS)
    def sums_of_blocks(
        begin: int, end: int, parts: Array, g: Array, x: Array, affine: Array, rows: int, level: float
    ) -> None:  # fmt: skip
        width = affine.shape[1]
        mean, scale, shift = affine[MEAN], affine[SCALE], affine[SHIFT]
        for block in range(begin, end):
            first = block * rows * width
            last = min(first + rows * width, x.size)
            even = first + (last - first) // (2 * width) * (2 * width)
            plain, along = np.zeros(width, x.dtype), np.zeros(width, x.dtype)
            for at in range(first, even, 2 * width):
                a, b = x[at : at + width], x[at + width : at + 2 * width]
                ga, gb = g[at : at + width], g[at + width : at + 2 * width]
                for i in range(width):
                    p, q = a[i] - mean[i], b[i] - mean[i]
                    gp = through(ga[i], p * scale[i] + shift[i], level)
                    gq = through(gb[i], q * scale[i] + shift[i], level)
                    plain[i] += gp + gq
                    along[i] += gp * p + gq * q
            for at in range(even, last, width):
                a, ga = x[at : at + width], g[at : at + width]
                for i in range(width):
                    p = a[i] - mean[i]
                    gp = through(ga[i], p * scale[i] + shift[i], level)
                    plain[i] += gp
                    along[i] += gp * p
            for i in range(width):
                parts[block, 0, i], parts[block, 1, i] = plain[i], along[i]

    return sums_of_blocks


def _summing_kept(through: Inline) -> Any:
    """The same, where what the activation lets through is kept."""

    @kernel("float64[:, :, ::1], T[::1], const T[::1], const T[::1], const T[:, ::1], intp, T", T=FLOATS)
    def kept_sums_of_blocks(
        begin: int, end: int, parts: Array, kept: Array, g: Array, x: Array, affine: Array, rows: int, level: float
    ) -> None:  # fmt: skip
        width = affine.shape[1]
        mean, scale, shift = affine[MEAN], affine[SCALE], affine[SHIFT]
        for block in range(begin, end):
            first = block * rows * width
            plain, along = np.zeros(width, x.dtype), np.zeros(width, x.dtype)
            for at in range(first, min(first + rows * width, x.size), width):
                a, ga, into = x[at : at + width], g[at : at + width], kept[at : at + width]
                for i in range(width):
                    p = a[i] - mean[i]
                    into[i] = through(ga[i], p * scale[i] + shift[i], level)
                for i in range(width):
                    plain[i] += into[i]
                    along[i] += into[i] * (a[i] - mean[i])
            for i in range(width):
                parts[block, 0, i], parts[block, 1, i] = plain[i], along[i]

    return kept_sums_of_blocks


@kernel(
    "float64[:, :, ::1], T[::1], const T[::1], const T[::1], const T[::1], const T[:, ::1], intp", T=FLOATS
)  # fmt: skip
def _sums_through(
    begin: int, end: int, parts: Array, kept: Array, y: Array, g: Array, x: Array, affine: Array, rows: int
) -> None:
    width = affine.shape[1]
    mean, zero = affine[MEAN], x.dtype.type(0)
    for block in range(begin, end):
        first = block * rows * width
        plain, along = np.zeros(width, x.dtype), np.zeros(width, x.dtype)
        for at in range(first, min(first + rows * width, x.size), width):
            a, ga, b, into = x[at : at + width], g[at : at + width], y[at : at + width], kept[at : at + width]
            for i in range(width):
                gp = ga[i] if b[i] > zero else zero
                into[i] = gp
                plain[i] += gp
                along[i] += gp * (a[i] - mean[i])
        for i in range(width):
            parts[block, 0, i], parts[block, 1, i] = plain[i], along[i]


def _descending(through: Inline) -> Any:
    @kernel("T[::1], const T[::1], const T[::1], const T[:, ::1], const T[:, ::1], T", T=FLOATS)
    def gradient_rows(
        begin: int, end: int, gx: Array, g: Array, x: Array, affine: Array, slope_and_lift: Array, level: float
    ) -> None:  # fmt: skip
        width = affine.shape[1]
        mean, scale, shift = affine[MEAN], affine[SCALE], affine[SHIFT]
        slope, lift = slope_and_lift[0], slope_and_lift[1]
        for at in range(begin * width, end * width, width):
            into, a, ga = gx[at : at + width], x[at : at + width], g[at : at + width]
            for i in range(width):
                p = a[i] - mean[i]
                into[i] = through(ga[i], p * scale[i] + shift[i], level) * scale[i] + p * slope[i] + lift[i]

    return gradient_rows


@kernel("T[::1], const T[::1], const T[:, ::1], const T[:, ::1]", T=FLOATS)
def _gradient_of_kept(begin: int, end: int, gx: Array, x: Array, affine: Array, slope_and_lift: Array) -> None:
    """The same where gx holds what the activation let through: an array beside itself would end the vectors."""
    width = affine.shape[1]
    mean, scale, slope, lift = affine[MEAN], affine[SCALE], slope_and_lift[0], slope_and_lift[1]
    for at in range(begin * width, end * width, width):
        into, a = gx[at : at + width], x[at : at + width]
        for i in range(width):
            into[i] = into[i] * scale[i] + (a[i] - mean[i]) * slope[i] + lift[i]


_LONG, _SHORT = ([name for name, formula in FORMULAS.items() if formula.is_long is long] for long in (True, False))
_APPLY = {name: _applying(formula.value) for name, formula in FORMULAS.items()}
_APPLY_AND_ADD = {name: _adding(FORMULAS[name].value) for name in ("none", "relu")}
_SUMS = {name: _summing(FORMULAS[name].slope) for name in _SHORT}
_GRADIENT = {name: _descending(FORMULAS[name].slope) for name in _SHORT}
_SUMS_KEPT = {name: _summing_kept(FORMULAS[name].slope) for name in _LONG}
