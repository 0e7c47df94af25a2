"""group_normalize: group and instance norm of images whose channels lie side by side in memory.

A group's numbers are then spread over all pixels of an image, so statistics are sums over pixels, for each channel.
Forward reads the image twice, backward twice with the gradient (`norm_loops.py`; an image has numbers of its own).
Memory decides: 12 bytes a number forward in float32, 20 backward.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.ops import norm_loops
from minidl.ops.batch_norm.activation import Activation


def moments(x: Array, mean: Array, rstd: Array, eps: float) -> None:
    """Write mean and 1 / sqrt(var + eps) of each group, (N, groups); x is (N, pixels, C)."""
    norm_loops.moments(x, mean, rstd)
    rstd[...] = 1 / np.sqrt(rstd.astype(np.float64) + eps)


def normalized(
    y: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array, activation: Activation
) -> None:
    """y = act((x - mean) * rstd * weight + bias); x and y (N, pixels, C)."""
    norm_loops.apply_affine(y, x, _affine(x, weight, bias, mean, rstd), None, activation)


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
    activation: Activation,
) -> None:  # fmt: skip
    """Write the gradients of x (N, pixels, C), weight and bias; g counts as the activation lets it through."""
    (images, pixels, channels), groups = x.shape, mean.shape[1]
    gx, gw, gb = out
    affine = _affine(x, weight, bias, mean, rstd)
    parts = norm_loops.sums(g, x, affine, gx, activation)
    total = parts.reshape(images, parts.shape[1], 2, -1, channels).sum(axis=(1, 3))
    plain, along = total[:, 0], total[:, 1] * _by_channel(rstd, channels)
    gw[...], gb[...] = along.sum(axis=0), plain.sum(axis=0)
    share = pixels * (channels // groups)
    lift, tilt = ((sums * weight).reshape(images, groups, -1).sum(axis=2) / share for sums in (plain, along))
    lanes = np.empty((images, 2, affine.shape[2] // channels, channels), x.dtype)
    for row, values in enumerate((-rstd * rstd * tilt, -rstd * lift)):
        lanes[:, row] = _by_channel(values, channels)[:, None]
    norm_loops.input_gradient(gx, g, x, affine, lanes.reshape(images, 2, -1), activation)


def _affine(x: Array, weight: Array, bias: Array, mean: Array, rstd: Array) -> Array:
    centre, scale = (_by_channel(a, x.shape[2]) for a in (mean, rstd))
    return norm_loops.affine_of(x, centre, scale * weight, bias)


def _by_channel(values: Array, channels: int) -> Array:
    """(N, groups) as (N, channels)."""
    return np.repeat(values, channels // values.shape[1], axis=1)
