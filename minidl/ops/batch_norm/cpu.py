"""Batch normalisation: by the loops of `norm_loops.py`, for which a batch is one image, or by those of `planes.py`."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from minidl.core import Array, Run
from minidl.device import kernel
from minidl.device.layout import is_channels_last, last_order
from minidl.device.turn import contiguous, in_one_line
from minidl.ops import norm_loops
from minidl.ops.activation import ReluGrad
from minidl.ops.batch_norm import planes
from minidl.ops.batch_norm.activation import NONE, Activation
from minidl.ops.norm_loops import FLOATS, MEAN, SCALE, SHIFT, Rows, rows_of


def moments(x: Array) -> Run:
    """What writes mean and (biased) variance of each channel of x, (N, C, ...), to out."""
    flat = _flat(x, _is_apart(x))
    write = planes.moments(planes.planes_of(x)) if _is_apart(x) else norm_loops.moments(_rows(x))

    def run(out: tuple[Array, Array], x: Array) -> None:
        mean, var = out
        write(flat(x), mean.reshape(1, -1), var.reshape(1, -1))

    return run


def tracked_moments(x: Array, momentum: float, correction: float) -> Run:
    """The same, which moves running statistics a step towards them: out is those two, then mean and variance."""
    write = moments(x)

    def run(out: tuple[Array, Array, Array, Array], x: Array) -> None:
        write(out[2:], x)
        _move_towards(0, len(out[0]), *out, momentum, correction)

    return run


def normalized(y: Array, x: Array, residual: Array | None, eps: float, activation: Activation) -> Run:
    """What makes y = act((x - mean) / sqrt(var + eps) * weight + bias [+ residual]), of (y, x, weight, bias, mean, var,
    residual)."""
    apply, affine_of = _applied(y, x, residual, activation), _normal_affines(y, eps)

    def run(
        y: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array, residual: Array | None = None
    ) -> None:
        apply(y, x, affine_of(weight, bias, mean, var), residual)

    return run


def gradients(gx: Array, g: Array, x: Array, eps: float, activation: Activation, *, is_at_rest: bool = False) -> Run:
    """What writes the gradients of x, weight and bias; g counts as the activation lets it through.

    At rest, mean and variance do not depend on x.
    """
    is_apart, affine_of, finish = _is_apart(gx), _normal_affines(gx, eps), _finished(gx, eps, is_at_rest)
    flat_gx, flat_g, flat_x = (_flat(a, is_apart) for a in (gx, g, x))
    if is_apart:
        sums, descend = planes.sums(planes.planes_of(gx), activation), planes.input_gradient(planes.planes_of(gx))
    else:
        sums, descend = norm_loops.sums(_rows(gx), activation), norm_loops.input_gradient(_rows(gx), activation)

    def run(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array
    ) -> None:
        gx, gw, gb = out
        gx, g, x, affine = flat_gx(gx), flat_g(g), flat_x(x), affine_of(weight, bias, mean, var)
        descend(gx, g, x, affine, finish(gw, gb, sums(gx, g, x, affine), weight, var))

    return run


def gradients_under_relu(gx: Array, g: Array, x: Array, y: Array, eps: float) -> Run:
    """The same under a ReLU whose result is y; the fourth is what it lets through of g."""
    if _is_apart(gx):
        plain = gradients(gx, gx, x, eps, NONE)

        def run_apart(out: tuple[Array, ...], g: Array, x: Array, *given: Array) -> None:
            *numbers, y = given
            ReluGrad.cpu(out[3], contiguous(g), contiguous(y))
            plain(out[:3], out[3], x, *numbers)

        return run_apart
    flat_gx, flat_g, flat_x, flat_y = (_flat(a, False) for a in (gx, g, x, y))
    affine_of, finish = _normal_affines(gx, eps), _finished(gx, eps)
    sums, descend = norm_loops.sums_through(_rows(gx)), norm_loops.input_gradient(_rows(gx), NONE)

    def run(
        out: tuple[Array, Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array,
        y: Array,
    ) -> None:  # fmt: skip
        gx, gw, gb, kept = out
        gx, kept, x, affine = flat_gx(gx), flat_gx(kept), flat_x(x), affine_of(weight, bias, mean, var)
        parts = sums(kept, flat_y(y), flat_g(g), x, affine)
        descend(gx, kept, x, affine, finish(gw, gb, parts, weight, var))

    return run


def _is_apart(x: Array) -> bool:
    """Whether each channel of an image lies by itself; else they are taken to lie side by side."""
    return x.ndim > 2 and x.flags.c_contiguous and not is_channels_last(x)


def _rows(x: Array) -> Rows:
    """The whole batch as one image whose channels lie side by side."""
    return rows_of(1, x.size // x.shape[1], x.shape[1], x.dtype)


def _width(x: Array) -> int:
    """How many lanes have numbers of their own: those of a row, or one for each channel."""
    return x.shape[1] if _is_apart(x) else _rows(x).width


def _flat(like: Array, is_apart: bool) -> Callable[[Array], Array]:
    """What gives an array like this in one dimension, channels apart or side by side."""
    return in_one_line(like, None if is_apart or like.ndim < 3 else last_order(like.ndim))


def _applied(y: Array, x: Array, residual: Array | None, activation: Activation) -> Callable[..., None]:
    """What applies an affine map, of (y, x, affine, residual)."""
    is_apart, adds = _is_apart(y), residual is not None
    flat_y, flat_x = _flat(y, is_apart), _flat(x, is_apart)
    if is_apart:
        apply = planes.apply_affine(planes.planes_of(y), activation, adds=adds)
    else:
        apply = norm_loops.apply_affine(_rows(y), activation, adds=adds)
    if residual is None:
        return lambda y, x, affine, residual: apply(flat_y(y), flat_x(x), affine)
    flat_residual = _flat(residual, is_apart)
    return lambda y, x, affine, residual: apply(flat_y(y), flat_x(x), flat_residual(residual), affine)


def _normal_affines(like: Array, eps: float) -> Callable[[Array, Array, Array, Array], Array]:
    """What makes (x - mean) / sqrt(var + eps) * weight + bias, for each lane of a row, or for each channel."""
    shape, dtype = (1, 3, _width(like)), like.dtype

    def affine_of(weight: Array, bias: Array, mean: Array, var: Array) -> Array:
        affine = np.empty(shape, dtype)
        _normal_affine(0, 1, affine, *map(_straight, (weight, bias, mean, var)), eps)
        return affine

    return affine_of


def _straight(array: Array) -> Array:
    return array if array.flags.c_contiguous else contiguous(array)


def _finished(like: Array, eps: float, is_at_rest: bool = False) -> Callable[..., Array]:
    """What writes the gradients of weight and bias, and gives the slope and the lift of each lane for that of x.

    It takes (gw, gb, parts, weight, var).
    """
    shape, dtype = (1, 2, _width(like)), like.dtype
    count = math.inf if is_at_rest else like.size // like.shape[1]

    def finish(gw: Array, gb: Array, parts: Array, weight: Array, var: Array) -> Array:
        lanes = np.empty(shape, dtype)
        _finish(0, 1, lanes, gw, gb, parts, _straight(weight), _straight(var), eps, count)
        return lanes

    return finish


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
    "T[:, :, ::1], T[::1], T[::1], const float64[:, :, :, ::1], const T[::1], const T[::1], float64, float64", T=FLOATS
)  # fmt: skip
def _finish(
    begin: int, end: int, lanes: Array, gw: Array, gb: Array, parts: Array, weight: Array, var: Array, eps: float,
    count: float,
) -> None:  # fmt: skip
    """Sums of blocks of g and of g * (x - mean) to gx = g * scale + (x - mean) * slope + lift, for each lane.

    `count` numbers of a channel share in its mean and variance; infinitely many if one has no part in them.
    """
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
def _move_towards(
    begin: int, end: int, running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float,
    correction: float,
) -> None:  # fmt: skip
    """Running statistics a step towards those of a batch."""
    for c in range(begin, end):
        running_mean[c] += momentum * (mean[c] - running_mean[c])
        running_var[c] += momentum * (var[c] * correction - running_var[c])
