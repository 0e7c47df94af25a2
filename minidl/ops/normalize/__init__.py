"""normalize, and on it layer_norm and group_norm: zero mean and unit variance for each row of memory.

Forward reads x once and writes once: a row stays in the first cache for mean, variance and (x - mean) * rstd * weight +
bias. Backward needs two more sums, because moving one element moves the mean and the variance of all:
gx = rstd * (gy - mean(gy) - xhat * mean(gy * xhat)) with gy = g * weight.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Run, Spec, Tensor, is_recording
from minidl.device import block_count
from minidl.device.dtypes import accumulator
from minidl.device.layout import is_channels_last
from minidl.device.threads import Blocks, bytes_of
from minidl.errors import ShapeError
from minidl.ops.batch_norm.activation import NONE, Activation, activate, held_back, passed
from minidl.ops.normalize import images, on_gpu
from minidl.ops.normalize.cpu import add_parts, block_rows, group_gradients, layer_gradients, normalize_rows
from minidl.ops.reduce import mean as mean_
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import rsqrt
from minidl.ops.views import expand, reshape

__all__ = ["group_norm", "layer_norm"]


class Normalize(AlikeOp):
    """(x - mean) * rstd * weight + bias for each row of x; gives the result, the mean and rstd = 1/sqrt(var + eps).

    x is seen as so many `rows` of equal length. Row r belongs to group r % groups; weight and bias hold the same number
    of values for each group, and each value is for an equal stretch of the row.
    """

    name = "normalize"
    saves = ("x", "weight", "out")
    saves_results = (1, 2)

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec, *, rows: int, groups: int, eps: float) -> tuple[Spec, Spec, Spec]:
        moments = Spec((rows,), accumulator(x.dtype))
        return x, moments, moments

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array,
        *, rows: int, groups: int, eps: float,
    ) -> None:  # fmt: skip
        y, mean, rstd = out
        if not x.size:
            mean[...], rstd[...] = 0, 0
            return
        wide, x2 = mean.dtype, x.reshape(rows, -1)
        mean[...] = xp.mean(x2, axis=1, dtype=wide)
        off = x2 - mean[:, None].astype(x.dtype)  # deviations first: mean square minus squared mean would cancel
        rstd[...] = 1 / xp.sqrt(xp.mean(xp.square(off, dtype=wide), axis=1) + eps)
        off *= rstd[:, None].astype(x.dtype)
        off *= _spread(xp, weight, x2.shape, groups)
        off += _spread(xp, bias, x2.shape, groups)
        y[...] = off.reshape(y.shape)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, *, rows: int, groups: int, eps: float
    ) -> Run:
        inner = x.size // rows * groups // weight.size
        normalize = Blocks(normalize_rows, rows, size=bytes_of((*out, x, weight, bias)))

        def run(out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array) -> None:
            y, mean, rstd = out
            normalize(y.reshape(-1), mean, rstd, weight, bias, x.reshape(-1), groups, inner, eps)

        return run

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, *, rows: int, groups: int, eps: float
    ) -> None:
        on_gpu.normalized(out, x, weight, bias, groups, eps)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, mean, rstd) = node.saved
        groups, g = node.params["groups"], g[0]
        if not is_recording():
            return NormalizeGrad.apply(g, x, weight, mean, rstd, groups=groups)  # type: ignore[no-any-return]
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
    def infer(g: Spec, x: Spec, weight: Spec, mean: Spec, rstd: Spec, *, groups: int) -> tuple[Spec, Spec, Spec]:
        return x, weight, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, groups: int,
    ) -> None:  # fmt: skip
        gx, gw, gb = out
        if not x.size:
            gw[...], gb[...] = 0, 0
            return
        length, segments = x.size // mean.size, weight.size // groups
        x2, g2 = x.reshape(-1, length), g.reshape(-1, length)
        xhat = (x2 - mean.reshape(-1, 1)) * rstd.reshape(-1, 1)
        stretches = (-1, groups, segments, length // segments)
        gb[...] = xp.sum(g.reshape(stretches), axis=(0, 3), dtype=mean.dtype).reshape(-1)
        gw[...] = xp.sum((g2 * xhat).reshape(stretches), axis=(0, 3), dtype=mean.dtype).reshape(-1)
        gy = g2 * _spread(xp, weight, x2.shape, groups)
        along = xp.mean(gy * xhat, axis=1, keepdims=True)
        gy -= xp.mean(gy, axis=1, keepdims=True)
        xhat *= along
        gy -= xhat
        gy *= rstd.reshape(-1, 1)
        gx[...] = gy.reshape(gx.shape)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, groups: int,
    ) -> Run:  # fmt: skip
        count, segments = mean.size, weight.size // groups
        length, size = x.size // count, bytes_of((out[0], weight, mean, rstd, g, x))
        if length == segments and groups == 1:
            rows = block_rows(count, length, x.itemsize)
            units, kernel = block_count(count, rows), layer_gradients
            how: tuple[int, ...] = (rows,)
        else:
            units, kernel, how = count, group_gradients, (groups, length // segments)
        parts_size = units * 2 * segments * 8
        make = Blocks(kernel, units, size=size + parts_size)
        add_up = Blocks(add_parts, groups, size=parts_size + 2 * weight.nbytes)

        def run(out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array) -> None:
            gx, gw, gb = out
            parts = np.empty((units, 2, segments))
            make(gx.reshape(-1), parts, weight, mean, rstd, g.reshape(-1), x.reshape(-1), *how)
            add_up(gw, gb, parts, groups)

        return run

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array,
        *, groups: int,
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
    def bind(out: tuple[Array, Array], x: Array, *, groups: int, eps: float) -> Run:
        return images.moments(x, eps)


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
    def bind(
        out: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
        *, eps: float, activation: Activation,
    ) -> Run:  # fmt: skip
        return images.normalized(x, activation)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, bias, mean, rstd = node.saved
        eps, activation, groups = node.params["eps"], node.params["activation"], mean.shape[1]
        if not is_recording():
            found = GroupNormalizeGrad.apply(g, x, weight, bias, mean, rstd, activation=activation)
            return *found, None, None
        if activation != NONE:
            again = Normalize.apply(x, weight, bias, rows=mean.numel(), groups=groups, eps=eps)[0]
            g = passed(g, again, activation)
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
        NormalizeGrad.reference(xp, (straight, gw, gb), g, x, weight, mean, rstd, groups=mean.shape[1])
        gx[...] = straight.reshape(gx.shape)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, bias: Array, mean: Array, rstd: Array,
        *, activation: Activation,
    ) -> Run:  # fmt: skip
        return images.gradients(x, activation)


def _spread(xp: Any, values: Array, shape: tuple[int, int], groups: int) -> Array:
    """Values of (groups x segments) for each element of rows, or for what broadcasts to them."""
    rows, length = shape
    inner = length * groups // values.size
    if groups == 1 and inner == 1:
        return values
    return xp.tile(xp.repeat(values.reshape(groups, -1), inner, axis=1), (rows // groups, 1))


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
    for name, t in (("weight", weight), ("bias", bias)):
        if t is not None and t.shape != shape:
            raise ShapeError(f"layer_norm: {name} must be of normalized_shape {shape}, got {t.shape}")
    scale, shift = _affine(input, weight, bias, math.prod(shape))
    rows = math.prod(input.shape[: input.ndim - len(shape)])
    result: Tensor = Normalize.apply(input, scale, shift, rows=rows, groups=1, eps=float(eps))[0]
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
    rows = len(input.array) * num_groups
    result: Tensor = Normalize.apply(input, scale, shift, rows=rows, groups=num_groups, eps=float(eps))[0]
    return result


def _lies_channels_last(input: Tensor) -> bool:
    """Whether the image is on the CPU, with the channels of a pixel side by side."""
    array = input.array
    return type(array) is np.ndarray and not array.flags.c_contiguous and is_channels_last(array)


def _affine(input: Tensor, weight: Tensor | None, bias: Tensor | None, size: int) -> tuple[Tensor, Tensor]:
    """Scale and shift as flat vectors; 1 and 0 where they are None."""
    scale = Tensor.of(input.device.xp.ones(size, input.dtype)) if weight is None else weight
    shift = Tensor.of(input.device.xp.zeros(size, input.dtype)) if bias is None else bias
    return scale if scale.ndim == 1 else scale.reshape(size), shift if shift.ndim == 1 else shift.reshape(size)
