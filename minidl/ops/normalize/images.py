"""group_normalize: group and instance norm of images whose channels lie side by side in memory.

A group's numbers are then spread over all pixels of an image, so statistics are sums over pixels, for each channel.
Forward reads the image twice, backward twice with the gradient (`norm_loops.py`; an image has numbers of its own).
Memory decides: 12 bytes a number forward in float32, 20 backward.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minidl.core import Array, Run
from minidl.device import kernel
from minidl.device.threads import Blocks
from minidl.ops import norm_loops
from minidl.ops.batch_norm.activation import Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, Rows, rows_of


def moments(x: Array, eps: float) -> Run:
    """What writes mean and 1 / sqrt(var + eps) of each group, (N, groups), to out, for x (N, *space, C)."""
    write = norm_loops.moments(_rows(x))

    def run(out: tuple[Array, Array], x: Array) -> None:
        mean, rstd = out
        write(x.reshape(-1), mean, rstd)
        _to_rstd(0, rstd.size, rstd.reshape(-1), eps)

    return run


def normalized(x: Array, activation: Activation) -> Run:
    """What makes y = act((x - mean) * rstd * weight + bias), of (y, x, weight, bias, mean, rstd); y like x."""
    apply, affine_of = norm_loops.apply_affine(_rows(x), activation, adds=False), _affines(x)

    def run(y: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array) -> None:
        apply(y.reshape(-1), x.reshape(-1), affine_of(weight, bias, mean, rstd))

    return run


def gradients(x: Array, activation: Activation) -> Run:
    """What writes the gradients of x (N, *space, C), weight and bias; g counts as the activation lets it through."""
    rows = _rows(x)
    sums, descend, affine_of = (
        norm_loops.sums(rows, activation),
        norm_loops.input_gradient(rows, activation),
        _affines(x),
    )
    shape, dtype = (rows.images, 2, rows.width), x.dtype

    def run(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array
    ) -> None:
        gx, gw, gb = out
        gx, g, x, affine = gx.reshape(-1), g.reshape(-1), x.reshape(-1), affine_of(weight, bias, mean, rstd)
        lanes = np.empty(shape, dtype)
        _finish(0, 1, lanes, gw, gb, sums(gx, g, x, affine), weight, rstd, rows.pixels)
        descend(gx, g, x, affine, lanes)

    return run


def _rows(x: Array) -> Rows:
    return rows_of(len(x), math.prod(x.shape[1:-1]), x.shape[-1], x.dtype)


def _affines(x: Array) -> Callable[[Array, Array, Array, Array], Array]:
    """What makes the numbers of each lane of each image."""
    rows, dtype = _rows(x), x.dtype
    write = Blocks(_affine, rows.images, size=12 * rows.images * rows.width)

    def affine_of(weight: Array, bias: Array, mean: Array, rstd: Array) -> Array:
        affine = np.empty((rows.images, 3, rows.width), dtype)
        write(affine, weight, bias, mean, rstd)
        return affine

    return affine_of


@kernel("T[::1], float64", T=FLOATS)
def _to_rstd(begin: int, end: int, var: Array, eps: float) -> None:
    for i in range(begin, end):
        var[i] = 1 / np.sqrt(np.float64(var[i]) + eps)


@kernel("T[:, :, ::1], const T[::1], const T[::1], const T[:, ::1], const T[:, ::1]", T=FLOATS)
def _affine(begin: int, end: int, affine: Array, weight: Array, bias: Array, mean: Array, rstd: Array) -> None:
    """The numbers of each lane of images begin to end."""
    channels, share = len(weight), len(weight) // mean.shape[1]
    for image in range(begin, end):
        rows = affine[image]
        for c in range(channels):
            group = c // share
            centre, scale = mean[image, group], rstd[image, group] * weight[c]
            for at in range(c, affine.shape[2], channels):
                rows[MEAN, at], rows[SCALE, at], rows[SHIFT, at] = centre, scale, bias[c]


@kernel(
    "T[:, :, ::1], T[::1], T[::1], const float64[:, :, :, ::1], const T[::1], const T[:, ::1], intp", T=FLOATS
)  # fmt: skip
def _finish(
    begin: int, end: int, lanes: Array, gw: Array, gb: Array, parts: Array, weight: Array, rstd: Array, pixels: int
) -> None:  # fmt: skip
    """Sums of blocks of g and of g * (x - mean) to gx = g * scale + (x - mean) * slope + lift, for each lane."""
    channels, groups, width = len(weight), rstd.shape[1], parts.shape[3]
    share = channels // groups
    plain, along = np.empty(width), np.empty(width)
    of_weight, of_bias = np.zeros(channels), np.zeros(channels)
    for image in range(len(parts)):
        plain[:] = 0
        along[:] = 0
        for block in range(parts.shape[1]):
            for i in range(width):
                plain[i] += parts[image, block, 0, i]
                along[i] += parts[image, block, 1, i]
        for group in range(groups):
            scale, tilt, lift = np.float64(rstd[image, group]), 0.0, 0.0
            for c in range(group * share, (group + 1) * share):
                total, moment = 0.0, 0.0
                for at in range(c, width, channels):
                    total += plain[at]
                    moment += along[at]
                moment *= scale
                of_weight[c] += moment
                of_bias[c] += total
                tilt += moment * weight[c]
                lift += total * weight[c]
            slope, lift = -scale * scale * tilt / (pixels * share), -scale * lift / (pixels * share)
            for first in range(group * share, width, channels):
                for at in range(first, first + share):
                    lanes[image, 0, at], lanes[image, 1, at] = slope, lift
    for c in range(channels):
        gw[c], gb[c] = of_weight[c], of_bias[c]
