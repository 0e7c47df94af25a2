"""normalize, and on it batch_norm, layer_norm and group_norm: zero mean and unit variance over some dimensions.

Forward reads x three times and writes once: mean, variance, then (x - mean) * rstd * weight + bias. Backward needs two
more sums, because moving one element moves the mean and the variance of all:
gx = rstd * (gy - mean(gy) - xhat * mean(gy * xhat)) with gy = g * weight.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, UpdateOp, is_recording
from minidl.device import kernel, parallel
from minidl.device.dtypes import accumulator, promote
from minidl.device.row_sums import row_product, row_sum
from minidl.errors import ShapeError
from minidl.ops.elementwise import broadcast
from minidl.ops.reduce import mean as mean_
from minidl.ops.reduce import reduced_shape
from minidl.ops.unary import rsqrt

__all__ = ["batch_norm", "group_norm", "layer_norm"]


class Normalize(Op):
    """(x - mean) / sqrt(var + eps) * weight + bias over `dims`; gives the result, the mean and 1/sqrt(var + eps)."""

    name = "normalize"
    saves = ("x", "weight", "out")

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec, *, dims: tuple[int, ...], eps: float) -> tuple[Spec, Spec, Spec]:
        broadcast("normalize", x, weight, bias)
        moments = Spec(reduced_shape(x.shape, dims, keepdim=True), x.dtype)
        return x, moments, moments

    @staticmethod
    def reference(
        xp: Any,
        out: tuple[Array, Array, Array],
        x: Array,
        weight: Array,
        bias: Array,
        *,
        dims: tuple[int, ...],
        eps: float,
    ) -> None:
        y, mean, rstd = out
        wide = accumulator(x.dtype)
        mean[...] = xp.mean(x, axis=dims, dtype=wide, keepdims=True)
        xp.subtract(x, mean, out=y)  # deviations first: the mean square minus the squared mean would cancel
        rstd[...] = 1 / xp.sqrt(xp.mean(xp.square(y, dtype=wide), axis=dims, keepdims=True) + eps)
        y *= rstd
        y *= weight
        y += bias

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and _over_channels(arrays[0], arrays[1], params["dims"])

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, *, dims: tuple[int, ...], eps: float
    ) -> None:
        planes = (x.shape[0], x.shape[1], -1)
        y, mean, rstd = out
        channels = [a.reshape(-1) for a in (mean, rstd, weight, bias)]
        parallel(_normalize_channels, x.shape[1], y.reshape(planes), *channels, x.reshape(planes), eps, block=1)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, mean, rstd) = node.saved
        dims, g = node.params["dims"], g[0]
        if not is_recording():
            gx, gw, gb = NormalizeGrad.apply(g, x, weight, mean, rstd, dims=dims)
            return gx, gw, gb
        # To be differentiated again, the moments are computed anew from x.
        centred = x - mean_(x, dims, keepdim=True)
        rstd = rsqrt(mean_(centred * centred, dims, keepdim=True) + node.params["eps"])
        xhat, gy = centred * rstd, g * weight
        gx = rstd * (gy - mean_(gy, dims, keepdim=True) - xhat * mean_(gy * xhat, dims, keepdim=True))
        return gx, g * xhat, g


class NormalizeGrad(Op):
    """The three gradients of `normalize` in one go; for a second derivative they are written in ops instead."""

    name = "normalize_grad"

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, mean: Spec, rstd: Spec, *, dims: tuple[int, ...]
    ) -> tuple[Spec, Spec, Spec]:
        return x, weight, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, dims: tuple[int, ...],
    ) -> None:  # fmt: skip
        gx, gw, gb = out
        over = tuple(d for d in range(x.ndim) if weight.shape[d] == 1)
        xhat = (x - mean) * rstd
        gb[...] = xp.sum(g, axis=over, keepdims=True)
        gw[...] = xp.sum(g * xhat, axis=over, keepdims=True)
        xp.multiply(g, weight, out=gx)
        along = xp.mean(gx * xhat, axis=dims, keepdims=True)
        gx -= xp.mean(gx, axis=dims, keepdims=True)
        xhat *= along
        gx -= xhat
        gx *= rstd

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and _over_channels(arrays[1], arrays[2], params["dims"])

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, dims: tuple[int, ...],
    ) -> None:  # fmt: skip
        planes = (x.shape[0], x.shape[1], -1)
        gx, gw, gb = out
        channels = [a.reshape(-1) for a in (gw, gb, weight, mean, rstd)]
        parallel(
            _grad_channels, x.shape[1], gx.reshape(planes), *channels, g.reshape(planes), x.reshape(planes), block=1
        )


def _over_channels(x: Array, weight: Array, dims: tuple[int, ...]) -> bool:
    """Whether this is batch-norm: statistics and weights for each channel."""
    return x.ndim > 1 and dims == (0, *range(2, x.ndim)) and weight.size == x.shape[1] == weight.shape[1] and x.size > 0


@kernel(
    "T[:, :, ::1], T[::1], T[::1], const T[::1], const T[::1], const T[:, :, ::1], float64", T=("float32", "float64")
)
def _normalize_channels(
    begin: int, end: int, y: Array, mean: Array, rstd: Array, weight: Array, bias: Array, x: Array, eps: float
) -> None:
    images, channels, size = x.shape
    for c in range(begin, end):
        total = 0.0
        for n in range(images):
            total += row_sum(x, (n * channels + c) * size, size)
        mean[c] = total / (images * size)
        total = 0.0
        for n in range(images):
            at = (n * channels + c) * size
            total += row_product(x, at, mean[c], x, at, mean[c], size)
        rstd[c] = 1 / np.sqrt(total / (images * size) + eps)
        shift, scale, lift = mean[c], rstd[c] * weight[c], bias[c]
        for n in range(images):
            for j in range(size):
                y[n, c, j] = (x[n, c, j] - shift) * scale + lift


@kernel(
    "T[:, :, ::1], T[::1], T[::1], const T[::1], const T[::1], const T[::1], const T[:, :, ::1], const T[:, :, ::1]",
    T=("float32", "float64"),
)
def _grad_channels(
    begin: int, end: int, gx: Array, gw: Array, gb: Array, weight: Array, mean: Array, rstd: Array, g: Array, x: Array
) -> None:
    images, channels, size = x.shape
    count = images * size
    for c in range(begin, end):
        plain, along = 0.0, 0.0
        for n in range(images):
            at = (n * channels + c) * size
            plain += row_sum(g, at, size)
            along += row_product(g, at, x.dtype.type(0), x, at, mean[c], size)
        gb[c], gw[c] = plain, along * rstd[c]
        # gx = rstd weight (g - mean(g) - xhat mean(g xhat)), as one multiply-add of g and one of x
        shift, scale = mean[c], rstd[c] * weight[c]
        slope = x.dtype.type(-scale * rstd[c] * gw[c] / count)  # float64 in the loop would cost half as much again
        lift = x.dtype.type(-scale * gb[c] / count)
        for n in range(images):
            for j in range(size):
                gx[n, c, j] = g[n, c, j] * scale + (x[n, c, j] - shift) * slope + lift


class ScaleShift(Op):
    """x * scale + shift for each channel, in one pass over memory."""

    name = "scale_shift"
    saves = ("x", "scale")

    @staticmethod
    def infer(x: Spec, scale: Spec, shift: Spec) -> Spec:
        broadcast("scale_shift", x, scale, shift)
        return x.with_dtype(promote(x.dtype, scale.dtype, shift.dtype))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, scale: Array, shift: Array) -> None:
        xp.multiply(x, scale, out=out)
        out += shift

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and len({a.dtype for a in arrays}) == 1 and arrays[0].size > 0

    @staticmethod
    def cpu(out: Array, x: Array, scale: Array, shift: Array) -> None:
        planes = (x.shape[0] * x.shape[1], -1)
        parallel(_scale_planes, planes[0], out.reshape(planes), x.reshape(planes), scale.reshape(-1), shift.reshape(-1))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, scale = node.saved
        return g * scale if node.needs[0] else None, g * x if node.needs[1] else None, g if node.needs[2] else None


@kernel("T[:, ::1], const T[:, ::1], const T[::1], const T[::1]", T=("float32", "float64"))
def _scale_planes(begin: int, end: int, out: Array, x: Array, scale: Array, shift: Array) -> None:
    for plane in range(begin, end):
        c = plane % len(scale)
        for j in range(x.shape[1]):
            out[plane, j] = x[plane, j] * scale[c] + shift[c]


class MoveTowards(UpdateOp):
    """running += momentum * (new - running), for the mean and the variance at once."""

    name = "move_towards_"
    updates = 2

    @staticmethod
    def infer(mean: Spec, var: Spec, new_mean: Spec, new_var: Spec, *, momentum: float) -> None:
        if mean.shape != new_mean.shape or var.shape != new_var.shape:
            raise ShapeError(
                f"batch_norm: running statistics must be {new_mean.shape}, got {mean.shape} and {var.shape}"
            )

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], mean: Array, var: Array, *, momentum: float) -> None:
        for running, new in zip(out, (mean, var), strict=True):
            running += momentum * (new - running)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Each channel shifted and scaled: by the statistics of the batch in training, by the running ones otherwise.

    Args:
        input: (N, C) or (N, C, d1, ...), floating.
        running_mean, running_var: (C,), changed in place in training; None to keep no record.
        weight, bias: (C,), the scale and shift after normalisation; 1 and 0 when None.
        momentum: the share of the batch in the new running statistics (the variance is Bessel-corrected there).
        eps: added to the variance.

    Raises:
        ShapeError: if sizes do not fit, or a channel has a single value in training.

    Source: Ioffe and Szegedy, ICML 2015, algorithm 1.

    >>> batch_norm(Tensor([[1.0], [3.0]]), None, None, training=True)
    tensor([[-0.999995],
            [ 0.999995]])
    """
    if input.ndim < 2:
        raise ShapeError(f"batch_norm: input must be (N, C, ...), got {input.shape}")
    channels = input.shape[1]
    for name, t in {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}.items():
        if t is not None and t.shape != (channels,):
            raise ShapeError(f"batch_norm: input {input.shape} has {channels} channels, but {name} has shape {t.shape}")
    scale, shift = _affine(input, weight, bias, [-1 if d == 1 else 1 for d in range(input.ndim)])
    if not training and running_mean is not None and running_var is not None:
        rstd = rsqrt(running_var.reshape(scale.shape) + eps)
        scale = scale * rstd
        at_rest: Tensor = ScaleShift.apply(input, scale, shift - running_mean.reshape(scale.shape) * scale)
        return at_rest
    count = input.numel() // max(channels, 1)
    if count < 2 and training and input.numel():
        raise ShapeError(f"batch_norm: needs more than one value per channel to train, got input {input.shape}")
    dims = tuple(d for d in range(input.ndim) if d != 1)
    out, mean, rstd = Normalize.apply(input, scale, shift, dims=dims, eps=eps)
    if training and running_mean is not None and running_var is not None:
        wide = rstd.array.astype(np.float64)
        var = Tensor.of(((1 / (wide * wide) - eps) * (count / (count - 1))).reshape(channels).astype(rstd.dtype))
        MoveTowards.apply(running_mean, running_var, mean.detach().reshape(channels), var, momentum=momentum)
    result: Tensor = out
    return result


def layer_norm(
    input: Tensor,
    normalized_shape: tuple[int, ...],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Each sample shifted and scaled to zero mean and unit variance over its last dimensions.

    Args:
        input: (..., *normalized_shape), floating.
        weight, bias: of shape `normalized_shape`; 1 and 0 when None.

    Raises:
        ShapeError: if `input` does not end in `normalized_shape`.

    Source: Ba et al., arXiv:1607.06450.

    >>> layer_norm(Tensor([[1.0, 3.0]]), (2,))
    tensor([[-0.999995,  0.999995]])
    """
    shape = tuple(normalized_shape)
    if input.shape[input.ndim - len(shape) :] != shape:
        raise ShapeError(f"layer_norm: input {input.shape} must end in normalized_shape {shape}")
    for name, t in {"weight": weight, "bias": bias}.items():
        if t is not None and t.shape != shape:
            raise ShapeError(f"layer_norm: {name} must be of normalized_shape {shape}, got {t.shape}")
    lead = input.ndim - len(shape)
    scale, shift = _affine(input, weight, bias, [1] * lead + list(shape))
    result: Tensor = Normalize.apply(input, scale, shift, dims=tuple(range(lead, input.ndim)), eps=eps)[0]
    return result


def group_norm(
    input: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Tensor:
    """Each sample normalised over groups of its channels.

    Args:
        input: (N, C, ...), floating; C divisible by `num_groups`.
        weight, bias: (C,); 1 and 0 when None.

    Source: Wu and He, ECCV 2018.
    """
    channels = input.shape[1] if input.ndim > 1 else 0
    if not channels or num_groups < 1 or channels % num_groups:
        raise ShapeError(
            f"group_norm: input {input.shape} has {channels} channels, which {num_groups} groups do not divide"
        )
    grouped = input.reshape(input.shape[0], num_groups, math.prod(input.shape[1:]) // num_groups)
    unit = Tensor.of(input.device.xp.ones((1, 1, 1), input.dtype))
    out = Normalize.apply(grouped, unit, unit * 0, dims=(2,), eps=eps)[0].reshape(input.shape)
    if weight is None and bias is None:
        return out  # type: ignore[no-any-return]
    scale, shift = _affine(input, weight, bias, [-1 if d == 1 else 1 for d in range(input.ndim)])
    return out * scale + shift  # type: ignore[no-any-return]


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None, shape: list[int]) -> tuple[Tensor, Tensor]:
    """Scale and shift in a shape that broadcasts to `input`; 1 and 0 where they are None."""
    xp = input.device.xp
    size = [input.shape[d] if n == -1 else n for d, n in enumerate(shape)]
    scale = Tensor.of(xp.ones(size, input.dtype)) if weight is None else weight.reshape(shape)
    shift = Tensor.of(xp.zeros(size, input.dtype)) if bias is None else bias.reshape(shape)
    return scale, shift
