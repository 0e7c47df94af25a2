"""The compiled loops of softmax and log_softmax.

All exponentials are of numbers from which the largest of their place was taken off. Vectors hold the classes of one
place where they lie side by side and are many; else they hold places. Where few classes lie side by side (the logits of
an image that lies channels-last: a place may have two), a block of places is turned, worked on in the first cache, and
turned back: a loop over two classes would cost more to begin than to run (log_softmax of 2 classes: 10 ns a number).
Results go to a block of their own: where a loop may write over what it reads, the compiler leaves vectors (4 ns a
number instead of 2).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel
from minidl.device.narrow import columns_apart, columns_together
from minidl.device.row_sums import row_max, row_product, row_sum
from minidl.device.scalar_math import exp_below, log

FLOATS = ("float32", "float64")
MANY = 32  # classes from which a place is worth vectors of its own
PLACES = 256  # that are worked on together otherwise


@inline
def tops(top: Array, x: Array, at: int, step: int, classes: int, count: int) -> None:
    """The largest number of each of `count` places, whose classes lie `step` apart."""
    for k in range(classes):
        part = x[at + k * step : at + k * step + count]
        if k == 0:
            for i in range(count):
                top[i] = part[i]
        else:
            for i in range(count):
                top[i] = part[i] if part[i] > top[i] else top[i]


@inline
def _exponentials(
    total: Array, into: Array, at_into: int, step_into: int, x: Array, at: int, step: int, top: Array, classes: int,
    count: int,
) -> None:  # fmt: skip
    """exp(x - top), and the sum of each place."""
    for k in range(classes):
        part = x[at + k * step : at + k * step + count]
        result = into[at_into + k * step_into : at_into + k * step_into + count]
        if k == 0:
            for i in range(count):
                result[i] = exp_below(part[i] - top[i])
                total[i] = result[i]
        else:
            for i in range(count):
                result[i] = exp_below(part[i] - top[i])
                total[i] += result[i]


@inline
def exponential_totals(total: Array, x: Array, at: int, step: int, top: Array, classes: int, count: int) -> None:
    """The sum of exp(x - top) of each place."""
    for k in range(classes):
        part = x[at + k * step : at + k * step + count]
        if k == 0:
            for i in range(count):
                total[i] = exp_below(part[i] - top[i])
        else:
            for i in range(count):
                total[i] += exp_below(part[i] - top[i])


@inline
def _softmax_places(
    y: Array, at_y: int, step_y: int, x: Array, at: int, step: int, classes: int, count: int, top: Array, total: Array
) -> None:
    tops(top, x, at, step, classes, count)
    _exponentials(total, y, at_y, step_y, x, at, step, top, classes, count)
    one = x.dtype.type(1)
    for i in range(count):
        total[i] = one / total[i]
    for k in range(classes):
        result = y[at_y + k * step_y : at_y + k * step_y + count]
        for i in range(count):
            result[i] *= total[i]


@inline
def _log_softmax_places(
    y: Array, at_y: int, step_y: int, x: Array, at: int, step: int, classes: int, count: int, top: Array, total: Array
) -> None:
    tops(top, x, at, step, classes, count)
    exponential_totals(total, x, at, step, top, classes, count)
    for i in range(count):
        total[i] = log(total[i])
    for k in range(classes):
        part = x[at + k * step : at + k * step + count]
        result = y[at_y + k * step_y : at_y + k * step_y + count]
        for i in range(count):
            result[i] = (part[i] - top[i]) - total[i]


@inline
def _softmax_row(y: Array, x: Array, at: int, classes: int) -> None:
    a, b, top = x[at : at + classes], y[at : at + classes], row_max(x, at, classes)
    for k in range(classes):
        b[k] = exp_below(a[k] - top)
    share = x.dtype.type(1) / row_sum(y, at, classes)
    for k in range(classes):
        b[k] *= share


@inline
def _log_softmax_row(y: Array, x: Array, at: int, classes: int) -> None:
    a, b, top = x[at : at + classes], y[at : at + classes], row_max(x, at, classes)
    for k in range(classes):
        b[k] = exp_below(a[k] - top)
    total = log(row_sum(y, at, classes))
    for k in range(classes):
        b[k] = (a[k] - top) - total


def _loops(row: Any, places: Any) -> tuple[Any, Any]:
    """The kernels for classes that lie side by side, and for classes that lie apart."""

    @kernel("T[::1], const T[::1], intp", T=FLOATS)
    def of_rows(begin: int, end: int, y: Array, x: Array, classes: int) -> None:
        if classes >= MANY:
            for at in range(begin * classes, end * classes, classes):
                row(y, x, at, classes)
        else:
            block, result = np.empty(classes * PLACES, x.dtype), np.empty(classes * PLACES, x.dtype)
            top, total = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
            for start in range(begin, end, PLACES):
                count = min(PLACES, end - start)
                columns_apart(block, PLACES, x, start * classes, count, classes)
                places(result, 0, PLACES, block, 0, PLACES, classes, count, top, total)
                columns_together(y, start * classes, result, PLACES, count, classes)

    @kernel("T[::1], const T[::1], intp, intp, intp", T=FLOATS)
    def of_columns(begin: int, end: int, y: Array, x: Array, classes: int, length: int, pieces: int) -> None:
        """One unit is a piece of one matrix (classes, length)."""
        top, total = np.empty(PLACES, x.dtype), np.empty(PLACES, x.dtype)
        for unit in range(begin, end):
            first = unit % pieces * PLACES
            at = unit // pieces * classes * length + first
            places(y, at, length, x, at, length, classes, min(PLACES, length - first), top, total)

    return of_rows, of_columns


SOFTMAX = _loops(_softmax_row, _softmax_places)
LOG_SOFTMAX = _loops(_log_softmax_row, _log_softmax_places)


@inline
def _softmax_slope_row(gx: Array, g: Array, y: Array, at: int, classes: int) -> None:
    zero = y.dtype.type(0)
    along = row_product(g, at, zero, y, at, zero, classes)
    a, b, into = g[at : at + classes], y[at : at + classes], gx[at : at + classes]
    for k in range(classes):
        into[k] = b[k] * (a[k] - along)


@inline
def _log_softmax_slope_row(gx: Array, g: Array, y: Array, at: int, classes: int) -> None:
    total = row_sum(g, at, classes)
    a, b, into = g[at : at + classes], y[at : at + classes], gx[at : at + classes]
    for k in range(classes):
        into[k] = a[k] - exp_below(b[k]) * total


@inline
def _softmax_slope_places(
    gx: Array, at_gx: int, g: Array, at_g: int, y: Array, at: int, step: int, classes: int, count: int, along: Array
) -> None:
    for i in range(count):
        along[i] = 0
    for k in range(0, classes * step, step):
        a, b = g[at_g + k : at_g + k + count], y[at + k : at + k + count]
        for i in range(count):
            along[i] += a[i] * b[i]
    for k in range(0, classes * step, step):
        a, b, into = g[at_g + k : at_g + k + count], y[at + k : at + k + count], gx[at_gx + k : at_gx + k + count]
        for i in range(count):
            into[i] = b[i] * (a[i] - along[i])


@inline
def _log_softmax_slope_places(
    gx: Array, at_gx: int, g: Array, at_g: int, y: Array, at: int, step: int, classes: int, count: int, total: Array
) -> None:
    for i in range(count):
        total[i] = 0
    for k in range(0, classes * step, step):
        a = g[at_g + k : at_g + k + count]
        for i in range(count):
            total[i] += a[i]
    for k in range(0, classes * step, step):
        a, b, into = g[at_g + k : at_g + k + count], y[at + k : at + k + count], gx[at_gx + k : at_gx + k + count]
        for i in range(count):
            into[i] = a[i] - exp_below(b[i]) * total[i]


def _slope_loops(row: Any, places: Any) -> tuple[Any, Any]:
    @kernel("T[::1], const T[::1], const T[::1], intp", T=FLOATS)
    def slopes_of_rows(begin: int, end: int, gx: Array, g: Array, y: Array, classes: int) -> None:
        if classes >= MANY:
            for at in range(begin * classes, end * classes, classes):
                row(gx, g, y, at, classes)
        else:
            block, other = np.empty(classes * PLACES, y.dtype), np.empty(classes * PLACES, y.dtype)
            result, sums = np.empty(classes * PLACES, y.dtype), np.empty(PLACES, y.dtype)
            for start in range(begin, end, PLACES):
                count = min(PLACES, end - start)
                columns_apart(block, PLACES, g, start * classes, count, classes)
                columns_apart(other, PLACES, y, start * classes, count, classes)
                places(result, 0, block, 0, other, 0, PLACES, classes, count, sums)
                columns_together(gx, start * classes, result, PLACES, count, classes)

    @kernel("T[::1], const T[::1], const T[::1], intp, intp, intp", T=FLOATS)
    def slopes_of_columns(
        begin: int, end: int, gx: Array, g: Array, y: Array, classes: int, length: int, pieces: int
    ) -> None:
        sums = np.empty(PLACES, y.dtype)
        for unit in range(begin, end):
            first = unit % pieces * PLACES
            at = unit // pieces * classes * length + first
            places(gx, at, g, at, y, at, length, classes, min(PLACES, length - first), sums)

    return slopes_of_rows, slopes_of_columns


SOFTMAX_SLOPE = _slope_loops(_softmax_slope_row, _softmax_slope_places)
LOG_SOFTMAX_SLOPE = _slope_loops(_log_softmax_slope_row, _log_softmax_slope_places)
