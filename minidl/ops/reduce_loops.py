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
from minidl.device import Kernel, block_count, kernel
from minidl.device.column_tiles import VECTORS, column_largest, column_smallest, column_sums
from minidl.device.dtypes import DType
from minidl.device.layout import dense_order
from minidl.device.row_sums import row_largest, row_smallest, row_sum
from minidl.device.threads import Blocks
from minidl.device.turn import in_one_line
from minidl.device.vectors import lanes

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
        rows: (dtype, size, rows) to what gives one number for each row of a flat array of so many numbers.
        columns: (dtype, outer, rows, columns) to what gives (outer, columns), along the middle.
        join: NumPy's function for what is left.
        dtype: of results, None for that of the array.
    """

    rows: Callable[[DType, int, int], Reduction]
    columns: Callable[[DType, int, int, int], Reduction]
    join: Callable[..., Array]
    dtype: type[np.generic] | None


# (*arrays) -> what is left of them.
Reduction = Callable[..., Array]


def reduction(loops: Loops, dims: tuple[int, ...], *likes: Array) -> Reduction:
    """What the loops make along `dims` of arrays that lie like these: the dimensions that are kept, in their order.

    The first one is dense, and all have its shape.
    """
    shape, order = likes[0].shape, dense_order(likes[0])
    assert order is not None
    lines = [in_one_line(like, order) for like in likes]
    reduce = _of_groups(loops, likes[0].dtype, likes[0].size, groups(shape, order, dims))
    kept = [d for d in order if d not in dims]
    left, back = [shape[d] for d in kept], tuple(np.argsort(kept))

    def run(*arrays: Array) -> Array:
        total = reduce(*[line(a) for line, a in zip(lines, arrays, strict=True)])
        return total.reshape(left).transpose(back)

    return run


def _of_groups(loops: Loops, dtype: DType, size: int, kinds: Groups) -> Reduction:
    lengths, join = [n for n, _ in kinds], loops.join
    if kinds and kinds[-1][1]:  # the last numbers are brought to one: those of rows
        rows = loops.rows(dtype, size, size // lengths[-1])
        return (lambda *flat: join(rows(*flat).reshape(lengths[:-1]), axis=0)) if len(kinds) == 3 else rows
    if len(kinds) < 2:
        return lambda flat: flat.astype(loops.dtype or flat.dtype)
    return loops.columns(dtype, lengths[0] if len(kinds) == 3 else 1, lengths[-2], lengths[-1])


def rows_by(
    kernel: Kernel, join: Callable[..., Array] = np.sum, made: type[np.generic] | None = np.float64
) -> Callable[[DType, int, int], Reduction]:
    """What is left of rows, by a kernel (parts, *flat, length, pieces) whose parts have the type `made`."""

    def of(dtype: DType, size: int, rows: int) -> Reduction:
        length = size // rows
        pieces = block_count(length, RUNS * RUN)
        reduce = Blocks(kernel, rows * pieces, size=size * dtype.itemsize)

        def run(*flat: Array) -> Array:
            parts = np.empty((rows, pieces), made or dtype)
            reduce(parts.reshape(-1), *flat, length, pieces)
            return parts[:, 0] if pieces == 1 else join(parts, axis=1)

        return run

    return of


def columns_by(kernel: Kernel) -> Callable[[DType, int, int, int], Reduction]:
    """Sums along the middle of (outer, rows, columns) by a kernel (parts, *flat, rows, width, blocks)."""

    def of(dtype: DType, outer: int, rows: int, columns: int) -> Reduction:
        fold = folded(rows, columns)
        rows, width = rows // fold, columns * fold
        blocks = block_count(rows, BLOCK_ROWS)
        total = Blocks(kernel, outer * blocks, size=outer * rows * width * dtype.itemsize)

        def run(*flat: Array) -> Array:
            parts = np.empty((outer, blocks * fold, columns))
            total(parts.reshape(-1), *flat, rows, width, blocks)
            return parts[:, 0] if blocks * fold == 1 else parts.sum(axis=1)

        return run

    return of


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


@kernel("float64[::1], const T[::1], intp, intp, intp", T=FLOATS)
def _column_totals(begin: int, end: int, parts: Array, x: Array, rows: int, width: int, blocks: int) -> None:
    for unit in range(begin, end):
        first = unit % blocks * BLOCK_ROWS
        at, count = (unit // blocks * rows + first) * width, min(BLOCK_ROWS, rows - first)
        for j in range(0, width, VECTORS * lanes(x)):
            column_sums(parts, unit * width + j, x, x, at + j, width, count, width - j)


SUMS = Loops(rows_by(_row_totals), columns_by(_column_totals), np.sum, np.float64)


def _extreme_loops(row_extreme: Any, column_extreme: Any, join: Callable[..., Array]) -> Loops:
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
            at, count = (unit // blocks * rows + first) * width, min(most, rows - first)
            for j in range(0, width, VECTORS * lanes(x)):
                column_extreme(parts, unit * width + j, x, x, at + j, width, count, width - j)

    def columns(dtype: DType, outer: int, rows: int, columns: int) -> Reduction:
        fold = folded(rows, columns)
        rows, width = rows // fold, columns * fold
        most = max(BLOCK_ROWS, RUNS * RUN // width)
        blocks = block_count(rows, most)
        reduce = Blocks(of_columns, outer * blocks, size=outer * rows * width * dtype.itemsize)

        def run(flat: Array) -> Array:
            parts = np.empty((outer, blocks * fold, columns), dtype)
            reduce(parts.reshape(-1), flat, rows, width, blocks, most)
            return parts[:, 0] if blocks * fold == 1 else join(parts, axis=1)

        return run

    return Loops(rows_by(of_rows, join, None), columns, join, None)


LARGEST = _extreme_loops(row_largest, column_largest, np.max)
SMALLEST = _extreme_loops(row_smallest, column_smallest, np.min)
