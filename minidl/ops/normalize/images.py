"""group_normalize: group and instance norm of images whose channels lie side by side in memory.

A group's numbers are then spread over all pixels of an image, so statistics are sums over pixels, for each channel.
Forward reads the image twice, backward twice with the gradient (`norm_loops.py`; an image has numbers of its own).
Memory decides: 12 bytes a number forward in float32, 20 backward.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.ops import norm_loops
from minidl.ops.batch_norm.activation import Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, row_width


def moments(x: Array, mean: Array, rstd: Array, eps: float) -> None:
    """Write mean and 1 / sqrt(var + eps) of each group, (N, groups); x is (N, pixels, C)."""
    norm_loops.moments(x, mean, rstd)
    _to_rstd(0, rstd.size, rstd.reshape(-1), eps)


def normalized(
    y: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array, activation: Activation
) -> None:
    """y = act((x - mean) * rstd * weight + bias); x and y (N, pixels, C)."""
    norm_loops.apply_affine(y, x, _affine_of(x, weight, bias, mean, rstd), None, activation)


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
    activation: Activation,
) -> None:  # fmt: skip
    """Write the gradients of x (N, pixels, C), weight and bias; g counts as the activation lets it through."""
    gx, gw, gb = out
    affine = _affine_of(x, weight, bias, mean, rstd)
    parts = norm_loops.sums(g, x, affine, gx, activation)
    lanes = np.empty((len(x), 2, affine.shape[2]), x.dtype)
    _finish(0, 1, lanes, gw, gb, parts, weight, rstd, x.shape[1])
    norm_loops.input_gradient(gx, g, x, affine, lanes, activation)


def _affine_of(x: Array, weight: Array, bias: Array, mean: Array, rstd: Array) -> Array:
    affine = np.empty((len(x), 3, row_width(x)), x.dtype)
    parallel(_affine, len(x), affine, weight, bias, mean, rstd)
    return affine


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
