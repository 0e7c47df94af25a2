"""prelu: max(x, 0) + weight * min(x, 0), with one learned slope below zero, or one for each channel.

One pass each way: 8 bytes a number in float32 forward, 16 backward, where the gradient of x is written and the products
that make the gradients of the slopes are added up while they are in the first cache. (Made of comparisons, products and
choices it took 50 times as long forward and 8 times backward.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, is_recording
from minidl.device import block_count, inline, kernel, parallel
from minidl.device.dtypes import accumulator, is_floating
from minidl.device.layout import dense_order
from minidl.device.pointers import pointer_to, put, taken
from minidl.device.row_sums import row_sum
from minidl.device.scalar_math import typed
from minidl.device.turn import contiguous
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.compare import gt
from minidl.ops.each import each_pair
from minidl.ops.reduce import sum as sum_
from minidl.ops.reduce_loops import BLOCK_ROWS, RUN, RUNS, folded
from minidl.ops.views import reshape
from minidl.ops.where import where

__all__ = ["prelu"]

FLOATS = ("float32", "float64")
LONG = 32  # numbers of a channel side by side that are worth a loop of their own


@inline
def _below(x: Any, slope: Any) -> Any:
    return x if x > typed(0, x) else slope * x


_bend = each_pair(_below)


class Prelu(AlikeOp):
    """x above zero, weight * x elsewhere; weight holds one number, or one for each index of dimension 1."""

    name = "prelu"
    saves = ("x", "weight")
    strided = True

    @staticmethod
    def infer(x: Spec, weight: Spec) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, weight: Array) -> None:
        out[...] = xp.where(x > 0, x, weight.reshape(_along(weight.size, x.ndim)) * x)

    @staticmethod
    def cpu(out: Array, x: Array, weight: Array) -> None:
        (y, x), shape = _by_channel(out, (out, x), weight.size)
        _bend(y.reshape(shape), x.reshape(shape), contiguous(weight).reshape(-1, 1))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight = node.saved
        if not is_recording():
            return PreluGrad.apply(g, x, weight)  # type: ignore[no-any-return]
        slope, above = reshape(weight, _along(weight.numel(), x.ndim)), gt(x, 0)
        dims = [d for d in range(x.ndim) if d != 1 or weight.numel() == 1]
        return where(above, g, g * slope), reshape(sum_(where(above, 0.0, g * x), dims), weight.shape)


class PreluGrad(AlikeOp):
    """Both gradients in one go; for a second derivative they are written in ops instead."""

    name = "prelu_grad"
    strided = True

    @staticmethod
    def infer(g: Spec, x: Spec, weight: Spec) -> tuple[Spec, Spec]:
        return x, weight

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], g: Array, x: Array, weight: Array) -> None:
        gx, gw = out
        gx[...] = xp.where(x > 0, g, weight.reshape(_along(weight.size, x.ndim)) * g)
        dims = tuple([d for d in range(x.ndim) if d != 1 or weight.size == 1])
        gw[...] = xp.sum(xp.where(x > 0, 0, g * x), axis=dims, dtype=accumulator(x.dtype)).reshape(weight.shape)

    @staticmethod
    def cpu(out: tuple[Array, Array], g: Array, x: Array, weight: Array) -> None:
        gx, gw = out
        flat, (outer, channels, inner) = _by_channel(gx, (gx, g, x), weight.size)
        slopes = contiguous(weight).reshape(-1)
        if inner >= LONG:
            pieces = block_count(inner, RUNS * RUN)
            parts = np.empty((outer, channels, pieces))
            parallel(_rows, parts.size, parts.reshape(-1), *flat, slopes, inner, pieces)
            gw[...] = parts.sum(axis=(0, 2)).reshape(gw.shape)
        else:
            fold = folded(outer, channels * inner)
            wide = np.tile(np.repeat(slopes, inner), fold)
            parts = np.empty((block_count(outer // fold, BLOCK_ROWS), len(wide)))
            parallel(_columns, len(parts), parts, *flat, wide, outer // fold)
            gw[...] = parts.reshape(-1, channels, inner).sum(axis=(0, 2)).reshape(gw.shape)


@kernel("float64[::1], T[::1], const T[::1], const T[::1], const T[::1], intp, intp", T=FLOATS)
def _rows(
    begin: int, end: int, parts: Array, gx: Array, g: Array, x: Array, slopes: Array, length: int, pieces: int
) -> None:
    """One unit is a piece of the numbers of a channel."""
    room, zero = np.empty(min(RUN, length), x.dtype), x.dtype.type(0)
    for unit in range(begin, end):
        row, piece = unit // pieces, unit % pieces
        last, slope, total = min((piece + 1) * RUNS * RUN, length), slopes[row % len(slopes)], 0.0
        for start in range(piece * RUNS * RUN, last, RUN):
            at, count = row * length + start, min(RUN, last - start)
            places = (pointer_to(gx, at), pointer_to(room, 0), pointer_to(g, at), pointer_to(x, at))
            for i in range(count):
                _, _, gradient, number = taken(places, i)
                if number > zero:
                    put(places, i, (gradient, zero))
                else:
                    put(places, i, (slope * gradient, gradient * number))
            total += row_sum(room, 0, count)
        parts[unit] = total


@kernel("float64[:, ::1], T[::1], const T[::1], const T[::1], const T[::1], intp", T=FLOATS)
def _columns(begin: int, end: int, parts: Array, gx: Array, g: Array, x: Array, slopes: Array, rows: int) -> None:
    """One unit is a block of rows, which hold a number or a few of each channel."""
    width, zero = len(slopes), x.dtype.type(0)
    total = np.empty(width, x.dtype)
    for unit in range(begin, end):
        total[:] = zero
        for r in range(unit * BLOCK_ROWS, min((unit + 1) * BLOCK_ROWS, rows)):
            at = r * width
            places = (pointer_to(gx, at), pointer_to(total, 0), pointer_to(g, at), pointer_to(x, at),
                      pointer_to(slopes, 0))  # fmt: skip
            for i in range(width):
                _, before, gradient, number, slope = taken(places, i)
                above = number > zero
                low = zero if above else gradient * number
                put(places, i, (gradient if above else slope * gradient, before + low))
        for i in range(width):
            parts[unit, i] = total[i]


def _by_channel(out: Array, arrays: tuple[Array, ...], channels: int) -> tuple[list[Array], tuple[int, int, int]]:
    """The arrays flat, in the order in which `out` lies, and their shape (outer, channels, inner) there."""
    order = dense_order(out)
    assert order is not None  # results are
    flat = [contiguous(a.transpose(order)).reshape(-1) for a in arrays]
    if channels == 1:
        return flat, (1, 1, out.size)
    inner = math.prod([out.shape[d] for d in order[order.index(1) + 1 :]])
    return flat, (out.size // (channels * inner), channels, inner)


def _along(weights: int, ndim: int) -> list[int]:
    """The shape in which so many weights multiply images of so many dimensions."""
    return [weights if d == 1 else 1 for d in range(ndim)]


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """x above zero, weight * x below; one weight, or one for each channel (dimension 1). Source: He et al., ICCV 2015.

    Raises:
        ShapeError: if there are neither one nor as many weights as channels.
    """
    channels = input.shape[1] if input.ndim > 1 else 1
    if weight.ndim > 1 or (weight.numel() != 1 and (weight.numel() != channels or input.ndim == 0)):
        raise ShapeError(
            f"prelu: weight must have 1 or {channels} elements beside input {input.shape}, got {weight.shape}"
        )
    if not is_floating(input.dtype) or weight.dtype != input.dtype:
        raise ArgumentError(f"prelu: input and weight must be floating, of one type; got {input.dtype}, {weight.dtype}")
    result: Tensor = Prelu.apply(input, weight)
    return result
