"""normalize, and on it layer_norm and group_norm: zero mean and unit variance for each row of memory.

Forward reads x once and writes once: a row stays in the first cache for mean, variance and (x - mean) * rstd * weight +
bias. Backward needs two more sums, because moving one element moves the mean and the variance of all:
gx = rstd * (gy - mean(gy) - xhat * mean(gy * xhat)) with gy = g * weight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, is_recording
from minidl.device import block_count, parallel
from minidl.device.dtypes import accumulator
from minidl.device.layout import is_channels_last
from minidl.errors import ShapeError
from minidl.ops.batch_norm.activation import NONE, Activation, activate, held_back, passed
from minidl.ops.normalize import images, on_gpu
from minidl.ops.normalize.cpu import group_gradients, layer_gradients, normalize_rows
from minidl.ops.reduce import mean as mean_
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import rsqrt
from minidl.ops.views import expand, reshape

__all__ = ["group_norm", "layer_norm"]

BLOCK_BYTES = 65536
MOST_BLOCKS = 64  # each has sums of its own for the gradient of the weights


class Normalize(AlikeOp):
    """(x - mean) * rstd * weight + bias for each row of x; gives the result, the mean and rstd = 1/sqrt(var + eps).

    The first `lead` dimensions of x count rows. Row r belongs to group r % groups; weight and bias hold the same number
    of values for each group, and each value is for an equal stretch of the row.
    """

    name = "normalize"
    saves = ("x", "weight", "out")
    saves_results = (1, 2)

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec, *, lead: int, groups: int, eps: float) -> tuple[Spec, Spec, Spec]:
        moments = Spec(x.shape[:lead], accumulator(x.dtype))
        return x, moments, moments

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array,
        *, lead: int, groups: int, eps: float,
    ) -> None:  # fmt: skip
        y, mean, rstd = out
        if not x.size:
            mean[...], rstd[...] = 0, 0
            return
        wide, dims = accumulator(x.dtype), tuple(range(lead, x.ndim))
        centre = xp.mean(x, axis=dims, dtype=wide, keepdims=True)
        mean[...] = centre.reshape(mean.shape)
        xp.subtract(x, centre.astype(x.dtype), out=y)  # deviations first: mean square minus squared mean would cancel
        scale = 1 / xp.sqrt(xp.mean(xp.square(y, dtype=wide), axis=dims, keepdims=True) + eps)
        rstd[...] = scale.reshape(rstd.shape)
        y *= scale.astype(x.dtype)
        y *= _spread(xp, weight, x.shape, lead, groups)
        y += _spread(xp, bias, x.shape, lead, groups)

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, *, lead: int, groups: int, eps: float
    ) -> None:
        y, mean, rstd = out
        rows = mean.size
        inner = x.size // rows * groups // weight.size
        parallel(
            normalize_rows, rows, y.reshape(rows, -1), mean.reshape(-1), rstd.reshape(-1), weight, bias,
            x.reshape(rows, -1), groups, inner, eps,
        )  # fmt: skip

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, *, lead: int, groups: int, eps: float
    ) -> None:
        on_gpu.normalized(out, x, weight, bias, groups, eps)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, mean, rstd) = node.saved
        lead, groups, g = node.params["lead"], node.params["groups"], g[0]
        if not is_recording():
            return NormalizeGrad.apply(g, x, weight, mean, rstd, lead=lead, groups=groups)  # type: ignore[no-any-return]
        return _gradients_in_ops(g, x, weight, mean.numel(), groups, node.params["eps"])


def _gradients_in_ops(g: Tensor, x: Tensor, weight: Tensor, rows: int, groups: int, eps: float) -> Grads:
    """To be differentiated again: the moments are computed anew from x."""
    segments = weight.numel() // groups
    x3, g3 = (reshape(t, (rows // groups, groups, segments, -1)) for t in (x, g))
    centred = x3 - mean_(x3, (2, 3), keepdim=True)
    rstd = rsqrt(mean_(centred * centred, (2, 3), keepdim=True) + eps)
    xhat = centred * rstd
    gy = g3 * expand(reshape(weight, (1, groups, segments, 1)), g3.shape)
    gx = rstd * (gy - mean_(gy, (2, 3), keepdim=True) - xhat * mean_(gy * xhat, (2, 3), keepdim=True))
    gw, gb = (reshape(sum_(t, (0, 3)), weight.shape) for t in (g3 * xhat, g3))
    return reshape(gx, x.shape), gw, gb


class NormalizeGrad(AlikeOp):
    """The three gradients of `normalize` in one go; for a second derivative they are written in ops instead."""

    name = "normalize_grad"

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, mean: Spec, rstd: Spec, *, lead: int, groups: int
    ) -> tuple[Spec, Spec, Spec]:
        return x, weight, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, lead: int, groups: int,
    ) -> None:  # fmt: skip
        gx, gw, gb = out
        if not x.size:
            gw[...], gb[...] = 0, 0
            return
        wide, dims = accumulator(x.dtype), tuple(range(lead, x.ndim))
        by_row = (*x.shape[:lead], *[1] * (x.ndim - lead))
        xhat = (x - mean.reshape(by_row)) * rstd.reshape(by_row)
        stretches = (-1, groups, weight.size // groups, x.size // mean.size * groups // weight.size)
        gb[...] = xp.sum(g.reshape(stretches), axis=(0, 3), dtype=wide).reshape(-1)
        gw[...] = xp.sum((g * xhat).reshape(stretches), axis=(0, 3), dtype=wide).reshape(-1)
        xp.multiply(g, _spread(xp, weight, x.shape, lead, groups), out=gx)
        along = xp.mean(gx * xhat, axis=dims, keepdims=True)
        gx -= xp.mean(gx, axis=dims, keepdims=True)
        xhat *= along
        gx -= xhat
        gx *= rstd.reshape(by_row)

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, lead: int, groups: int,
    ) -> None:  # fmt: skip
        gx, gw, gb = out
        count, segments = mean.size, weight.size // groups
        length = x.size // count
        flat = (weight, mean.reshape(-1), rstd.reshape(-1), g.reshape(count, -1), x.reshape(count, -1))
        if length == segments and groups == 1:
            rows = max(1, BLOCK_BYTES // (length * x.itemsize), count // MOST_BLOCKS)
            parts = np.empty((block_count(count, rows), 2, length))
            parallel(layer_gradients, len(parts), gx.reshape(count, -1), parts, *flat, rows)
        else:
            parts = np.empty((count, 2, segments))
            parallel(group_gradients, count, gx.reshape(count, -1), parts, *flat, groups, length // segments)
        total = parts.reshape(-1, groups, 2, segments).sum(axis=0)
        gw[...], gb[...] = total[:, 0].reshape(-1), total[:, 1].reshape(-1)

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, lead: int, groups: int,
    ) -> None:  # fmt: skip
        on_gpu.gradients(out, g, x, weight, mean, rstd, groups)


class GroupMoments(AlikeOp):
    """Mean and 1/sqrt(var + eps) of groups of the channels of images that lie channels-last, on the CPU.

    Constants to the tape: `group_normalize` has the gradient through them.
    """

    name = "group_moments"
    images = ("x",)

    @staticmethod
    def infer(x: Spec, *, groups: int, eps: float) -> tuple[Spec, Spec]:
        moments = Spec((x.shape[0], groups), accumulator(x.dtype))
        return moments, moments

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, groups: int, eps: float) -> None:
        mean, rstd = out
        rows = x.reshape(*mean.shape, -1).astype(accumulator(x.dtype), copy=False)
        mean[...] = rows.mean(axis=2)
        rstd[...] = 1 / xp.sqrt(rows.var(axis=2) + eps)

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, *, groups: int, eps: float) -> None:
        images.moments(_pixels(x), *out, eps)


class GroupNormalize(AlikeOp):
    """act((x - mean) * rstd * weight + bias) with the moments of groups of x's channels (`images.py`)."""

    name = "group_normalize"
    saves = ("x", "weight", "bias", "mean", "rstd")
    images = ("x", "out")
    defers = recomputes = True

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec, mean: Spec, rstd: Spec, *, eps: float, activation: Activation) -> Spec:
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
        *, eps: float, activation: Activation,
    ) -> None:  # fmt: skip
        shape, share = (*x.shape[:2], *[1] * (x.ndim - 2)), x.shape[1] // mean.shape[1]
        xp.subtract(x, xp.repeat(mean, share, axis=1).reshape(shape), out=out)
        out *= (xp.repeat(rstd, share, axis=1) * weight).reshape(shape)
        out += bias.reshape(1, *shape[1:])
        activate(xp, out, activation)

    @staticmethod
    def cpu(
        out: Array,
        x: Array,
        weight: Array,
        bias: Array,
        mean: Array,
        rstd: Array,
        *,
        eps: float,
        activation: Activation,
    ) -> None:
        images.normalized(_pixels(out), _pixels(x), weight, bias, mean, rstd, activation)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, bias, mean, rstd = node.saved
        eps, activation, groups = node.params["eps"], node.params["activation"], mean.shape[1]
        if not is_recording():
            found = GroupNormalizeGrad.apply(g, x, weight, bias, mean, rstd, activation=activation)
            return *found, None, None
        if activation != NONE:
            rows = reshape(x, (*mean.shape, -1))
            again = Normalize.apply(rows, weight, bias, lead=2, groups=groups, eps=eps)[0]
            g = passed(g, reshape(again, x.shape), activation)
        return *_gradients_in_ops(g, x, weight, mean.numel(), groups, eps), None, None


class GroupNormalizeGrad(AlikeOp):
    """The three gradients of `group_normalize`; for a second derivative they are written in ops instead."""

    name = "group_normalize_grad"
    images = ("g", "x", "out")

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, bias: Spec, mean: Spec, rstd: Spec, *, activation: Activation
    ) -> tuple[Spec, Spec, Spec]:
        return x, weight, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array,
        rstd: Array, *, activation: Activation,
    ) -> None:  # fmt: skip
        if activation != NONE:
            given = xp.empty(x.shape, x.dtype)
            GroupNormalize.reference(xp, given, x, weight, bias, mean, rstd, eps=0.0, activation=NONE)
            g = held_back(xp, g, given, activation)
        gx, gw, gb = out
        straight = xp.empty((*mean.shape, x.size // mean.size), x.dtype)
        g, x = (a.reshape(straight.shape) for a in (g, x))
        NormalizeGrad.reference(xp, (straight, gw, gb), g, x, weight, mean, rstd, lead=2, groups=mean.shape[1])
        gx[...] = straight.reshape(gx.shape)

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
        *, activation: Activation,
    ) -> None:  # fmt: skip
        gx, gw, gb = out
        images.gradients((_pixels(gx), gw, gb), _pixels(g), _pixels(x), weight, bias, mean, rstd, activation)


def _pixels(image: Array) -> Array:
    """(N, *space, C) as (N, pixels, C)."""
    return image.reshape(len(image), -1, image.shape[-1])


def _spread(xp: Any, values: Array, shape: tuple[int, ...], lead: int, groups: int) -> Array:
    """Values of (groups x segments) for each element of x, or for what broadcasts to it."""
    segments = values.size // groups
    inner = math.prod(shape[lead:]) // max(segments, 1)
    if groups == 1 and inner == 1:
        return values.reshape(shape[lead:])
    rows = xp.repeat(values.reshape(groups, segments), inner, axis=1)
    return xp.tile(rows, (math.prod(shape[:lead]) // groups, 1)).reshape(shape)


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
    scale, shift = _affine(input, weight, bias, math.prod(shape))
    result: Tensor = Normalize.apply(input, scale, shift, lead=input.ndim - len(shape), groups=1, eps=float(eps))[0]
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
    scale, shift = _affine(input, weight, bias, channels)
    if input.ndim > 2 and _lies_channels_last(input):
        moments = GroupMoments.apply(input.detach(), groups=num_groups, eps=float(eps))
        normalised: Tensor = GroupNormalize.apply(input, scale, shift, *moments, eps=float(eps), activation=NONE)
        return normalised
    grouped = input.reshape(input.shape[0], num_groups, math.prod(input.shape[1:]) // num_groups)
    out = Normalize.apply(grouped, scale, shift, lead=2, groups=num_groups, eps=float(eps))[0]
    return out.reshape(input.shape)  # type: ignore[no-any-return]


def _lies_channels_last(input: Tensor) -> bool:
    """Whether the image is on the CPU, with the channels of a pixel side by side."""
    array = input.array
    return type(array) is np.ndarray and not array.flags.c_contiguous and is_channels_last(array)


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Scale and shift as flat vectors; 1 and 0 where they are None."""
    xp = input.device.xp
    scale = Tensor.of(xp.ones(size, input.dtype)) if weight is None else weight
    shift = Tensor.of(xp.zeros(size, input.dtype)) if bias is None else bias
    return scale if scale.ndim == 1 else scale.reshape(size), shift if shift.ndim == 1 else shift.reshape(size)
