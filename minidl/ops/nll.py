"""nll: minus the log-probability of the true class, times its weight, for each place; and its adjoint.

One number is read of each place, from where it lies: classes may be apart in memory or side by side. The way back
clears the gradient and writes one number to each place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import block_count, kernel, parallel
from minidl.device.dtypes import accumulator
from minidl.device.layout import channels_last_view
from minidl.device.lines import clear_line
from minidl.device.turn import contiguous
from minidl.ops.reduce_loops import row_totals

__all__: list[str] = []

FLOATS = ("float32", "float64")


class OfClasses(Op):
    """An op of numbers for each class, of true classes and of the classes' weights."""

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, target, weight = arrays
        fits = x.dtype == weight.dtype and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and x.size > 0

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return cls.cpu_takes(arrays, params)


class Nll(OfClasses):
    """-weight[t] * x[t] of each place, 0 where t is ignored; x (N, C, ...), target (N, ...), weight (C,).

    With a `share` it is so much of the sum of all places instead of each for itself.
    """

    name = "nll"
    saves = ("target", "weight")
    strided = True

    @staticmethod
    def infer(x: Spec, target: Spec, weight: Spec, *, ignore_index: int, share: float | None) -> Spec:
        return x.with_shape(*(target.shape if share is None else ()))

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, target: Array, weight: Array, *, ignore_index: int, share: float | None
    ) -> None:
        kept = target != ignore_index
        classes = xp.where(kept, target, 0)
        loss = xp.where(kept, -xp.take_along_axis(x, xp.expand_dims(classes, 1), axis=1).squeeze(1), 0)
        loss = loss * weight[classes]
        out[...] = loss if share is None else xp.sum(loss, dtype=accumulator(x.dtype)) * share

    @staticmethod
    def cpu(out: Array, x: Array, target: Array, weight: Array, *, ignore_index: int, share: float | None) -> None:
        losses = np.empty(target.shape, out.dtype)
        flat, steps = _flat(x)
        straight = contiguous(target).reshape(-1), np.ascontiguousarray(weight)
        pieces = block_count(steps[2], PIECE)
        parallel(_read, len(x) * pieces, losses.reshape(-1), flat, *straight, *steps, pieces, ignore_index)
        out[...] = losses if share is None else row_totals(losses.reshape(-1), 1)[0] * share

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        target, weight = node.saved
        return NllGrad.apply(g, target, weight, classes=weight.shape[0], **node.params), None, None


class NllGrad(OfClasses):
    """The adjoint: g times -weight[t] at class t of each place, zeros elsewhere."""

    name = "nll_grad"
    saves = ("target", "weight")

    @staticmethod
    def infer(
        g: Spec, target: Spec, weight: Spec, *, classes: int, ignore_index: int, share: float | None
    ) -> Spec:  # fmt: skip
        return g.with_shape(target.shape[0], classes, *target.shape[1:])

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, target: Array, weight: Array,
        *, classes: int, ignore_index: int, share: float | None,
    ) -> None:  # fmt: skip
        g = g if share is None else g * g.dtype.type(share)
        kept = target != ignore_index
        safe = xp.where(kept, target, 0)
        hit = xp.expand_dims(safe, 1) == xp.arange(classes).reshape(-1, *[1] * (target.ndim - 1))
        xp.multiply(hit, xp.expand_dims(-g * weight[safe] * kept, 1), out=out)

    @staticmethod
    def cpu(
        out: Array, g: Array, target: Array, weight: Array, *, classes: int, ignore_index: int, share: float | None
    ) -> None:
        g = g if share is None else g * g.dtype.type(share)  # one for all places
        flat = (a.reshape(-1) for a in (out, g, target))
        places = math.prod(out.shape[2:])
        pieces = block_count(places, PIECE)
        parallel(_write, len(out) * pieces, *flat, weight, places, pieces, int(share is None), ignore_index)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        target, weight = node.saved
        how = {name: node.params[name] for name in ("ignore_index", "share")}
        return Nll.apply(g, target, weight, **how), None, None


class Survey(NamedTuple):
    """Of true classes: places that are not ignored, those of them that are no class, and the weights of the others."""

    kept: int
    wrong: int
    weight: float


PIECE = 8192  # places in a unit


def survey(target: Array, weight: Array, ignore_index: int) -> Survey:
    """What is to be known of int64 classes before a loss is computed, in one pass; on the CPU."""
    places = contiguous(target).reshape(-1)
    pieces = block_count(places.size, PIECE)
    counts, weights = np.empty((pieces, 2), np.int64), np.empty(pieces)
    factors = np.ascontiguousarray(weight, np.float64)
    parallel(_survey, pieces, counts, weights, places, factors, ignore_index, block=1)
    if pieces == 1:  # without sums, which take longer than to look
        return Survey(int(counts[0, 0]), int(counts[0, 1]), float(weights[0]))
    kept, wrong = counts.sum(axis=0)
    return Survey(int(kept), int(wrong), float(weights.sum()))


@kernel("int64[:, ::1], float64[::1], const int64[::1], const float64[::1], intp")
def _survey(
    begin: int, end: int, counts: Array, weights: Array, target: Array, weight: Array, ignored: int
) -> None:  # fmt: skip
    classes = len(weight)
    for unit in range(begin, end):
        first = unit * PIECE
        last = min(first + PIECE, len(target))
        kept, wrong, total = 0, 0, 0.0
        for i in range(first, last):
            t = target[i]
            kept += int(t != ignored)
            wrong += int(t != ignored) & (int(t < 0) | int(t >= classes))
        if wrong == 0:
            for i in range(first, last):
                t = target[i]
                total += weight[t] if t != ignored else 0.0
        counts[unit, 0], counts[unit, 1], weights[unit] = kept, wrong, total


def _flat(x: Array) -> tuple[Array, tuple[int, int, int]]:
    """x (N, C, ...) in one dimension; how far it is from class to class and from place to place; the places."""
    classes, places = x.shape[1], math.prod(x.shape[2:])
    seen = channels_last_view(x)
    if seen.flags.c_contiguous:
        return seen.reshape(-1), (1, classes, places)
    return contiguous(x).reshape(-1), (places, 1, places)


@kernel("T[::1], const T[::1], const int64[::1], const T[::1], intp, intp, intp, intp, intp", T=FLOATS)
def _read(
    begin: int, end: int, loss: Array, x: Array, target: Array, weight: Array, of_class: int, of_place: int,
    places: int, pieces: int, ignored: int,
) -> None:  # fmt: skip
    """One unit is a piece of an image."""
    for unit in range(begin, end):
        image, first = unit // pieces, unit % pieces * PIECE
        at, from_ = image * places + first, image * len(weight) * places + first * of_place
        for i in range(min(PIECE, places - first)):
            t = target[at + i]
            if t == ignored:
                loss[at + i] = 0
            else:
                loss[at + i] = -weight[t] * x[from_ + t * of_class + i * of_place]


@kernel("T[::1], const T[::1], const int64[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
def _write(
    begin: int, end: int, gx: Array, g: Array, target: Array, weight: Array, places: int, pieces: int,
    of_place: int, ignored: int,
) -> None:  # fmt: skip
    """One unit is a piece of an image; `of_place` is 0 where one g is for all."""
    for unit in range(begin, end):
        image, first = unit // pieces, unit % pieces * PIECE
        at, to, count = image * places + first, image * len(weight) * places + first, min(PIECE, places - first)
        for c in range(len(weight)):
            clear_line(gx, to + c * places, g, 0, count)
        for i in range(count):
            t = target[at + i]
            if t != ignored:
                gx[to + t * places + i] = -weight[t] * g[(at + i) * of_place]
