"""Sums and extremes along dimensions by compiled loops, for arrays in any dense order of memory.

Dimensions that lie side by side in memory and are both kept or both summed count as one. What is left are rows whose
numbers are summed, or matrices whose rows are: vectors then hold what stays apart. Runs of a few thousand numbers are
added in the array's own type, the runs in float64 and in their order, so the bits do not depend on the number of
threads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import block_count, inline, kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.lines import move_line
from minidl.device.pointers import pointer_to, put, taken
from minidl.device.row_sums import row_largest, row_smallest, row_sum

FLOATS = ("float32", "float64")
RUN = 4096  # numbers that are added in the array's own type
RUNS = 8  # of one long row, as a unit of work
BLOCK_ROWS = 128
WIDTH = 64  # shorter rows are folded: several count as one
# Lengths of merged dimensions, and whether each is summed.
Groups = tuple[tuple[int, bool], ...]


@functools.lru_cache(maxsize=1024)
def groups(shape: tuple[int, ...], order: tuple[int, ...], dims: tuple[int, ...]) -> Groups:
    """The dimensions in the order of memory, merged where neighbours are both kept or both summed.

    >>> groups((8, 16, 4, 4), (0, 2, 3, 1), (0, 2, 3))
    ((128, True), (16, False))
    """
    merged: list[tuple[int, bool]] = []
    for d in order:
        is_summed = d in dims
        if shape[d] == 1:
            continue
        if merged and merged[-1][1] == is_summed:
            merged[-1] = (merged[-1][0] * shape[d], is_summed)
        else:
            merged.append((shape[d], is_summed))
    return tuple(merged)


def can_reduce(x: Array, dims: tuple[int, ...]) -> bool:
    """Whether there is a loop for this array: dense, and of at most three groups."""
    order = dense_order(x)
    return order is not None and x.size > 0 and len(groups(x.shape, order, dims)) <= 3


class Loops(NamedTuple):
    """How numbers are brought to one.

    Attributes:
        rows: (flat, rows) to one number for each row.
        columns: (flat, outer, rows, columns) to (outer, columns), along the middle.
        join: NumPy's function for what is left.
        dtype: of results, None for that of the array.
    """

    rows: Callable[[Array, int], Array]
    columns: Callable[[Array, int, int, int], Array]
    join: Callable[..., Array]
    dtype: type[np.generic] | None


def reduced(loops: Loops, x: Array, dims: tuple[int, ...]) -> Array:
    """What the loops make along `dims`, in the shape and order of the dimensions that are kept."""
    order = dense_order(x)
    assert order is not None
    kinds = groups(x.shape, order, dims)
    flat = x.transpose(order).reshape(-1)
    kept = [d for d in order if d not in dims]
    total = _reduced(loops, flat, kinds).reshape([x.shape[d] for d in kept])
    return total if kept == sorted(kept) else total.transpose(np.argsort(kept))


def sums(x: Array, dims: tuple[int, ...]) -> Array:
    """The sums along `dims`, as float64."""
    return reduced(SUMS, x, dims)


def _reduced(loops: Loops, flat: Array, kinds: Groups) -> Array:
    lengths = [n for n, _ in kinds]
    if kinds and kinds[-1][1]:  # the last numbers are brought to one: those of rows
        rows = loops.rows(flat, len(flat) // lengths[-1])
        return loops.join(rows.reshape(lengths[:-1]), axis=0) if len(kinds) == 3 else rows
    if len(kinds) < 2:
        return flat.astype(loops.dtype or flat.dtype)
    outer = lengths[0] if len(kinds) == 3 else 1
    return loops.columns(flat, outer, lengths[-2], lengths[-1])


def row_totals(flat: Array, rows: int) -> Array:
    """The sum of each of so many rows."""
    length = len(flat) // rows
    pieces = block_count(length, RUNS * RUN)
    parts = np.empty((rows, pieces))
    parallel(_row_totals, rows * pieces, parts.reshape(-1), flat, length, pieces)
    return parts[:, 0] if pieces == 1 else parts.sum(axis=1)


def column_totals(flat: Array, outer: int, rows: int, columns: int) -> Array:
    """The sums along the middle of (outer, rows, columns)."""
    fold = folded(rows, columns)
    blocks = block_count(rows // fold, BLOCK_ROWS)
    parts = np.empty((outer, blocks, columns * fold))
    parallel(_column_totals, outer * blocks, parts.reshape(-1, columns * fold), flat, rows // fold, blocks)
    return parts if blocks * fold == 1 else parts.reshape(outer, blocks * fold, columns).sum(axis=1)


def folded(rows: int, columns: int) -> int:
    """How many short rows count as one."""
    fold = 1
    while fold * columns < WIDTH and rows % (2 * fold) == 0:
        fold *= 2
    return fold


@kernel("float64[::1], const T[::1], intp, intp", T=FLOATS)
def _row_totals(begin: int, end: int, parts: Array, x: Array, length: int, pieces: int) -> None:
    for unit in range(begin, end):
        first = unit % pieces * RUNS * RUN
        last = min(first + RUNS * RUN, length)
        total = 0.0
        for at in range(first, last, RUN):
            total += row_sum(x, unit // pieces * length + at, min(RUN, last - at))
        parts[unit] = total


@kernel("float64[:, ::1], const T[::1], intp, intp", T=FLOATS)
def _column_totals(begin: int, end: int, parts: Array, x: Array, rows: int, blocks: int) -> None:
    width = parts.shape[1]
    for unit in range(begin, end):
        top = unit // blocks * rows
        first = unit % blocks * BLOCK_ROWS
        last = min(first + BLOCK_ROWS, rows)
        total = np.zeros(width, x.dtype)
        even = first + (last - first) // 4 * 4
        for r in range(first, even, 4):
            at = (top + r) * width
            a, b = x[at : at + width], x[at + width : at + 2 * width]
            c, d = x[at + 2 * width : at + 3 * width], x[at + 3 * width : at + 4 * width]
            for i in range(width):
                total[i] += (a[i] + b[i]) + (c[i] + d[i])
        for r in range(even, last):
            a = x[(top + r) * width : (top + r + 1) * width]
            for i in range(width):
                total[i] += a[i]
        for i in range(width):
            parts[unit, i] = total[i]


SUMS = Loops(row_totals, column_totals, np.sum, np.float64)


def _extreme_loops(row_extreme: Any, beyond: Any, join: Callable[..., Array]) -> Loops:
    """The loops of the largest or of the smallest number; NaN if there is one."""

    @kernel("T[::1], const T[::1], intp, intp", T=FLOATS)
    def of_rows(begin: int, end: int, parts: Array, x: Array, length: int, pieces: int) -> None:
        for unit in range(begin, end):
            first = unit % pieces * RUNS * RUN
            count = min(RUNS * RUN, length - first)
            parts[unit] = row_extreme(x, unit // pieces * length + first, count)

    @kernel("T[::1], const T[::1], intp, intp, intp, intp", T=FLOATS)
    def of_columns(
        begin: int, end: int, parts: Array, x: Array, rows: int, width: int, blocks: int, most: int
    ) -> None:  # fmt: skip
        for unit in range(begin, end):
            first = unit % blocks * most
            at = (unit // blocks * rows + first) * width
            move_line(parts, unit * width, x, at, width)
            for r in range(1, min(most, rows - first)):
                places = pointer_to(parts, unit * width), pointer_to(x, at + r * width)
                for i in range(width):
                    old, new = taken(places, i)
                    put(places, i, (new if beyond(new, old) or new != new else old,))

    def rows(flat: Array, count: int) -> Array:
        length = len(flat) // count
        pieces = block_count(length, RUNS * RUN)
        parts = np.empty((count, pieces), flat.dtype)
        parallel(of_rows, count * pieces, parts.reshape(-1), flat, length, pieces)
        return parts[:, 0] if pieces == 1 else join(parts, axis=1)

    def columns(flat: Array, outer: int, count: int, width: int) -> Array:
        fold = folded(count, width)
        most = max(BLOCK_ROWS, RUNS * RUN // (width * fold))
        blocks = block_count(count // fold, most)
        parts = np.empty((outer, blocks, width * fold), flat.dtype)
        parallel(of_columns, outer * blocks, parts.reshape(-1), flat, count // fold, width * fold, blocks, most)
        return parts if blocks * fold == 1 else join(parts.reshape(outer, blocks * fold, width), axis=1)

    return Loops(rows, columns, join, None)


@inline
def _above(x: Any, y: Any) -> Any:
    return x > y


@inline
def _below(x: Any, y: Any) -> Any:
    return x < y


LARGEST = _extreme_loops(row_largest, _above, np.max)
SMALLEST = _extreme_loops(row_smallest, _below, np.min)
