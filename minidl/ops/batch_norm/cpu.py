"""Batch normalisation: by the loops of `norm_loops.py`, for which a batch is one image, or by those of `planes.py`."""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import kernel
from minidl.device.layout import channels_last_view, is_channels_last
from minidl.device.turn import contiguous
from minidl.ops import norm_loops
from minidl.ops.activation import ReluGrad
from minidl.ops.batch_norm import planes
from minidl.ops.batch_norm.activation import NONE, Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, row_width


def moments(x: Array, mean: Array, var: Array) -> None:
    """Write mean and (biased) variance of each channel of x, (N, C, ...)."""
    if _is_apart(x):
        planes.moments(x, mean, var)
    else:
        norm_loops.moments(_one(x), mean.reshape(1, -1), var.reshape(1, -1))


def scaled(y: Array, x: Array, scale: Array, shift: Array, residual: Array | None, activation: Activation) -> None:
    """y = act(x * scale + shift [+ residual])."""
    width = len(scale) if _is_apart(y) else row_width(_one(y))
    affine = np.empty((1, 3, width // len(scale), len(scale)), x.dtype)
    affine[0, MEAN], affine[0, SCALE], affine[0, SHIFT] = 0, scale, shift
    _applied(y, x, affine.reshape(1, 3, width), residual, activation)


def normalized(
    y: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float, residual: Array | None,
    activation: Activation,
) -> None:  # fmt: skip
    """y = act((x - mean) / sqrt(var + eps) * weight + bias [+ residual])."""
    _applied(y, x, _normal_affine_of(y, weight, bias, mean, var, eps), residual, activation)


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
    eps: float, activation: Activation,
) -> None:  # fmt: skip
    """Write the gradients of x, weight and bias; g counts as the activation lets it through."""
    gx = out[0]
    affine = _normal_affine_of(gx, weight, bias, mean, var, eps)
    if _is_apart(gx):
        x = contiguous(x)
        parts = planes.sums(contiguous(g), x, affine, gx, activation)
        planes.input_gradient(gx, x, affine, _finished(out, parts, x.size // len(weight), weight, var, eps))
    else:
        gx, g, x = _one(gx), _one(g), _one(x)
        parts = norm_loops.sums(g, x, affine, gx, activation)
        lanes = _finished(out, parts, x.shape[1], weight, var, eps)
        norm_loops.input_gradient(gx, g, x, affine, lanes, activation)


def gradients_under_relu(
    out: tuple[Array, Array, Array, Array], g: Array, x: Array, y: Array, weight: Array, bias: Array, mean: Array,
    var: Array, eps: float,
) -> None:  # fmt: skip
    """The same under a ReLU whose result is y; the fourth is what it lets through of g."""
    gx, gw, gb, kept = out
    if _is_apart(gx):
        ReluGrad.cpu(kept, contiguous(g), contiguous(y))
        gradients((gx, gw, gb), kept, x, weight, bias, mean, var, eps, NONE)
    else:
        affine = _normal_affine_of(gx, weight, bias, mean, var, eps)
        gx, kept, g, x, y = (_one(a) for a in (gx, kept, g, x, y))
        parts = norm_loops.sums_through(g, x, affine, kept, y)
        lanes = _finished((gx, gw, gb), parts, x.shape[1], weight, var, eps)
        norm_loops.input_gradient(gx, kept, x, affine, lanes, NONE)


def _is_apart(x: Array) -> bool:
    """Whether each channel of an image lies by itself; else they are taken to lie side by side."""
    return x.ndim > 2 and x.flags.c_contiguous and not is_channels_last(x)


def _one(x: Array) -> Array:
    """The whole batch as one image whose channels lie side by side."""
    return contiguous(channels_last_view(x)).reshape(1, -1, x.shape[1])


def _applied(y: Array, x: Array, affine: Array, residual: Array | None, activation: Activation) -> None:
    if _is_apart(y):
        residual = None if residual is None else contiguous(residual)
        planes.apply_affine(y, contiguous(x), affine, residual, activation)
    else:
        norm_loops.apply_affine(_one(y), _one(x), affine, None if residual is None else _one(residual), activation)


def _normal_affine_of(like: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float) -> Array:
    """What makes (x - mean) / sqrt(var + eps) * weight + bias, for each lane of a row, or for each channel."""
    affine = np.empty((1, 3, len(mean) if _is_apart(like) else row_width(_one(like))), like.dtype)
    _normal_affine(0, 1, affine, *map(contiguous, (weight, bias, mean, var)), eps)
    return affine


def _finished(
    out: tuple[Array, Array, Array], parts: Array, count: int, weight: Array, var: Array, eps: float
) -> Array:
    """Write the gradients of weight and bias; the slope and the lift of each lane for that of x."""
    lanes = np.empty((1, 2, parts.shape[3]), out[0].dtype)
    _finish(0, 1, lanes, out[1], out[2], parts, contiguous(weight), contiguous(var), eps, count)
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
