"""cross_entropy with probabilities as the target: one op each way.

A place's loss is mass * level - sum(weight * t * (x - top)), with top = max(x), level = log(sum(exp(x - top))) and mass
= sum(weight * t); its gradient mass * softmax(x) - weight * t. Logits and target are read once each way.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Run, Spec, is_recording
from minidl.device import kernel
from minidl.device.dtypes import accumulator
from minidl.device.narrow import columns_apart, columns_together
from minidl.device.row_sums import row_max, row_product, row_sum
from minidl.device.scalar_math import exp_below, log
from minidl.device.threads import Blocks
from minidl.device.turn import in_one_line
from minidl.ops.cross_entropy_loops import Layout, unit_of
from minidl.ops.reduce import sum as sum_
from minidl.ops.softmax import softmax
from minidl.ops.softmax_loops import FLOATS, MANY, PLACES, exponential_totals, tops

__all__: list[str] = []  # the function is in `cross_entropy.py`


class SoftCrossEntropy(AlikeOp):
    """-sum(weight * t * log_softmax(x)) of each place, x and t (N, C, ...); and top, level and mass of each.

    With a `share` it is so much of the sum of all places. Of t a share, `smoothing`, is spread evenly over all classes.
    """

    name = "soft_cross_entropy"
    saves = ("x", "target", "weight", "out")
    saves_results = constants = (1, 2, 3)
    strided = True

    @staticmethod
    def infer(
        x: Spec, target: Spec, weight: Spec, *, smoothing: float, share: float | None
    ) -> tuple[Spec, Spec, Spec, Spec]:
        places = x.with_shape(x.shape[0], *x.shape[2:])
        return places if share is None else x.with_shape(), places, places, places

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array,
        *, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        loss, top, level, mass = out
        if not x.size:
            for array in out:
                array[...] = 0
            return
        top[...] = x.max(axis=1)
        off = x - xp.expand_dims(top, 1)
        level[...] = xp.log(xp.exp(off).sum(axis=1))
        wanted = _wanted(target, weight, smoothing)
        mass[...] = wanted.sum(axis=1)
        losses = level * mass - (wanted * off).sum(axis=1)
        loss[...] = losses if share is None else xp.sum(losses, dtype=accumulator(x.dtype)) * share

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array,
        *, smoothing: float, share: float | None,
    ) -> Run:  # fmt: skip
        how = Layout.of(x)
        x_line, target_line, weight_line = how.in_one_line(x), how.in_one_line(target), in_one_line(weight)
        units, losses = how.units, Blocks(_losses, how.units, size=2 * x.nbytes)

        def run(out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array) -> None:
            parts = np.empty(units)
            losses(parts, *[a.reshape(-1) for a in out], x_line(x), target_line(target), weight_line(weight),
                   how.is_apart, how.length, how.places, smoothing, share is None)  # fmt: skip
            if share is not None:
                out[0].fill(parts.sum() * share)

        return run

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, target, weight, (_, *made) = node.saved
        if not is_recording():
            return SoftCrossEntropyGrad.apply(g[0], x, target, weight, *made, **node.params), None, None
        share = node.params["share"]
        g = g[0].unsqueeze(1) if share is None else g[0] * share
        wanted = _wanted(target, weight, node.params["smoothing"])
        return (softmax(x, 1) * sum_(wanted, 1, keepdim=True) - wanted) * g, None, None


class SoftCrossEntropyGrad(AlikeOp):
    """The gradient of the logits; for a second derivative it is written in ops instead."""

    name = "soft_cross_entropy_grad"
    strided = True

    @staticmethod
    def infer(
        g: Spec, x: Spec, target: Spec, weight: Spec, top: Spec, level: Spec, mass: Spec,
        *, smoothing: float, share: float | None,
    ) -> Spec:  # fmt: skip
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array, mass: Array,
        *, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        g = xp.expand_dims(g, 1) if share is None else g * g.dtype.type(share)
        xp.exp((x - xp.expand_dims(top, 1)) - xp.expand_dims(level, 1), out=out)
        out *= xp.expand_dims(mass, 1)
        out -= _wanted(target, weight, smoothing)
        out *= g

    @staticmethod
    def bind(
        out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array, mass: Array,
        *, smoothing: float, share: float | None,
    ) -> Run:  # fmt: skip
        how = Layout.of(out)
        of_places = list(map(in_one_line, (g, top, level, mass)))
        of_all = [how.in_one_line(x), how.in_one_line(target), in_one_line(weight)]
        out_line, slopes = how.in_one_line(out), Blocks(_slopes, how.units, size=3 * out.nbytes)

        def run(out: Array, g: Array, x: Array, target: Array, weight: Array, *made: Array) -> None:
            g = g if share is None else g * g.dtype.type(share)
            places = [line(a) for line, a in zip(of_places, (g, *made), strict=True)]
            given = [line(a) for line, a in zip(of_all, (x, target, weight), strict=True)]
            slopes(out_line(out), *places, *given, how.is_apart, how.length, how.places, smoothing,
                   int(share is None))  # fmt: skip

        return run


def _wanted(target: Any, weight: Any, smoothing: float) -> Any:
    """weight * t, smoothed."""
    even = smoothing / target.shape[1]
    t = target * target.dtype.type(1 - smoothing) + target.dtype.type(even) if smoothing else target
    return t * weight.reshape(-1, *[1] * (target.ndim - 2))


@kernel(
    "float64[::1], T[::1], T[::1], T[::1], T[::1], const T[::1], const T[::1], const T[::1], bool, intp, intp, T, bool",
    T=FLOATS,
)
def _losses(
    begin: int, end: int, parts: Array, loss: Array, top: Array, level: Array, mass: Array, x: Array, target: Array,
    weight: Array, is_apart: bool, length: int, places: int, smoothing: float, each: bool,
) -> None:  # fmt: skip
    classes, zero = len(weight), x.dtype.type(0)
    kept, even = x.dtype.type(1) - smoothing, smoothing / classes
    size = 1 if is_apart else classes if classes >= MANY else classes * PLACES
    block, wanted = np.empty(size, x.dtype), np.empty(size, x.dtype)
    most, sums = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
    masses, along = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
    for unit in range(begin, end):
        start, at, _, _, count = unit_of(unit, is_apart, length, places, classes)
        for i in range(count):
            masses[i], along[i] = zero, zero
        if is_apart:
            tops(most, x, at, length, classes, count)
            exponential_totals(sums, x, at, length, most, classes, count)
            for k in range(classes):
                share, a, t = weight[k], x[at + k * length :], target[at + k * length :]
                for i in range(count):
                    w = (t[i] * kept + even) * share
                    masses[i] += w
                    along[i] += w * (a[i] - most[i])
        elif classes >= MANY:
            for i in range(count):
                here = at + i * classes
                a, t = x[here : here + classes], target[here : here + classes]
                most[i] = row_max(x, here, classes)
                for k in range(classes):
                    block[k] = exp_below(a[k] - most[i])
                    wanted[k] = (t[k] * kept + even) * weight[k]
                sums[i], masses[i] = row_sum(block, 0, classes), row_sum(wanted, 0, classes)
                along[i] = row_product(x, here, most[i], wanted, 0, zero, classes)
        else:
            columns_apart(block, PLACES, x, at, count, classes)
            columns_apart(wanted, PLACES, target, at, count, classes)
            tops(most, block, 0, PLACES, classes, count)
            exponential_totals(sums, block, 0, PLACES, most, classes, count)
            for k in range(classes):
                share, a, t = weight[k], block[k * PLACES :], wanted[k * PLACES :]
                for i in range(count):
                    w = (t[i] * kept + even) * share
                    masses[i] += w
                    along[i] += w * (a[i] - most[i])
        tops_of, levels, masses_of = (
            top[start : start + count],
            level[start : start + count],
            mass[start : start + count],
        )
        for i in range(count):
            tops_of[i], levels[i], masses_of[i] = most[i], log(sums[i]), masses[i]
        for i in range(count):
            sums[i] = levels[i] * masses[i] - along[i]
        parts[unit] = row_sum(sums, 0, count)
        if each:
            loss[start : start + count] = sums[:count]


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], bool, "
    "intp, intp, T, intp",
    T=FLOATS,
)
def _slopes(
    begin: int, end: int, gx: Array, g: Array, top: Array, level: Array, mass: Array, x: Array, target: Array,
    weight: Array, is_apart: bool, length: int, places: int, smoothing: float, of_place: int,
) -> None:  # fmt: skip
    """`of_place` is 0 where one g is for all."""
    classes = len(weight)
    kept, even = x.dtype.type(1) - smoothing, smoothing / classes
    size = 1 if is_apart or classes >= MANY else classes * PLACES
    block, wanted, made = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(size, x.dtype)
    given = np.empty(PLACES, x.dtype)
    for unit in range(begin, end):
        start, at, _, _, count = unit_of(unit, is_apart, length, places, classes)
        highest, levels, masses = top[start : start + count], level[start : start + count], mass[start : start + count]
        for i in range(count):
            given[i] = g[(start + i) * of_place]
        if is_apart:
            for k in range(classes):
                here, share = at + k * length, weight[k]
                a, t, into = x[here : here + count], target[here : here + count], gx[here : here + count]
                for i in range(count):
                    soft = exp_below((a[i] - highest[i]) - levels[i]) * masses[i]
                    into[i] = (soft - (t[i] * kept + even) * share) * given[i]
        elif classes >= MANY:
            for i in range(count):
                here = at + i * classes
                a, t, into = x[here : here + classes], target[here : here + classes], gx[here : here + classes]
                above, rest, whole, factor = highest[i], levels[i], masses[i], given[i]
                for k in range(classes):
                    soft = exp_below((a[k] - above) - rest) * whole
                    into[k] = (soft - (t[k] * kept + even) * weight[k]) * factor
        else:
            columns_apart(block, PLACES, x, at, count, classes)
            columns_apart(wanted, PLACES, target, at, count, classes)
            for k in range(classes):
                here, share = k * PLACES, weight[k]
                a, t, into = block[here : here + count], wanted[here : here + count], made[here : here + count]
                for i in range(count):
                    soft = exp_below((a[i] - highest[i]) - levels[i]) * masses[i]
                    into[i] = (soft - (t[i] * kept + even) * share) * given[i]
            columns_together(gx, at, made, PLACES, count, classes)
