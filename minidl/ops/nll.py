"""nll: minus the log-probability of the true class, times its weight, for each place; and its adjoint.

One number is read of each place, from where it lies: classes may be apart in memory or side by side. The way back
clears the gradient and writes one number to each place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device import device_of
from minidl.device.dtypes import accumulator
from minidl.device.threads import Blocks
from minidl.device.turn import in_one_line
from minidl.errors import ShapeError
from minidl.ops.cross_entropy_loops import REDUCTIONS, Layout, picked_losses, picked_slopes
from minidl.ops.softmax_loops import PLACES

__all__: list[str] = []

_BYTES_EACH = 128  # that one place costs: its number lies in a line of memory of its own


class OfClasses(Op):
    """An op of numbers for each class, of true classes and of the classes' weights."""

    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, target, *rest = arrays
        fits = all(a.dtype == x.dtype for a in rest) and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and x.size > 0 and target.flags.c_contiguous

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return cls.cpu_takes(arrays, params)


def true_classes(xp: Any, target: Array, classes: int, ignored: int) -> tuple[Array, Array]:
    """Which places are not ignored, and their classes: 0 for the others.

    Raises:
        ShapeError: if one is out of range.
    """
    kept = target != ignored
    wrong = target[kept & ((target < 0) | (target >= classes))]
    if wrong.size:
        raise ShapeError(f"cross_entropy: target {int(wrong[0])} is no class; input has {classes}, "
                         f"from 0 to {classes - 1}")  # fmt: skip
    return kept, xp.where(kept, target, 0)


def reduced(xp: Any, out: tuple[Array, Array], loss: Array, weight: Array, reduction: str) -> None:
    """Write losses as they are asked for, and the sum of the weights of their classes, both arrays of all places."""
    total, counted = out
    counted[...] = xp.sum(weight, dtype=counted.dtype)
    total[...] = loss if reduction == "none" else xp.sum(loss, dtype=counted.dtype)
    if reduction == "mean":
        total[...] = xp.where(counted == 0, math.nan, total / xp.where(counted == 0, 1, counted))


def add_parts(
    out: tuple[Array, Array], parts: Array, target: Array, weight: Array, ignored: int, reduction: str
) -> None:
    """The same from what kernels leave of each piece."""
    total, counted, wrong = (parts[0] if len(parts) == 1 else parts.sum(axis=0)).tolist()
    if wrong:
        true_classes(device_of(target).xp, target, len(weight), ignored)
    out[1].fill(counted)
    if reduction != "none":
        out[0].fill(total if reduction == "sum" else total / counted if counted else math.nan)


def shared(g: Array, counted: Array, reduction: str) -> Array:
    """What comes to each place, or to all of them, of the gradient of the reduced loss."""
    return g / counted if reduction == "mean" else g


class Nll(OfClasses):
    """-weight[t] * x[t] of each place, 0 where t is ignored, and the sum of these weights.

    x is (N, C, ...), target (N, ...), weight (C,). With the reduction "sum" it is the sum of all places, with "mean"
    that divided by the sum of the weights.
    """

    name = "nll"
    saves = ("target", "weight", "out")
    saves_results = constants = (1,)

    @staticmethod
    def infer(x: Spec, target: Spec, weight: Spec, *, ignore_index: int, reduction: str) -> tuple[Spec, Spec]:
        return x.with_shape(*(target.shape if reduction == "none" else ())), Spec((), accumulator(x.dtype))

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, reduction: str,
    ) -> None:  # fmt: skip
        kept, classes = true_classes(xp, target, x.shape[1], ignore_index)
        factor = weight[classes] * kept
        loss = xp.where(kept, -xp.take_along_axis(x, xp.expand_dims(classes, 1), axis=1).squeeze(1), 0)
        reduced(xp, out, loss * factor, factor, reduction)

    @staticmethod
    def bind(
        out: tuple[Array, Array], x: Array, target: Array, weight: Array, *, ignore_index: int, reduction: str
    ) -> Run:
        how = Layout.of(x, PLACES * x.shape[1])  # of each place one number is read
        x_line, weight_line, shape, each = how.in_one_line(x), in_one_line(weight), (how.units, 3), reduction == "none"
        losses = Blocks(picked_losses, how.units, block=1, size=_BYTES_EACH * target.size)

        def run(out: tuple[Array, Array], x: Array, target: Array, weight: Array) -> None:
            parts = np.empty(shape)
            losses(parts, out[0].reshape(-1), x_line(x), target.reshape(-1), weight_line(weight), how.is_apart,
                   how.length, how.places, ignore_index, each)  # fmt: skip
            add_parts(out, parts, target, weight, ignore_index, reduction)

        return run

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        target, weight, (_, counted) = node.saved
        return NllGrad.apply(g[0], target, weight, counted, classes=weight.shape[0], **node.params), None, None


class NllGrad(Op):
    """The adjoint: g times -weight[t] at class t of each place, zeros elsewhere."""

    name = "nll_grad"
    saves = ("target", "weight")

    @staticmethod
    def infer(
        g: Spec, target: Spec, weight: Spec, counted: Spec, *, classes: int, ignore_index: int, reduction: str
    ) -> Spec:  # fmt: skip
        return g.with_shape(target.shape[0], classes, *target.shape[1:])

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, target: Array, weight: Array, counted: Array,
        *, classes: int, ignore_index: int, reduction: str,
    ) -> None:  # fmt: skip
        g = shared(g, counted, reduction)
        kept = target != ignore_index
        safe = xp.where(kept, target, 0)
        hit = xp.expand_dims(safe, 1) == xp.arange(classes).reshape(-1, *[1] * (target.ndim - 1))
        xp.multiply(hit, xp.expand_dims(-g * weight[safe] * kept, 1), out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        g, target, weight, counted = arrays
        fits = g.dtype == weight.dtype == counted.dtype and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and target.size > 0 and params["classes"] > 0

    @staticmethod
    def bind(
        out: Array, g: Array, target: Array, weight: Array, counted: Array,
        *, classes: int, ignore_index: int, reduction: str,
    ) -> Run:  # fmt: skip
        how, number = Layout.of(out), REDUCTIONS.index(reduction)
        slopes = Blocks(picked_slopes, how.units, size=out.nbytes)

        def run(out: Array, g: Array, target: Array, weight: Array, counted: Array) -> None:
            slopes(out.reshape(-1), g.reshape(-1), target.reshape(-1), weight, counted.reshape(-1), how.is_apart,
                   how.length, how.places, number, ignore_index)  # fmt: skip

        return run

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        target, weight = node.saved
        how = {name: node.params[name] for name in ("ignore_index", "reduction")}
        return Nll.apply(g, target, weight, **how)[0], None, None, None
