"""Resizing as sums over taps, one dimension after the other, and its adjoint: the tables, and the compiled loops.

Each number of the result is a weighted sum of a few numbers of the image: one (nearest), two (linear) or four (cubic)
along each dimension, with the same places and weights for all images and channels. The tables are made once for a pair
of sizes. All dimensions but the last are mixed to one row in the first cache, row by row of the result: a sum of whole
rows, in vectors. Then the row's own numbers are mixed. Forward and adjoint are the same loop with other tables: both
gather, so no two threads write the same number.

Images lie channels first, as planes of one channel, or channels-last. Pixels of a few channels are mixed number by
number (`tapped_lines`), those of many as short lines.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import Kernel, inline, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.layout import channels_last_view
from minidl.device.lines import move_line
from minidl.device.mixed_lines import mix_lines, sum_lines
from minidl.device.pointers import pointer_to
from minidl.device.sampled_places import cubic_weights
from minidl.device.tapped_lines import mix_taps
from minidl.device.turn import contiguous
from minidl.device.vectors import lanes_of

FLOATS = ("float32", "float64")
Axis = tuple[int, int, str, "float | None"]  # old and new length, rule, scale


class Table(NamedTuple):
    """A sparse matrix: number i of the result is the sum of weights[k] * number places[k] over all k whose to[k] is i.

    Sorted by `to`; `new` results are made of `old` numbers.
    """

    to: Array
    places: Array
    weights: Array
    new: int
    old: int

    def starts(self) -> Array:
        """For each result, where its part of the table begins; and where the last one's ends."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.to, minlength=self.new))])


class Plan(NamedTuple):
    """A kernel, and the arguments that it takes after the arrays; `width` numbers are a row of the result."""

    kernel: Kernel
    arguments: tuple[Any, ...]
    width: int


def resize(out: Array, x: Array, axes: tuple[Axis, ...], is_adjoint: bool) -> None:
    """`x` resized along its last dimensions, or the adjoint of that; `out` lies dense, channels first or last."""
    channels = 1
    if not out.flags.c_contiguous:
        out, x, channels = channels_last_view(out), channels_last_view(x), out.shape[1]
    plan = _plan(axes, is_adjoint, channels, out.dtype)
    parallel(plan.kernel, out.size // plan.width, out.reshape(-1), contiguous(x).reshape(-1), *plan.arguments)


def taps_of(old: int, new: int, rule: str, scale: float | None) -> tuple[Array, Array]:
    """The places that each of `new` numbers is made of, and their weights: two arrays (taps, new).

    PyTorch's rules: a pixel's centre lies at its index + 1/2, or at its index where corners are aligned. A given scale
    factor is used as it is, not the ratio of the lengths; but a length that stays the same is left alone, and in images
    "nearest" doubles evenly. In one and three dimensions PyTorch's "nearest" has neither of these exceptions.
    """
    index = np.arange(new)
    if new == old and rule != "nearest":
        return index[None], np.ones((1, new))
    step = 1 / scale if scale else old / new
    if rule.startswith("nearest"):
        step = 0.5 if rule == "nearest in images" and new == 2 * old else step
        half = np.float32(0.5 if rule == "nearest-exact" else 0)
        low = np.floor((index.astype(np.float32) + half) * np.float32(step))  # as in PyTorch, or ties tip over
        return np.minimum(low.astype(np.int64), old - 1)[None], np.ones((1, new))
    position = index * ((old - 1) / max(new - 1, 1)) if rule.endswith("corners") else (index + 0.5) * step - 0.5
    if rule.startswith("cubic"):
        low = np.floor(position)
        offsets, weights = [-1, 0, 1, 2], list(cubic_weights(position - low))
    else:
        position = np.maximum(position, 0)
        low = np.minimum(np.floor(position), old - 1)
        offsets, weights = [0, 1], [1 - (position - low), position - low]
    return np.stack([np.clip(low + d, 0, old - 1).astype(np.int64) for d in offsets]), np.stack(weights)


def _table(axis: Axis, is_adjoint: bool) -> Table:
    old, new, _, _ = axis
    places, weights = taps_of(*axis)
    to = np.broadcast_to(np.arange(new), places.shape)
    used = weights.T != 0  # of a number between others, though it is not: infinity times 0 would be NaN
    to, places, weights = to.T[used], places.T[used], weights.T[used]
    if not is_adjoint:
        return Table(to, places, weights, new, old)
    order = np.argsort(places, kind="stable")
    return Table(places[order], to[order], weights[order], old, new)


def _product(outer: Table, inner: Table) -> Table:
    """Both, for numbers that lie (outer, inner)."""
    to = np.add.outer(outer.to * inner.new, inner.to).reshape(-1)
    places = np.add.outer(outer.places * inner.old, inner.places).reshape(-1)
    weights, order = np.multiply.outer(outer.weights, inner.weights).reshape(-1), np.argsort(to, kind="stable")
    return Table(to[order], places[order], weights[order], outer.new * inner.new, outer.old * inner.old)


def _taps(table: Table, channels: int) -> tuple[Array, Array]:
    """(taps, new * channels) places and weights for `mix_taps`, of pixels of so many channels."""
    starts = table.starts()
    tap = np.arange(len(table.to)) - starts[table.to]
    places = np.full((int(np.diff(starts).max()), table.new, channels), -1, np.int32)
    weights = np.zeros(places.shape)
    places[tap, table.to] = table.places[:, None] * channels + np.arange(channels)
    weights[tap, table.to] = table.weights[:, None]
    return places.reshape(len(places), -1), weights.reshape(len(places), -1)


@functools.lru_cache(maxsize=256)
def _plan(axes: tuple[Axis, ...], is_adjoint: bool, channels: int, dtype: DType) -> Plan:
    one = Table(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), 1, 1)
    *around, columns = [_table(axis, is_adjoint) for axis in axes]
    rows = functools.reduce(_product, around, one)
    first = rows.starts(), rows.places, rows.weights.astype(dtype)
    sizes = rows.old, columns.old * channels, columns.new * channels
    if channels < lanes_of(dtype):
        places, weights = _taps(columns, channels)
        return Plan(_by_number, (*first, places, weights.astype(dtype), *sizes), sizes[2])
    then = columns.starts(), columns.places, columns.weights.astype(dtype)
    return Plan(_by_line, (*first, *then, *sizes, channels), sizes[2])


# One unit is a row of the result. What it is mixed of may be one row of x, which is read where it lies; a row of the
# result that has the same one as the row before is copied. What all threads read is given to functions as pointers:
# arrays would be counted as used at each call, by all threads in turns.
ROW = "T[::1], const T[::1], const int64[::1], const int64[::1], const T[::1]"


@inline
def _only_row(starts: Any, places: Any, weights: Any, r: int) -> int:
    """The row of x that row r of the result is made of, or -1 if it is made of several, or in parts."""
    k = starts[r]
    return places[k] if starts[r + 1] - k == 1 and weights[k] == 1 else -1


@inline
def _mix_rows(mixed: Any, x: Any, starts: Any, places: Any, weights: Any, r: int, length: int) -> None:
    """mixed = what row r of a result is made of, the image beginning at x."""
    k, last = starts[r], starts[r + 1]
    if last - k == 2:
        a, b = places[k] * length, places[k + 1] * length
        mix_lines(mixed, 0, x, b, weights[k + 1], a, weights[k], length)
    else:
        sum_lines(mixed, 0, x, 0, places, weights, k, last, length)


@kernel(ROW + ", const int32[:, ::1], const T[:, ::1], intp, intp, intp", T=FLOATS)
def _by_number(
    begin: int, end: int, out: Array, x: Array, row_starts: Array, row_places: Array, row_weights: Array,
    places: Array, weights: Array, old_rows: int, length: int, width: int,
) -> None:  # fmt: skip
    room, held, rows = np.empty(length, x.dtype), -1, len(row_starts) - 1
    table = pointer_to(row_starts, 0), pointer_to(row_places, 0), pointer_to(row_weights, 0)
    for unit in range(begin, end):
        mixed, first, r = pointer_to(room, 0), unit // rows * old_rows * length, unit % rows
        only = _only_row(*table, r)
        if only < 0:
            _mix_rows(mixed, pointer_to(x, first), *table, r, length)
            mix_taps(out, unit * width, mixed, places, weights, len(places), width)
            held = -1
        elif first + only * length == held:
            move_line(out, unit * width, out, (unit - 1) * width, width)
        else:
            held = first + only * length
            mix_taps(out, unit * width, pointer_to(x, held), places, weights, len(places), width)


@kernel(ROW + ", const int64[::1], const int64[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
def _by_line(
    begin: int, end: int, out: Array, x: Array, row_starts: Array, row_places: Array, row_weights: Array,
    starts: Array, places: Array, weights: Array, old_rows: int, length: int, width: int, channels: int,
) -> None:  # fmt: skip
    room, held, rows = np.empty(length, x.dtype), -1, len(row_starts) - 1
    table = pointer_to(row_starts, 0), pointer_to(row_places, 0), pointer_to(row_weights, 0)
    for unit in range(begin, end):
        mixed, first, r = pointer_to(room, 0), unit // rows * old_rows * length, unit % rows
        only, line = _only_row(*table, r), mixed
        if only < 0:
            _mix_rows(mixed, pointer_to(x, first), *table, r, length)
            held = -1
        elif first + only * length == held:
            move_line(out, unit * width, out, (unit - 1) * width, width)
            continue
        else:
            held = first + only * length
            line = pointer_to(x, held)
        for q in range(len(starts) - 1):
            at, k, last = unit * width + q * channels, starts[q], starts[q + 1]
            if last - k == 2:
                a, b = places[k] * channels, places[k + 1] * channels
                mix_lines(out, at, line, a, weights[k], b, weights[k + 1], channels)
            elif last - k == 1 and weights[k] == 1:
                move_line(out, at, line, places[k] * channels, channels)
            else:
                sum_lines(out, at, line, 0, places, weights, k, last, channels)
