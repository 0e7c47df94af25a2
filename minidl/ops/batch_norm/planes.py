"""The loops of batch norm where each channel of an image lies by itself: contiguous (N, C, pixels).

Vectors hold pixels, and a plane, one channel of one image, is a unit of work: it leaves its mean and squares, or its
sums of g and of g * (x - mean), in float64. They are put together as the blocks of `norm_loops.py` are, an image for a
block of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.inline import Inline
from minidl.device.row_sums import row_product, row_sum
from minidl.ops.batch_norm.activation import FORMULAS, Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, merge_moments

RUN = 1024  # numbers that are summed in the type of the array


def moments(x: Array, mean: Array, var: Array) -> None:
    """Write mean and (biased) variance of each channel."""
    pixels = x[0, 0].size
    parts = np.empty((len(x), 2, x.shape[1]))
    parallel(_moments, mean.size * len(x), parts, x.reshape(-1), pixels)
    merge_moments(0, 1, mean.reshape(1, -1), var.reshape(1, -1), parts, mean.size, len(x) * pixels, pixels)


def apply_affine(y: Array, x: Array, affine: Array, residual: Array | None, activation: Activation) -> None:
    """y = act((x - mean) * scale + shift [+ residual]); `affine` (1, 3, C)."""
    kind, level = activation
    planes, pixels = len(x) * x.shape[1], x[0, 0].size
    if residual is None:
        parallel(_APPLY[kind], planes, y.reshape(-1), x.reshape(-1), affine, pixels, level)
    else:
        parallel(_ADD[kind], planes, y.reshape(-1), x.reshape(-1), residual.reshape(-1), affine, pixels, level)


def sums(g: Array, x: Array, affine: Array, kept: Array, activation: Activation) -> Array:
    """Sums of g and of g * (x - mean) for each plane, (1, N, 2, C); what the activation lets through goes to `kept`."""
    kind, level = activation
    parts = np.empty((len(x), 2, x.shape[1]))
    flat = (a.reshape(-1) for a in (kept, g, x))
    parallel(_SUMS[kind], len(x) * x.shape[1], parts, *flat, affine, x[0, 0].size, level)
    return parts[None]


def input_gradient(gx: Array, x: Array, affine: Array, lanes: Array) -> None:
    """gx = gx * scale + (x - mean) * slope + lift; `lanes` has slope and lift of each channel, (1, 2, C)."""
    parallel(_gradients, len(x) * x.shape[1], gx.reshape(-1), x.reshape(-1), affine, lanes, x[0, 0].size)


@kernel("float64[:, :, ::1], const T[::1], intp", T=FLOATS)
def _moments(begin: int, end: int, parts: Array, x: Array, pixels: int) -> None:
    channels = parts.shape[2]
    for plane in range(begin, end):
        total, square = 0.0, 0.0
        first, last = plane * pixels, (plane + 1) * pixels
        for at in range(first, last, RUN):
            total += row_sum(x, at, min(RUN, last - at))
        centre = x.dtype.type(total / pixels)
        for at in range(first, last, RUN):
            square += row_product(x, at, centre, x, at, centre, min(RUN, last - at))
        shift = total / pixels - centre  # what rounding left
        parts[plane // channels, 0, plane % channels] = total / pixels
        parts[plane // channels, 1, plane % channels] = square - pixels * shift * shift


def _applying(activation: Inline) -> Any:
    @kernel("T[::1], const T[::1], const T[:, :, ::1], intp, T", T=FLOATS)
    def apply_planes(begin: int, end: int, y: Array, x: Array, affine: Array, pixels: int, level: float) -> None:
        for plane in range(begin, end):
            c = plane % affine.shape[2]
            mean, scale, shift = affine[0, MEAN, c], affine[0, SCALE, c], affine[0, SHIFT, c]
            into, a = y[plane * pixels : (plane + 1) * pixels], x[plane * pixels : (plane + 1) * pixels]
            for i in range(pixels):
                into[i] = activation((a[i] - mean) * scale + shift, level)

    return apply_planes


def _adding(activation: Inline) -> Any:
    @kernel("T[::1], const T[::1], const T[::1], const T[:, :, ::1], intp, T", T=FLOATS)
    def apply_and_add_planes(
        begin: int, end: int, y: Array, x: Array, residual: Array, affine: Array, pixels: int, level: float
    ) -> None:  # fmt: skip
        for plane in range(begin, end):
            c = plane % affine.shape[2]
            mean, scale, shift = affine[0, MEAN, c], affine[0, SCALE, c], affine[0, SHIFT, c]
            first, last = plane * pixels, (plane + 1) * pixels
            into, a, b = y[first:last], x[first:last], residual[first:last]
            for i in range(pixels):
                into[i] = activation((a[i] - mean) * scale + shift + b[i], level)

    return apply_and_add_planes


def _summing(through: Inline) -> Any:
    @kernel("float64[:, :, ::1], T[::1], const T[::1], const T[::1], const T[:, :, ::1], intp, T", T=FLOATS)
    def sums_of_planes(
        begin: int, end: int, parts: Array, kept: Array, g: Array, x: Array, affine: Array, pixels: int, level: float
    ) -> None:  # fmt: skip
        channels, zero = affine.shape[2], x.dtype.type(0)
        for plane in range(begin, end):
            image, c = plane // channels, plane % channels
            mean, scale, shift = affine[0, MEAN, c], affine[0, SCALE, c], affine[0, SHIFT, c]
            plain, along = 0.0, 0.0
            for at in range(plane * pixels, (plane + 1) * pixels, RUN):
                count = min(RUN, (plane + 1) * pixels - at)
                into, ga, a = kept[at : at + count], g[at : at + count], x[at : at + count]
                for i in range(count):
                    into[i] = through(ga[i], (a[i] - mean) * scale + shift, level)
                plain += row_sum(kept, at, count)
                along += row_product(kept, at, zero, x, at, mean, count)
            parts[image, 0, c], parts[image, 1, c] = plain, along

    return sums_of_planes


@kernel("T[::1], const T[::1], const T[:, :, ::1], const T[:, :, ::1], intp", T=FLOATS)
def _gradients(begin: int, end: int, gx: Array, x: Array, affine: Array, lanes: Array, pixels: int) -> None:
    for plane in range(begin, end):
        c = plane % affine.shape[2]
        mean, scale, slope, lift = affine[0, MEAN, c], affine[0, SCALE, c], lanes[0, 0, c], lanes[0, 1, c]
        into, a = gx[plane * pixels : (plane + 1) * pixels], x[plane * pixels : (plane + 1) * pixels]
        for i in range(pixels):
            into[i] = into[i] * scale + (a[i] - mean) * slope + lift


_APPLY = {name: _applying(formula.value) for name, formula in FORMULAS.items()}
_ADD = {name: _adding(FORMULAS[name].value) for name in ("none", "relu")}
_SUMS = {name: _summing(formula.slope) for name, formula in FORMULAS.items()}
