"""Batch normalisation by the loops of `norm_loops.py`, for which a batch is one image."""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import kernel
from minidl.ops import norm_loops
from minidl.ops.batch_norm.activation import NONE, Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, row_width


def moments(x: Array, mean: Array, var: Array) -> None:
    """Write mean and (biased) variance of each channel of x, (..., C)."""
    norm_loops.moments(_one(x), mean.reshape(1, -1), var.reshape(1, -1))


def scaled(y: Array, x: Array, scale: Array, shift: Array, residual: Array | None, activation: Activation) -> None:
    """y = act(x * scale + shift [+ residual])."""
    affine = norm_loops.affine_of(_one(x), np.zeros(scale.shape, scale.dtype), scale, shift)
    norm_loops.apply_affine(y, _one(x), affine, residual, activation)


def normalized(y: Array, x: Array, affine: Array, residual: Array | None, activation: Activation) -> None:
    """The same with the numbers of `normal_affine`."""
    norm_loops.apply_affine(y, _one(x), affine, residual, activation)


def normal_affine(x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Array:
    """What makes (x - mean) / sqrt(var + eps) * weight + bias."""
    affine = np.empty((1, 3, row_width(_one(x))), x.dtype)
    _normal_affine(0, 1, affine, weight, bias, mean, var, eps)
    return affine


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, affine: Array, weight: Array, var: Array, eps: float,
    activation: Activation,
) -> None:  # fmt: skip
    """Write the gradients of x, weight and bias; g counts as the activation lets it through."""
    x = _one(x)
    parts = norm_loops.sums(g, x, affine, out[0], activation)
    norm_loops.input_gradient(out[0], g, x, affine, _finished(out, parts, x, weight, var, eps), activation)


def gradients_under_relu(
    out: tuple[Array, Array, Array, Array], g: Array, x: Array, y: Array, affine: Array, weight: Array, var: Array,
    eps: float,
) -> None:  # fmt: skip
    """The same under a ReLU whose result is y; the fourth is what it lets through of g."""
    x = _one(x)
    parts = norm_loops.sums_through(g, x, affine, out[3], y)
    norm_loops.input_gradient(out[0], out[3], x, affine, _finished(out[:3], parts, x, weight, var, eps), NONE)


def _one(x: Array) -> Array:
    """The whole batch as one image."""
    return x.reshape(1, -1, x.shape[-1])


def _finished(out: tuple[Array, Array, Array], parts: Array, x: Array, weight: Array, var: Array, eps: float) -> Array:
    """Write the gradients of weight and bias; the slope and the lift of each lane for that of x."""
    lanes = np.empty((1, 2, parts.shape[3]), x.dtype)
    _finish(0, 1, lanes, out[1], out[2], parts, weight, var, eps, x.shape[1])
    return lanes


@kernel("T[:, :, ::1], const T[::1], const T[::1], const T[::1], const T[::1], float64", T=FLOATS)
def _normal_affine(
    begin: int, end: int, affine: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float
) -> None:
    channels = len(mean)
    for c in range(channels):
        scale = weight[c] / np.sqrt(np.float64(var[c]) + eps)
        for at in range(c, affine.shape[2], channels):
            affine[0, MEAN, at], affine[0, SCALE, at], affine[0, SHIFT, at] = mean[c], scale, bias[c]


@kernel(
    "T[:, :, ::1], T[::1], T[::1], const float64[:, :, :, ::1], const T[::1], const T[::1], float64, intp", T=FLOATS
)  # fmt: skip
def _finish(
    begin: int, end: int, lanes: Array, gw: Array, gb: Array, parts: Array, weight: Array, var: Array, eps: float,
    count: int,
) -> None:  # fmt: skip
    """Sums of blocks of g and of g * (x - mean) to gx = g * scale + (x - mean) * slope + lift, for each lane."""
    channels, width = len(gw), parts.shape[3]
    plain, along = np.zeros(width), np.zeros(width)
    for block in range(parts.shape[1]):
        for i in range(width):
            plain[i] += parts[0, block, 0, i]
            along[i] += parts[0, block, 1, i]
    for c in range(channels):
        total, moment = 0.0, 0.0
        for at in range(c, width, channels):
            total += plain[at]
            moment += along[at]
        rstd = 1 / np.sqrt(np.float64(var[c]) + eps)
        gb[c], gw[c] = total, moment * rstd
        scale = rstd * weight[c]
        for at in range(c, width, channels):
            lanes[0, 0, at], lanes[0, 1, at] = -scale * rstd * rstd * moment / count, -scale * total / count


@kernel("T[::1], T[::1], const T[::1], const T[::1], T, T", T=FLOATS)
def move_towards(
    begin: int, end: int, running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float,
    correction: float,
) -> None:  # fmt: skip
    """Running statistics a step towards those of a batch."""
    for c in range(begin, end):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] * correction - running_var[c])
