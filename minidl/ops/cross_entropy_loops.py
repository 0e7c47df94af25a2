"""The compiled loops of cross_entropy and nll_loss.

Classes lie side by side in memory (matrices, and images that lie channels-last), or a whole image apart (`is_apart`).
A unit of work is a piece of so many places, of one image where classes are apart; it leaves in `parts` the sum of its
losses, that of the weights of its true classes, and how many of them are no classes, so that nobody need look before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import block_count, inline, kernel
from minidl.device.layout import channels_last_view, last_order
from minidl.device.lines import clear_line
from minidl.device.narrow import columns_apart, columns_together
from minidl.device.row_sums import row_max, row_product, row_sum
from minidl.device.scalar_math import exp_below, log
from minidl.device.turn import in_one_line
from minidl.ops.softmax_loops import FLOATS, MANY, PLACES, exponential_totals, tops

_NUMBERS = 16384  # in a piece of places with many classes
REDUCTIONS = ("none", "sum", "mean")
NONE, SUM, MEAN = range(len(REDUCTIONS))


class Layout(NamedTuple):
    """How places lie: `images` times `length`, and how many make a piece."""

    is_apart: bool
    images: int
    length: int
    places: int

    @classmethod
    def of(cls, x: Array, numbers: int = _NUMBERS) -> Layout:
        """That of x, (N, C, ...), which is contiguous or channels-last, in pieces of about so many numbers."""
        classes = x.shape[1]
        together = max(1, min(PLACES, numbers // classes))
        if channels_last_view(x).flags.c_contiguous:
            return cls(False, 1, x.size // classes, together)
        return cls(True, len(x), x[0, 0].size, PLACES)

    @property
    def units(self) -> int:
        return self.images * block_count(self.length, self.places)

    def in_one_line(self, like: Array) -> Callable[[Array], Array]:
        """What gives an array like this in one dimension, in this layout."""
        return in_one_line(like, None if self.is_apart or like.ndim < 3 else last_order(like.ndim))


@inline
def unit_of(unit: int, is_apart: bool, length: int, places: int, classes: int) -> Any:
    """Where the places of a unit begin and how many they are; where their classes begin, and the steps between them.

    Returns:
        The first place of all images; its first class; from class to class; from place to place; the places.
    """
    pieces = (length + places - 1) // places
    image, first = unit // pieces, unit % pieces * places
    count, start = min(places, length - first), image * length + first
    if is_apart:
        return start, image * classes * length + first, length, 1, count
    return start, start * classes, 1, classes, count


@kernel(
    "float64[:, ::1], T[::1], T[::1], T[::1], const T[::1], const int64[::1], const T[::1], bool, intp, intp, intp, T, "
    "bool",
    T=FLOATS,
)
def cross_entropies(
    begin: int, end: int, parts: Array, loss: Array, top: Array, level: Array, x: Array, target: Array, weight: Array,
    is_apart: bool, length: int, places: int, ignored: int, smoothing: float, each: bool,
) -> None:  # fmt: skip
    """top = max(x) of each place, level = log(sum(exp(x - top))), loss = weight * (level - (x - top)) at its target.

    A share of the target, `smoothing`, is spread evenly over all classes. Losses are written where `each` is asked for.
    """
    classes, zero, one = len(weight), x.dtype.type(0), x.dtype.type(1)
    total_weight, spread = weight.sum(), np.zeros(PLACES, x.dtype)
    block = np.empty(1 if is_apart else classes if classes >= MANY else classes * PLACES, x.dtype)
    most, sums = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
    for unit in range(begin, end):
        start, at, step, stride, count = unit_of(unit, is_apart, length, places, classes)
        if is_apart:
            tops(most, x, at, length, classes, count)
            exponential_totals(sums, x, at, length, most, classes, count)
        elif classes >= MANY:
            for i in range(count):
                a = x[at + i * classes : at + (i + 1) * classes]
                most[i] = row_max(x, at + i * classes, classes)
                for k in range(classes):
                    block[k] = exp_below(a[k] - most[i])
                sums[i] = row_sum(block, 0, classes)
        else:
            columns_apart(block, PLACES, x, at, count, classes)
            tops(most, block, 0, PLACES, classes, count)
            exponential_totals(sums, block, 0, PLACES, most, classes, count)
        if smoothing > zero:
            for i in range(count):
                spread[i] = zero
            if not is_apart and classes >= MANY:
                for i in range(count):
                    spread[i] = row_product(x, at + i * classes, most[i], weight, 0, zero, classes)
            else:
                for k in range(classes):
                    share = weight[k]
                    for i in range(count):
                        spread[i] += (x[at + k * step + i * stride] - most[i]) * share
        tops_of, levels = top[start : start + count], level[start : start + count]
        for i in range(count):
            tops_of[i], levels[i] = most[i], log(sums[i])
        weights, wrong = 0.0, 0
        for i in range(count):
            t = target[start + i]
            sums[i] = zero
            if t < 0 or t >= classes:
                wrong += int(t != ignored)
            elif t != ignored:
                weights += weight[t]
                sums[i] = weight[t] * (levels[i] - (x[at + t * step + i * stride] - most[i]))
                if smoothing > zero:
                    even = (levels[i] * total_weight - spread[i]) / classes
                    sums[i] = sums[i] * (one - smoothing) + even * smoothing
        parts[unit, 0], parts[unit, 1], parts[unit, 2] = row_sum(sums, 0, count), weights, wrong
        if each:
            loss[start : start + count] = sums[:count]


@kernel(
    "T[::1], const T[::1], const T[::1], const int64[::1], const T[::1], const T[::1], const T[::1], const T[::1], "
    "bool, intp, intp, intp, intp, T",
    T=FLOATS,
)
def cross_entropy_slopes(
    begin: int, end: int, gx: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array,
    counted: Array, is_apart: bool, length: int, places: int, reduction: int, ignored: int, smoothing: float,
) -> None:  # fmt: skip
    """gx = softmax(x) * (hit + the sum of even * weight) - hit at t - even * weight.

    `hit` is g * weight[t] and `even` g for each class, times their shares of the target.
    """
    classes, zero = len(weight), x.dtype.type(0)
    size = 1 if is_apart or classes >= MANY else classes * PLACES
    block, other, hit = np.empty(size, x.dtype), np.empty(size, x.dtype), np.empty(PLACES, x.dtype)
    even, factor = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
    total_weight, kept = weight.sum(), x.dtype.type(1) - smoothing
    of_place, count_of = int(reduction == NONE), counted[0] if reduction == MEAN else x.dtype.type(1)
    for unit in range(begin, end):
        start, at, step, stride, count = unit_of(unit, is_apart, length, places, classes)
        for i in range(count):
            t, slope = target[start + i], g[(start + i) * of_place] / count_of
            hit[i] = zero if t == ignored else slope * weight[t] * kept
            even[i] = zero if t == ignored else slope * smoothing / classes
            factor[i] = hit[i] + even[i] * total_weight
        highest, levels = top[start : start + count], level[start : start + count]
        if is_apart:
            for k in range(classes):
                a, into = x[at + k * step : at + k * step + count], gx[at + k * step : at + k * step + count]
                for i in range(count):
                    into[i] = exp_below((a[i] - highest[i]) - levels[i]) * factor[i] - even[i] * weight[k]
        elif classes >= MANY:
            for i in range(count):
                a, into = x[at + i * classes : at + (i + 1) * classes], gx[at + i * classes : at + (i + 1) * classes]
                above, rest, scale, off = highest[i], levels[i], factor[i], even[i]
                for k in range(classes):
                    into[k] = exp_below((a[k] - above) - rest) * scale - off * weight[k]
        else:
            columns_apart(block, PLACES, x, at, count, classes)
            for k in range(classes):
                a, into = block[k * PLACES : k * PLACES + count], other[k * PLACES : k * PLACES + count]
                for i in range(count):
                    into[i] = exp_below((a[i] - highest[i]) - levels[i]) * factor[i] - even[i] * weight[k]
            columns_together(gx, at, other, PLACES, count, classes)
        for i in range(count):
            t = target[start + i]
            if t != ignored:
                gx[at + t * step + i * stride] -= hit[i]


@kernel(
    "float64[:, ::1], T[::1], const T[::1], const int64[::1], const T[::1], bool, intp, intp, intp, bool",
    T=FLOATS,
)
def picked_losses(
    begin: int, end: int, parts: Array, loss: Array, x: Array, target: Array, weight: Array, is_apart: bool,
    length: int, places: int, ignored: int, each: bool,
) -> None:  # fmt: skip
    """loss = -weight[t] * x[t] of each place."""
    classes, sums, zero = len(weight), np.empty(PLACES, x.dtype), x.dtype.type(0)
    for unit in range(begin, end):
        start, at, step, stride, count = unit_of(unit, is_apart, length, places, classes)
        weights, wrong = 0.0, 0
        for i in range(count):
            t = target[start + i]
            sums[i] = zero
            if t < 0 or t >= classes:
                wrong += int(t != ignored)
            elif t != ignored:
                weights += weight[t]
                sums[i] = -weight[t] * x[at + t * step + i * stride]
        parts[unit, 0], parts[unit, 1], parts[unit, 2] = row_sum(sums, 0, count), weights, wrong
        if each:
            loss[start : start + count] = sums[:count]


@kernel(
    "T[::1], const T[::1], const int64[::1], const T[::1], const T[::1], bool, intp, intp, intp, intp", T=FLOATS
)  # fmt: skip
def picked_slopes(
    begin: int, end: int, gx: Array, g: Array, target: Array, weight: Array, counted: Array, is_apart: bool,
    length: int, places: int, reduction: int, ignored: int,
) -> None:  # fmt: skip
    """-weight[t] * g at class t of each place, zeros elsewhere."""
    classes, of_place = len(weight), int(reduction == NONE)
    count_of = counted[0] if reduction == MEAN else g.dtype.type(1)
    for unit in range(begin, end):
        start, at, step, stride, count = unit_of(unit, is_apart, length, places, classes)
        if is_apart:
            for k in range(classes):
                clear_line(gx, at + k * length, g, 0, count)
        else:
            clear_line(gx, at, g, 0, count * classes)
        for i in range(count):
            t = target[start + i]
            if t != ignored:
                gx[at + t * step + i * stride] = -weight[t] * (g[(start + i) * of_place] / count_of)
