"""What follows from how the arrays of a product lie: the numbers that kernels get, and what they need."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device.dtypes import DType
from minidl.device.microkernel import panel_columns, panel_count, tile_rows
from minidl.ops.matmul.cut import DIRECT, OWN, PACKED, Cut, Problem, cut_of
from minidl.ops.matmul.finish import NONE

FEW = 4  # rows that are not worth packing for
PIECES = 32  # that the columns of few rows are cut into, at most
APART = 2048  # bytes from step to step of A from which on copies are faster
LEAST = 1 << 16  # operations in a block that a thread takes

Form = tuple[tuple[int, ...], tuple[int, ...]]  # shape and strides
form_of = attrgetter("shape", "strides")


class How(NamedTuple):
    """What comes behind a product, and whether sums begin with what is in the result."""

    activation: int
    is_kept: bool
    is_added: bool
    onto: bool

    @property
    def is_more(self) -> bool:
        """Whether there is something that reads the rows of the result again."""
        return self.activation != NONE or self.is_kept or self.is_added


_PLAIN = How(NONE, False, False, False)


class Plan(NamedTuple):
    """How a product of arrays that lie so is made."""

    cut: Cut | None  # None: few rows, by sums along lines
    units: int
    block: int  # units that a thread takes at once
    scratch: int  # numbers that a thread needs
    panels: int  # of all B together
    packed: int  # numbers in them, 0 unless they are packed first
    lines: int  # of all C together
    sums: int  # numbers in all pieces of sums
    places: Array  # where the matrices of out (or of its sums), x and y begin
    ends: Array  # where those of out begin
    sizes: tuple[int, ...]
    how: How
    size: int  # in place of bytes: what the time depends on

    def numbers(self, has_bias: bool, places: Array | None = None) -> Array:
        """What kernels get to know."""
        return self._told((has_bias, *self.how), self.places if places is None else places)

    def plain(self) -> Array:
        """The same for nothing but the product."""
        return self._told((False, *_PLAIN), self.places)

    def _told(self, how: tuple[int, ...], places: Array) -> Array:
        return np.array((*self.sizes, *how, places.shape[1], *places.reshape(-1)), np.int64)


def plan_of(out: Form, x: Form, y: Form, dtype: DType, is_invariant: bool, how: How) -> Plan:
    """The plan for arrays whose rows or columns lie side by side, those of `out` its rows."""
    (rows, columns), steps, batch, item = out[0][-2:], x[0][-1], out[0][:-2], dtype.itemsize
    count, width, tile = math.prod(batch), panel_columns(dtype), tile_rows(2)
    ldc, _ = _steps(*out, item)
    a_row, a_step = _steps(*x, item)
    b_step, b_column = _steps(*y, item)
    ends = np.stack([matrix_places(batch, s[:-2], t[:-2], item) for s, t in (out, x, y)])
    size = max(1, 2 * count * rows * columns * steps // 8)
    if rows <= FEW and a_step == b_step == 1 and not is_invariant:
        pieces = min(columns, PIECES)
        stripe = -(-columns // pieces)
        across = -(-columns // stripe)
        sizes = (rows, columns, steps, ldc, a_row, a_step, b_step, b_column, rows, 1, stripe, across, *(0,) * 7)
        return Plan(None, count * across, 1, 0, 0, 0, 0, 0, ends, ends, sizes, how, size)
    is_wide = a_row != 1 or a_step * item >= APART
    cut = cut_of(Problem(count, rows, columns, steps, a_step != 1, is_wide, b_column != 1, is_invariant,
                         how.is_more), dtype)  # fmt: skip
    places, out_row = ends, ldc
    if cut.pieces > 1:
        ldc, places = columns, ends.copy()
        places[0] = np.arange(count) * (rows * columns)
    height, stripe = min(cut.height, -(-rows // tile) * tile), min(cut.stripe, -(-columns // width) * width)
    copied = 0 if a_step == 1 else height if is_wide else tile if rows % tile else 0  # rows of A
    of_a = copied * cut.run + 2 * width if copied else 0
    of_b = stripe * cut.run if cut.way == OWN else width * cut.run if cut.way == DIRECT and columns % width else 0
    sizes = (rows, columns, steps, ldc, a_row, a_step, b_step, b_column, cut.height, cut.down, cut.stripe, cut.across,
             cut.piece, cut.pieces, cut.run, cut.way, of_b, is_wide, out_row)  # fmt: skip
    units, wide = count * cut.down * cut.across * cut.pieces, count * panel_count(columns, dtype)
    block = max(1, min(-(-units // 32), units), -(-units * LEAST // max(1, 8 * size)))
    return Plan(cut, units, block, of_a + of_b, wide, wide * width * steps if cut.way == PACKED else 0, count * rows,
                cut.pieces * count * rows * columns, places, ends, sizes, how, size)  # fmt: skip


def _steps(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> tuple[int, int]:
    """How far it is from row to row and from column to column; where there is one only, what suits it best."""
    (rows, columns), (down, across) = shape[-2:], (s // item for s in strides[-2:])
    if columns == 1:
        across = 1
    if rows == 1:
        down = columns if across == 1 else 1
    return down, across


def straight(shape: tuple[int, ...], item: int) -> Form:
    """A C-contiguous array of that shape."""
    return shape, tuple([item * math.prod(shape[d + 1 :]) for d in range(len(shape))])


def matrix_places(batch: tuple[int, ...], shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> Array:
    """Where each matrix of a batch begins, in numbers from the first one."""
    lead = len(batch) - len(shape)
    total = np.zeros(batch, np.int64)
    for d, (n, s) in enumerate(zip(shape, strides, strict=True)):
        if n > 1:
            total += (np.arange(n) * (s // item)).reshape(-1, *[1] * (len(batch) - lead - d - 1))
    return total.reshape(-1)
