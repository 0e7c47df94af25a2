"""The loops of batch norm where each channel of an image lies by itself: contiguous (N, C, pixels).

Vectors hold pixels, and a plane, one channel of one image, is a unit of work: it leaves its mean and squares, or its
sums of g and of g * (x - mean), in float64. They are put together as the blocks of `norm_loops.py` are, an image for a
block of rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import kernel
from minidl.device.inline import Inline
from minidl.device.row_sums import row_product, row_sum
from minidl.device.threads import Blocks
from minidl.ops.batch_norm.activation import FORMULAS, Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, merge_moments

RUN = 1024  # numbers that are summed in the type of the array


class Planes(NamedTuple):
    """So many images of so many channels, each of so many pixels."""

    images: int
    channels: int
    pixels: int
    size: int  # bytes


def planes_of(x: Array) -> Planes:
    """Those of x (N, C, *space)."""
    return Planes(len(x), x.shape[1], math.prod(x.shape[2:]), x.nbytes)


def moments(planes: Planes) -> Callable[[Array, Array, Array], None]:
    """What writes mean and (biased) variance of each channel, (1, C), for x."""
    images, channels, pixels, size = planes
    of_planes = Blocks(_moments, images * channels, size=size)

    def run(x: Array, mean: Array, var: Array) -> None:
        parts = np.empty((images, 2, channels))
        of_planes(parts, x, pixels)
        merge_moments(0, 1, mean, var, parts, channels, images * pixels, pixels)

    return run


def apply_affine(planes: Planes, activation: Activation, *, adds: bool) -> Callable[..., None]:
    """What makes y = act((x - mean) * scale + shift [+ residual]) for (y, x, [residual,] affine); affine (1, 3, C)."""
    kind, level = activation
    count = planes.images * planes.channels
    apply = Blocks((_ADD if adds else _APPLY)[kind], count, size=(2 + adds) * planes.size)
    return lambda *arrays: apply(*arrays, planes.pixels, level)


def sums(planes: Planes, activation: Activation) -> Callable[[Array, Array, Array, Array], Array]:
    """What gives the sums of g and of g * (x - mean) for each plane, (1, N, 2, C), of (kept, g, x, affine).

    What the activation lets through of g is kept.
    """
    kind, level = activation
    of_planes = Blocks(_SUMS[kind], planes.images * planes.channels, size=3 * planes.size)

    def run(kept: Array, g: Array, x: Array, affine: Array) -> Array:
        parts = np.empty((planes.images, 2, planes.channels))
        of_planes(parts, kept, g, x, affine, planes.pixels, level)
        return parts[None]

    return run


def input_gradient(planes: Planes) -> Callable[[Array, Array, Array, Array, Array], None]:
    """What makes gx = gx * scale + (x - mean) * slope + lift of (gx, g, x, affine, lanes).

    `sums` has kept g in gx; `lanes` has slope and lift of each channel, (1, 2, C).
    """
    gradient = Blocks(_gradients, planes.images * planes.channels, size=3 * planes.size)
    return lambda gx, g, x, affine, lanes: gradient(gx, x, affine, lanes, planes.pixels)


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
