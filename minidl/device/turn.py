"""Copies of arrays into another order of memory, where NumPy's take five times as long as reading and writing.

Whatever the dimensions, two of them count: the one along which the copy lies side by side, and the one along which the
original does. If they are the same, lines are moved. If not, each pair of them is a matrix, which is turned in
registers (`transpose.py`; `narrow.py` where it has few rows or columns). All other dimensions are walked through.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minidl.device.compile import Kernel, kernel
from minidl.device.device import CPU, Array
from minidl.device.inline import Inline, inline
from minidl.device.layout import channels_last_view, dense_order
from minidl.device.lines import move_line, repeat_number
from minidl.device.memory import empty
from minidl.device.narrow import columns_apart, columns_together
from minidl.device.numba_status import numba_status
from minidl.device.threads import parallel
from minidl.device.transpose import transpose

FLOATS = ("float32", "float64")
LEAST = 16384  # numbers: fewer suit NumPy
TILE = 128  # rows and columns of a matrix that are turned as a unit of work
UNIT = 8192  # numbers in a unit of lines, and in a block
NARROW = 8  # rows or columns for which most of a square of registers would be empty
# A dimension: its length, and how far the copy and the original go for its next number.
Dim = tuple[int, int, int]


def channels_last(array: Array) -> Array:
    """(N, C, *space) as a C-contiguous (N, *space, C): a view where it lies so, else a copy."""
    return contiguous(channels_last_view(array))


def contiguous(array: Array) -> Array:
    """`array` if it is C-contiguous, else a copy that is.

    8 images of 64 channels, 64², one core of a Zen 3: NumPy 7.0 ms, turned 1.6. 8 images of 4 channels, 128², one core
    of a Zen 5: NumPy 0.31, turned 0.10.
    """
    if array.flags.c_contiguous:
        return array
    out = empty(CPU, array.shape, array.dtype)
    copy_into(out, array)
    return out


def in_one_line(like: Array, order: tuple[int, ...] | None = None) -> Callable[[Array], Array]:
    """What gives an array that lies like this one in one dimension, its dimensions in such an order (None: in theirs).

    It is a view where memory allows, else a copy.
    """
    if not (like if order is None else like.transpose(order)).flags.c_contiguous:
        return lambda array: contiguous(array if order is None else array.transpose(order)).reshape(-1)
    return _in_line if order is None else lambda array: array.transpose(order).reshape(-1)


def _in_line(array: Array) -> Array:
    return array.reshape(-1)


def reshaped(array: Array, shape: tuple[int, ...]) -> Array:
    """`array` in another shape: a view where its memory allows, else a copy."""
    if array.flags.c_contiguous or array.size < LEAST or _may_view(array.shape, array.strides, shape):
        return array.reshape(shape)
    return contiguous(array).reshape(shape)


@functools.lru_cache(maxsize=1024)
def _may_view(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """Whether memory with these strides can be seen in the new shape: no new dimension goes across a change of step."""
    wanted = [n for n in reversed(new) if n != 1]
    for length, _, _ in _merged(old, strides):
        left = length
        while left > 1:
            if not wanted or left % wanted[-1]:
                return False
            left //= wanted.pop()
    return True


def copy_into(out: Array, array: Array) -> None:
    """Write the numbers of `array` to an array of the same shape and type, each lying as it does."""
    order = None if out.flags.c_contiguous else dense_order(out)
    straight, seen = (out, array) if order is None else (out.transpose(order), array.transpose(order))
    way = None
    if array.size >= LEAST and straight.flags.c_contiguous and array.dtype.char in "fd" and numba_status():
        way = _way(seen.shape, seen.strides, seen.itemsize)
    if way is None:
        out[...] = array
    else:
        parallel(way.run, way.units, straight.reshape(-1), _memory_of(seen, way.span), way.table, block=way.block)


class Way(NamedTuple):
    """How a copy is made.

    Attributes:
        table: for lines, and for matrices: see the kernels; then the other dimensions, the innermost first.
        span: how many numbers lie between the first and the last of the original.
    """

    run: Kernel
    units: int
    block: int
    table: Array
    span: int


@functools.lru_cache(maxsize=1024)
def _way(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> Way | None:
    """The way of copying an array of this shape and these strides to a C-contiguous one; None if that is NumPy's."""
    if any(s < 0 or s % itemsize for s in strides):
        return None
    dims = _merged(shape, tuple([s // itemsize for s in strides]))
    span = 1 + sum([(n - 1) * step for n, _, step in dims])
    if dims[-1][2] <= 1:
        return _way_of_lines(dims, span)
    across = next((d for d in dims if d[2] == 1), None)
    return None if across is None else _way_of_matrices(dims, across, span)


def _merged(shape: tuple[int, ...], steps: tuple[int, ...]) -> list[Dim]:
    """The dimensions, neighbours as one where the original goes on along both in the same steps."""
    dims: list[Dim] = []
    step_out = 1
    for n, step in zip(reversed(shape), reversed(steps), strict=True):
        if n == 1:
            continue
        if dims and step == dims[0][0] * dims[0][2]:
            dims[0] = (n * dims[0][0], *dims[0][1:])
        else:
            dims.insert(0, (n, step_out, step))
        step_out *= n
    return dims


def _way_of_lines(dims: list[Dim], span: int) -> Way:
    """Each unit is several lines of the dimension before the last, or a piece of a long one."""
    *outer, rows, (total, _, step) = [(1, 0, 0), *dims]
    length = min(total, UNIT)
    if length < total:
        outer.append(rows)
        rows = -(-total // length), length, length * step
    count = min(rows[0], UNIT // length)
    header = [(length, step, count), rows, (total, length if length < total else 0, 0)]
    units = math.prod([d[0] for d in outer]) * -(-rows[0] // count)
    block = max(1, UNIT // (count * length))
    return Way(_move_lines, units, block, np.array([*header, *reversed(outer)], np.int64), span)


def _way_of_matrices(dims: list[Dim], across: Dim, span: int) -> Way:
    """The last dimension counts the rows of matrices in the original, `across` their columns."""
    last = dims[-1]
    rows, columns = last[0], across[0]
    outer = [d for d in dims if d not in (last, across)]
    run, tile_rows, tile_columns = _turn, max(TILE, TILE * TILE // columns), max(TILE, TILE * TILE // rows)
    if columns < NARROW and last[2] == columns:
        run = _turn_few_columns
    elif rows < NARROW and across[1] == rows:
        run = _turn_few_rows
    tile_rows, tile_columns = min(rows, tile_rows), min(columns, tile_columns)
    header = [(rows, last[2], tile_rows), (columns, across[1], tile_columns)]
    units = math.prod([d[0] for d in outer]) * -(-rows // tile_rows) * -(-columns // tile_columns)
    block = max(1, UNIT // (tile_rows * tile_columns))
    return Way(run, units, block, np.array([*header, *reversed(outer)], np.int64), span)


def _memory_of(array: Array, span: int) -> Array:
    """The memory that an array without negative strides lies in, as one line."""
    order = dense_order(array)
    if order is not None:  # in a fifth of the time
        return array.transpose(order).reshape(-1)
    return as_strided(array, (span,), (array.itemsize,), writeable=False)


@kernel("T[::1], const T[::1], const int64[:, ::1]", T=FLOATS)
def _move_lines(begin: int, end: int, out: Array, x: Array, table: Array) -> None:
    """The table has (length of a line, its step, lines in a unit), the lines, and (length of all pieces, of one)."""
    length, is_moved, most = table[0, 0], table[0, 1], table[0, 2]
    rows, step_out, step = table[1, 0], table[1, 1], table[1, 2]
    groups = -(-rows // most)
    for unit in range(begin, end):
        row, rest = unit % groups * most, unit // groups
        to, at = row * step_out, row * step
        for d in range(3, len(table)):
            index = rest % table[d, 0]
            rest //= table[d, 0]
            to += index * table[d, 1]
            at += index * table[d, 2]
        for r in range(row, min(row + most, rows)):
            count = min(length, table[2, 0] - r * table[2, 1])
            if is_moved:
                move_line(out, to, x, at, count)
            else:
                repeat_number(out, to, x, at, count)
            to += step_out
            at += step


@inline
def _tile(out: Any, to: int, step_out: int, x: Any, at: int, step: int, rows: int, columns: int) -> None:
    transpose(out, to, step_out, x, at, step, rows, columns)


@inline
def _tile_of_few_columns(out: Any, to: int, step_out: int, x: Any, at: int, step: int, rows: int, columns: int) -> None:
    columns_apart(out[to:], step_out, x, at, rows, columns)


@inline
def _tile_of_few_rows(out: Any, to: int, step_out: int, x: Any, at: int, step: int, rows: int, columns: int) -> None:
    columns_together(out, to, x[at:], step, columns, rows)


def _turning(turn_tile: Inline) -> Kernel:
    """The kernel that turns matrices: each unit is a tile of one."""

    @kernel("T[::1], const T[::1], const int64[:, ::1]", T=FLOATS)
    def turn(begin: int, end: int, out: Array, x: Array, table: Array) -> None:
        rows, step, most_rows = table[0, 0], table[0, 1], table[0, 2]
        columns, step_out, most_columns = table[1, 0], table[1, 1], table[1, 2]
        down, along = -(-rows // most_rows), -(-columns // most_columns)
        for unit in range(begin, end):
            row, rest = unit % down * most_rows, unit // down
            column, rest = rest % along * most_columns, rest // along
            to, at = column * step_out + row, row * step + column
            for d in range(2, len(table)):
                index = rest % table[d, 0]
                rest //= table[d, 0]
                to += index * table[d, 1]
                at += index * table[d, 2]
            turn_tile(out, to, step_out, x, at, step, min(most_rows, rows - row), min(most_columns, columns - column))

    return turn


_turn, _turn_few_columns, _turn_few_rows = map(_turning, (_tile, _tile_of_few_columns, _tile_of_few_rows))
