"""rms_norm: each row divided by the root of its mean square.

Forward reads a row once and keeps 1 / sqrt(mean(x²) + eps) of it. Backward needs one more sum, because moving one
element moves the root of all: gx = rstd * (gy - x * rstd² * mean(gy * x)) with gy = g * weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, is_recording
from minidl.device import block_count, kernel, parallel
from minidl.device.dtypes import accumulator, finfo
from minidl.errors import ShapeError
from minidl.ops.normalize.cpu import FLOATS, block_rows, long_product
from minidl.ops.reduce import mean as mean_
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import rsqrt
from minidl.ops.views import reshape

__all__ = ["rms_norm"]


class RmsNormalize(AlikeOp):
    """x * rstd * weight for rows as long as `weight`, and rstd = 1 / sqrt(mean(x²) + eps) of each row."""

    name = "rms_normalize"
    saves = ("x", "weight", "out")
    saves_results = (1,)

    @staticmethod
    def infer(x: Spec, weight: Spec, *, rows: int, eps: float) -> tuple[Spec, Spec]:
        return x, Spec((rows,), accumulator(x.dtype))

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, weight: Array, *, rows: int, eps: float) -> None:
        y, rstd = out
        if not x.size:
            rstd[...] = 0
            return
        x2 = x.reshape(rows, -1)
        rstd[...] = 1 / xp.sqrt(xp.mean(xp.square(x2, dtype=rstd.dtype), axis=1) + eps)
        y[...] = (x2 * rstd[:, None].astype(x.dtype) * weight).reshape(y.shape)

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, weight: Array, *, rows: int, eps: float) -> None:
        y, rstd = out
        parallel(_rows, rows, y.reshape(-1), rstd, x.reshape(-1), weight, eps)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, rstd) = node.saved
        if not is_recording():
            return RmsNormalizeGrad.apply(g[0], x, weight, rstd)  # type: ignore[no-any-return]
        x2, g2 = (reshape(t, (node.params["rows"], weight.numel())) for t in (x, g[0]))  # to be differentiated again
        factor = rsqrt(mean_(x2 * x2, 1, keepdim=True) + node.params["eps"])
        scaled, gy = x2 * factor, g2 * weight
        gx = factor * (gy - scaled * mean_(gy * scaled, 1, keepdim=True))
        return reshape(gx, x.shape), sum_(g2 * scaled, 0)


class RmsNormalizeGrad(AlikeOp):
    """Both gradients in one go; for a second derivative they are written in ops instead."""

    name = "rms_normalize_grad"

    @staticmethod
    def infer(g: Spec, x: Spec, weight: Spec, rstd: Spec) -> tuple[Spec, Spec]:
        return x, weight

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], g: Array, x: Array, weight: Array, rstd: Array
    ) -> None:  # fmt: skip
        gx, gw = out
        if not x.size:
            gw[...] = 0
            return
        g2, factor = g.reshape(len(rstd), -1), rstd[:, None]
        scaled = x.reshape(g2.shape) * factor
        gw[...] = xp.sum(g2 * scaled, axis=0, dtype=rstd.dtype)
        gy = g2 * weight
        gx[...] = (factor * (gy - scaled * xp.mean(gy * scaled, axis=1, keepdims=True))).reshape(gx.shape)

    @staticmethod
    def cpu(out: tuple[Array, Array], g: Array, x: Array, weight: Array, rstd: Array) -> None:
        gx, gw = out
        rows = block_rows(len(rstd), len(weight), x.itemsize)
        parts = np.empty((block_count(len(rstd), rows), len(weight)))
        flat = gx.reshape(-1), parts, g.reshape(-1), x.reshape(-1), weight, rstd
        parallel(_gradients, len(parts), *flat, rows, block=1)
        gw[...] = parts[0] if len(parts) == 1 else parts.sum(axis=0)


@kernel("T[::1], T[::1], const T[::1], const T[::1], float64", T=FLOATS)
def _rows(begin: int, end: int, y: Array, rstd: Array, x: Array, weight: Array, eps: float) -> None:
    length, share, zero, one = len(weight), 1 / len(weight), x.dtype.type(0), x.dtype.type(1)
    for r in range(begin, end):
        first = r * length
        square = long_product(x, first, zero, x, first, zero, length)
        scale = one / np.sqrt(x.dtype.type(square * share + eps))
        rstd[r] = scale
        a, into = x[first : first + length], y[first : first + length]
        for j in range(length):
            into[j] = a[j] * scale * weight[j]


@kernel("T[::1], float64[:, ::1], const T[::1], const T[::1], const T[::1], const T[::1], intp", T=FLOATS)
def _gradients(
    begin: int, end: int, gx: Array, parts: Array, g: Array, x: Array, weight: Array, rstd: Array, rows: int
) -> None:  # fmt: skip
    """One unit is a block of rows: gx, and what the block adds to the gradient of the weight."""
    length, share, zero = len(weight), 1 / len(weight), x.dtype.type(0)
    for block in range(begin, end):
        along = np.zeros(length, x.dtype)
        for r in range(block * rows, min(block * rows + rows, len(rstd))):
            first, scale = r * length, rstd[r]
            a, ga = x[first : first + length], g[first : first + length]
            into = gx[first : first + length]
            for j in range(length):
                along[j] += ga[j] * a[j] * scale
                into[j] = ga[j] * weight[j]
            slope = long_product(gx, first, zero, x, first, zero, length) * share
            tilt = x.dtype.type(slope * scale * scale)
            for j in range(length):
                into[j] = (into[j] - a[j] * tilt) * scale
        for j in range(length):
            parts[block, j] = along[j]


def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """x / sqrt(mean(x²) + eps) over the last dimensions, those of `normalized_shape`, times `weight`.

    Args:
        weight: in `normalized_shape`.
        eps: the rounding of the element type for None.

    Source: Zhang and Sennrich, NeurIPS 2019.

    >>> rms_norm(Tensor([3.0, 3.0]), (2,))
    tensor([1., 1.])
    """
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape or (weight is not None and weight.shape != shape):
        raise ShapeError(f"rms_norm: input {input.shape} must end in normalized_shape {shape}, and weight be it")
    bound = finfo(input.dtype).eps if eps is None else eps
    size = math.prod(shape)
    if weight is None:
        weight = Tensor.of(input.device.xp.ones(size, input.dtype))
    elif weight.ndim > 1:
        weight = reshape(weight, size)
    result: Tensor = RmsNormalize.apply(
        input, weight, rows=math.prod(input.shape[: input.ndim - len(shape)]), eps=float(bound)
    )[0]
    return result
