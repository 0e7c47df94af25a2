"""Sums along dimensions by compiled loops, for arrays in any dense order of memory.

Dimensions that lie side by side in memory and are both kept or both summed count as one. What is left are rows whose
numbers are summed, or matrices whose rows are: vectors then hold what stays apart. Runs of a few thousand numbers are
added in the array's own type, the runs in float64 and in their order, so the bits do not depend on the number of
threads.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl.core import Array
from minidl.device import block_count, kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.row_sums import row_sum

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


def can_sum(x: Array, dims: tuple[int, ...]) -> bool:
    """Whether `sums` has a loop for this array: dense, and of at most three groups."""
    order = dense_order(x)
    return order is not None and x.size > 0 and len(groups(x.shape, order, dims)) <= 3


def sums(x: Array, dims: tuple[int, ...]) -> Array:
    """The sums along `dims`, as float64, in the shape and order of the dimensions that are kept."""
    order = dense_order(x)
    assert order is not None
    kinds = groups(x.shape, order, dims)
    flat = x.transpose(order).reshape(-1)
    kept = [d for d in order if d not in dims]
    total = _sums(flat, kinds).reshape([x.shape[d] for d in kept])
    return total if kept == sorted(kept) else total.transpose(np.argsort(kept))


def _sums(flat: Array, kinds: Groups) -> Array:
    lengths = [n for n, _ in kinds]
    if kinds and kinds[-1][1]:  # the last numbers are summed: of rows
        rows = row_totals(flat, len(flat) // lengths[-1])
        return rows.reshape(lengths[:-1]).sum(axis=0) if len(kinds) == 3 else rows
    if len(kinds) < 2:
        return flat.astype(np.float64)
    outer = lengths[0] if len(kinds) == 3 else 1
    return column_totals(flat, outer, lengths[-2], lengths[-1])


def row_totals(flat: Array, rows: int) -> Array:
    """The sum of each of so many rows."""
    length = len(flat) // rows
    pieces = block_count(length, RUNS * RUN)
    parts = np.empty((rows, pieces))
    parallel(_row_totals, rows * pieces, parts.reshape(-1), flat, length, pieces)
    return parts[:, 0] if pieces == 1 else parts.sum(axis=1)


def column_totals(flat: Array, outer: int, rows: int, columns: int) -> Array:
    """The sums along the middle of (outer, rows, columns)."""
    fold = 1
    while fold * columns < WIDTH and rows % (2 * fold) == 0:
        fold *= 2
    blocks = block_count(rows // fold, BLOCK_ROWS)
    parts = np.empty((outer, blocks, columns * fold))
    parallel(_column_totals, outer * blocks, parts.reshape(-1, columns * fold), flat, rows // fold, blocks)
    return parts if blocks * fold == 1 else parts.reshape(outer, blocks * fold, columns).sum(axis=1)


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
