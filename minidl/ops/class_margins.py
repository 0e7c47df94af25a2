"""The losses behind multi_margin_loss and multilabel_margin_loss: margins between scores of true and of other classes.

One op each way, a row of scores at a time in the first cache. (As ops on all pairs of classes, 512 rows of 256 took 40
ms and 130 MB, where this takes 0.2 ms.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, is_recording
from minidl.device import kernel, parallel
from minidl.device.dtypes import accumulator
from minidl.device.row_sums import row_sum
from minidl.ops.compare import eq, ge, ne
from minidl.ops.indexing import gather
from minidl.ops.reduce import sum as sum_
from minidl.ops.views import unsqueeze
from minidl.ops.where import where

__all__: list[str] = []  # the functions are in `margin_losses.py`

FLOATS = ("float32", "float64")
BLOCK = 32  # rows


class OfRows(Op):
    """An op of rows of scores and of true classes as int64."""

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        kinds = [a.dtype for a in arrays if a.dtype.kind == "f"]
        others = [a.dtype for a in arrays if a.dtype.kind != "f"]
        return (
            super().cpu_takes(arrays, params) and len(set(kinds)) == 1 and others == [np.int64] and arrays[0].size > 0
        )


class MultiMargin(OfRows):
    """weight[t] * the mean over all classes of max(0, margin - x[t] + x)^p, 0 at t; x (N, C), target (N,)."""

    name = "multi_margin"
    saves = ("x", "target", "weight")

    @staticmethod
    def infer(x: Spec, target: Spec, weight: Spec, *, p: int, margin: float) -> Spec:
        return x.with_shape(x.shape[0])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, target: Array, weight: Array, *, p: int, margin: float) -> None:
        gap = x.dtype.type(margin) - xp.take_along_axis(x, target[:, None], axis=1) + x
        others = target[:, None] != xp.arange(x.shape[1])
        gap = xp.where(others, xp.maximum(gap, 0), 0) ** p
        out[...] = xp.sum(gap, axis=1, dtype=accumulator(x.dtype)) * weight[target] / x.shape[1]

    @staticmethod
    def cpu(out: Array, x: Array, target: Array, weight: Array, *, p: int, margin: float) -> None:
        parallel(_margins, len(out), out, x, target, weight, margin, p == 2, block=BLOCK)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, target, weight = node.saved
        if not is_recording():
            return MultiMarginGrad.apply(g, x, target, weight, **node.params), None, None
        column, places = unsqueeze(target, 1), Tensor.of(x.device.xp.arange(x.shape[1]))
        gap = node.params["margin"] - gather(x, 1, column) + x
        slope = where(ge(gap, 0), 1.0 if node.params["p"] == 1 else 2 * gap, gap * 0)
        slope = where(ne(places, column), slope * unsqueeze(weight[target] * g, 1), 0.0) / x.shape[1]
        return slope - eq(places, column).to(x.dtype) * sum_(slope, 1, keepdim=True), None, None


class MultiMarginGrad(OfRows):
    """The gradient of the scores; for a second derivative it is written in ops instead."""

    name = "multi_margin_grad"

    @staticmethod
    def infer(g: Spec, x: Spec, target: Spec, weight: Spec, *, p: int, margin: float) -> Spec:
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, x: Array, target: Array, weight: Array, *, p: int, margin: float
    ) -> None:  # fmt: skip
        gap = x.dtype.type(margin) - xp.take_along_axis(x, target[:, None], axis=1) + x
        factor = (g * weight[target] / x.shape[1])[:, None]
        others = target[:, None] != xp.arange(x.shape[1])
        out[...] = xp.where(others & (gap >= 0), factor if p == 1 else 2 * gap * factor, 0)
        out[...] -= ~others * xp.sum(out, axis=1, keepdims=True)

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, target: Array, weight: Array, *, p: int, margin: float) -> None:
        parallel(_margin_slopes, len(out), out, g, x, target, weight, margin, p == 2, block=BLOCK)


class MultilabelMargin(OfRows):
    """The sum over pairs of a true class t and another class of max(0, 1 - x[t] + x) / C; x and target (N, C).

    True classes stand in front; behind the last of them is a number below 0.
    """

    name = "multilabel_margin"
    saves = ("x", "target")

    @staticmethod
    def infer(x: Spec, target: Spec) -> Spec:
        return x.with_shape(x.shape[0])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, target: Array) -> None:
        gaps, counted, _ = _pairs(xp, x, target)
        losses = xp.where(counted, xp.maximum(gaps, 0), 0)
        out[...] = xp.sum(losses, axis=(1, 2), dtype=accumulator(x.dtype)) / x.shape[1]

    @staticmethod
    def cpu(out: Array, x: Array, target: Array) -> None:
        parallel(_label_margins, len(out), out, x, target, block=BLOCK)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, target = node.saved
        if not is_recording():
            return MultilabelMarginGrad.apply(g, x, target), None
        gaps, counted, hit = _pairs(x.device.xp, x.array, target.array)
        steps = Tensor.of((counted & (gaps >= 0)).astype(x.dtype) / x.dtype.type(x.shape[1]))
        slope = steps * unsqueeze(unsqueeze(g, 1), 2)
        return sum_(slope, 1) - sum_(Tensor.of(hit.astype(x.dtype)) * sum_(slope, 2, keepdim=True), 1), None


class MultilabelMarginGrad(OfRows):
    """The gradient of the scores; for a second derivative it is written in ops instead."""

    name = "multilabel_margin_grad"

    @staticmethod
    def infer(g: Spec, x: Spec, target: Spec) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, target: Array) -> None:
        gaps, counted, hit = _pairs(xp, x, target)
        steps = counted & (gaps >= 0)
        count = xp.sum(steps, axis=1) - xp.sum(hit * xp.sum(steps, axis=2, keepdims=True), axis=1)
        out[...] = count * (g / x.shape[1])[:, None]

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, target: Array) -> None:
        parallel(_label_margin_slopes, len(out), out, g, x, target, block=BLOCK)


def _pairs(xp: Any, x: Array, target: Array) -> tuple[Array, Array, Array]:
    """For (row, place in target, class): 1 - x[true] + x, whether the pair counts, whether the class stands there."""
    in_front = (xp.cumsum(target < 0, axis=1) == 0)[:, :, None]
    safe = xp.where(in_front[:, :, 0], target, 0)
    hit = (safe[:, :, None] == xp.arange(x.shape[1])) & in_front
    gaps = 1 - xp.take_along_axis(x, safe, axis=1)[:, :, None] + x[:, None]
    return gaps, in_front & ~hit.any(axis=1)[:, None], hit


@kernel("T[::1], const T[:, ::1], const int64[::1], const T[::1], T, bool", T=FLOATS)
def _margins(
    begin: int, end: int, loss: Array, x: Array, target: Array, weight: Array, margin: float, is_square: bool
) -> None:  # fmt: skip
    classes, zero = x.shape[1], x.dtype.type(0)
    buffer = np.empty(classes, x.dtype)
    for r in range(begin, end):
        t, row = target[r], x[r]
        level = margin - row[t]
        for c in range(classes):
            gap = level + row[c]
            gap = gap if gap > zero else zero
            buffer[c] = gap * gap if is_square else gap
        buffer[t] = zero
        loss[r] = row_sum(buffer, 0, classes) * weight[t] / classes


@kernel("T[:, ::1], const T[::1], const T[:, ::1], const int64[::1], const T[::1], T, bool", T=FLOATS)
def _margin_slopes(
    begin: int, end: int, gx: Array, g: Array, x: Array, target: Array, weight: Array, margin: float, is_square: bool
) -> None:  # fmt: skip
    classes, zero = x.shape[1], x.dtype.type(0)
    for r in range(begin, end):
        t, row, into = target[r], x[r], gx[r]
        level, factor = margin - row[t], g[r] * weight[t] / classes
        for c in range(classes):
            gap = level + row[c]
            slope = (gap + gap) * factor if is_square else factor
            into[c] = slope if gap >= zero else zero
        into[t] = zero
        into[t] = -row_sum(gx, r * classes, classes)


@kernel("T[::1], const T[:, ::1], const int64[:, ::1]", T=FLOATS)
def _label_margins(begin: int, end: int, loss: Array, x: Array, target: Array) -> None:
    classes, one, zero = x.shape[1], x.dtype.type(1), x.dtype.type(0)
    others, buffer, is_true = np.empty(classes, x.dtype), np.empty(classes, x.dtype), np.empty(classes, np.uint8)
    for r in range(begin, end):
        count, rest, total = 0, 0, 0.0
        is_true[:] = 0
        while count < classes and target[r, count] >= 0:
            is_true[target[r, count]] = 1
            count += 1
        for c in range(classes):
            if is_true[c] == 0:
                others[rest] = x[r, c]
                rest += 1
        for k in range(count):
            level = one - x[r, target[r, k]]
            for c in range(rest):
                gap = level + others[c]
                buffer[c] = gap if gap > zero else zero
            total += row_sum(buffer, 0, rest)
        loss[r] = total / classes


@kernel("T[:, ::1], const T[::1], const T[:, ::1], const int64[:, ::1]", T=FLOATS)
def _label_margin_slopes(begin: int, end: int, gx: Array, g: Array, x: Array, target: Array) -> None:
    classes, one, zero = x.shape[1], x.dtype.type(1), x.dtype.type(0)
    others, steps, is_true = np.empty(classes, x.dtype), np.empty(classes, x.dtype), np.empty(classes, np.uint8)
    sums = np.empty(classes, x.dtype)
    for r in range(begin, end):
        count, rest, factor = 0, 0, g[r] / classes
        is_true[:] = 0
        while count < classes and target[r, count] >= 0:
            is_true[target[r, count]] = 1
            count += 1
        for c in range(classes):
            gx[r, c], sums[c] = zero, zero
            if is_true[c] == 0:
                others[rest] = x[r, c]
                rest += 1
        for k in range(count):
            level = one - x[r, target[r, k]]
            for c in range(rest):
                steps[c] = one if level + others[c] >= zero else zero
                sums[c] += steps[c]
            gx[r, target[r, k]] -= row_sum(steps, 0, rest) * factor
        rest = 0
        for c in range(classes):
            if is_true[c] == 0:
                gx[r, c] = sums[rest] * factor
                rest += 1
