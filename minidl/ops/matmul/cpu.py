"""Products of matrices on the micro-kernel, with bias and activation before the result leaves the cache.

A is read where it lies, or, where it lies step by step a page apart, packed a block at a time. B is read where it lies
too if it is met by few rows; else it is packed in panels of two vectors of columns, so that the micro-kernel reads it
in order (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). `cut.py` says how the work
is cut. Every number of C is summed in the order of k, or in pieces that are added up in order and depend on sizes
alone, so threads do not change a bit.

Matrices may lie anywhere, with any step from one to the next (views of heads, transposed or broadcast operands):
kernels get pointers to the arrays and a table of where each matrix of the batch begins.

2·M·N·K operations on M·K + K·N + M·N numbers, and K·N once more to pack. Two cores of a Zen 4, float32, GFLOP/s:

| M, K, N | this | MKL |
|---|---|---|
| 512, 512, 512 | 183 | 163 |
| 1024, 1024, 1024 | 194 | 184 |
| 256, 784, 512, B transposed | 171 | 158 |
| 8192, 256, 64, B transposed | 147 | 112 |
| 256, 2048, 256, A transposed | 178 | 155 |
| 64, 25088, 64, A transposed | 144 | 121 |
| 50, 384, 128 | 90 | 123 |

(of a limit of 215). Few rows with a transposed weight, as in inference of one sample, are sums along its rows instead
(`few_rows`): packing would cost more than the product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, parallel
from minidl.device.determinism import is_batch_invariant
from minidl.device.dtypes import DType
from minidl.device.microkernel import panel_columns, panel_count, tile_rows
from minidl.device.pointers import cells
from minidl.device.scratch import give_back, lend, scratch
from minidl.ops.matmul.blocks import ROLES, blocks, collect, few_rows, panels
from minidl.ops.matmul.cut import DIRECT, OWN, PACKED, Cut, Problem, cut_of
from minidl.ops.matmul.finish import NONE

WORTH, WORTH_OF_FEW = 1 << 19, 1 << 15  # operations of a product, of many rows and of few
PIECES = 32  # that the columns of few rows are cut into, at most
FEW = 4  # rows that are not worth packing for
APART = 2048  # bytes from step to step of A from which on copies are faster
LEAST = 1 << 16  # operations in a block that a thread takes
PLAIN = (False, NONE, False, False, False)  # nothing but the product


def is_worth_it(size: int, y: tuple[int, ...]) -> bool:
    """Whether a product of `size` numbers with matrices `y` is worth a kernel, which takes 3 us more to call.

    OpenBLAS does those below on one thread by itself; on more it would keep the cores busy for 30 ms after each.
    """
    operations = 2 * size * y[-1]
    return is_batch_invariant() or operations >= WORTH or (size <= FEW * y[-2] and operations >= WORTH_OF_FEW)


def multiply(out: Array, x: Array, y: Array) -> None:
    """out = x times y, by a kernel or by NumPy."""
    if is_worth_it(x.size, y.shape):
        product(out, x, y)
    else:
        np.matmul(x, y, out=out)


def accumulate(out: Array, x: Array, y: Array) -> None:
    """out += x times y, by a kernel or by NumPy."""
    if len(out) > FEW and is_worth_it(x.size, y.shape):
        product(out, x, y, onto=True)
    else:
        total = np.empty(out.shape, out.dtype)
        multiply(total, x, y)
        out += total


def product(
    out: Array, x: Array, y: Array, bias: Array | None = None, activation: int = NONE, kept: Array | None = None,
    *, added: Array | None = None, onto: bool = False,
) -> None:  # fmt: skip
    """out (..., M, N) = activation(x (..., M, K) times y (..., K, N), plus bias (N,) and `added`).

    Leading dimensions broadcast.

    Args:
        activation: its number in `finish.py`.
        kept: C-contiguous and like `out`, to be filled with what the activation is given; or None.
        added: C-contiguous and like `out`, or None.
        onto: sums begin with what is in `out`, whose rows must lie in one piece; without a bias, and for more rows than
            `FEW`.
    """
    if not out.size:
        return
    if out.strides[-1] != out.itemsize:
        straight = empty(CPU, out.shape, out.dtype)
        product(straight, x, y, bias, activation, kept, added=added)
        out[...] = straight
        return
    x, y = _in_lines(x), _in_lines(y)
    is_finished = activation != NONE or kept is not None or added is not None
    plan = _plan(out.shape, out.strides, x.shape, x.strides, y.shape, y.strides, out.dtype, is_batch_invariant(),
                 is_finished)  # fmt: skip
    start = _zeros(out.dtype) if bias is None else np.ascontiguousarray(bias)
    shape = plan.shapes[bias is not None, activation, kept is not None, added is not None, onto]
    kept, added = (out if a is None else a for a in (kept, added))
    if plan.cut is None:
        table, keep = cells([out, x, y, start, kept, added, out], len(ROLES))
        parallel(few_rows, plan.units, start, table, plan.places, shape, size=plan.size)
        return
    if plan.cut.pieces > 1 or plan.cut.way == PACKED:
        _in_several_calls(plan, [out, x, y, start, kept, added], shape)
        return
    table, keep = cells([out, x, y, start, kept, added, out], len(ROLES))
    _run(plan, start, table, shape)
    del keep


def _run(plan: _Plan, start: Array, table: Array, shape: Array) -> None:
    """Call `blocks` for all units; what one thread does alone is called directly, which saves 3 us."""
    if not plan.scratch:
        parallel(blocks, plan.units, start, table, plan.places, shape, start, block=plan.block, size=plan.size)
    elif plan.units <= plan.block:
        memory, room = lend(plan.scratch, start.dtype)
        try:
            blocks.run(0, 0, 0, 0, 0, 0, plan.units, start, table, plan.places, shape, room)
        finally:
            give_back(memory)
    else:
        parallel(blocks, plan.units, start, table, plan.places, shape, block=plan.block, scratch_size=plan.scratch,
                 size=plan.size)  # fmt: skip


def _in_several_calls(plan: _Plan, arrays: list[Array], shape: Array) -> None:
    """Pack panels of B, if so planned; make the products; add up pieces of sums, if there are any."""
    out, x, y, start, kept, added = arrays
    cut, plain = plan.cut, plan.shapes[PLAIN]
    assert cut is not None
    with _panels_of(plan, y) as packed, _sums_of(cut, out) as sums:
        first, numbers = (start, shape) if cut.pieces == 1 else (_zeros(out.dtype), plain)
        table, keep = cells([sums, x, y, first, kept, added, packed], len(ROLES))
        _run(plan, first, table, numbers)
        if cut.pieces > 1:
            table, keep = cells([out, x, y, start, kept, added, sums], len(ROLES))
            parallel(collect, plan.lines, start, table, plan.ends, shape, size=sums.nbytes)
    del keep


@contextmanager
def _panels_of(plan: _Plan, y: Array) -> Iterator[Array]:
    """The panels of B, if they are packed first.

    (To keep those of a weight that does not change takes a look at its numbers, which costs as much as to pack them.)
    """
    assert plan.cut is not None
    if plan.cut.way != PACKED:
        yield y
        return
    with scratch(plan.packed, y.dtype) as room:
        table, keep = cells([y] * len(ROLES), len(ROLES))
        parallel(panels, plan.panels, room, table, plan.places, plan.shapes[PLAIN], size=y.nbytes)
        del keep
        yield room


@contextmanager
def _sums_of(cut: Cut, out: Array) -> Iterator[Array]:
    """Where the sums go: room for all pieces, or the result itself."""
    if cut.pieces == 1:
        yield out
        return
    with scratch(cut.pieces * out.size, out.dtype) as sums:
        yield sums


def _in_lines(a: Array) -> Array:
    """The array itself if its rows or its columns lie side by side, else a copy."""
    return a if a.itemsize in a.strides[-2:] or 1 in a.shape[-2:] else np.ascontiguousarray(a)


@functools.cache
def _zeros(dtype: DType) -> Array:
    return np.zeros(panel_columns(dtype), dtype)


class _Shapes(dict[tuple[bool, int, bool, bool, bool], Array]):
    """The numbers of a product for kernels: with a bias, by activation, whether its input is kept, what is added, and
    whether sums begin with what is in the result."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.numbers = numbers

    def __missing__(self, key: tuple[bool, int, bool, bool, bool]) -> Array:
        self[key] = np.array((*self.numbers, *key), np.int64)
        return self[key]


class _Plan(NamedTuple):
    """How a product of arrays that lie so is made."""

    cut: Cut | None  # None: few rows, by sums along lines
    units: int
    block: int  # units that a thread takes at once
    scratch: int  # numbers that a thread needs
    panels: int  # of all B together
    packed: int  # numbers in them
    lines: int  # of all C together
    places: Array  # where the matrices of out (or of its sums), x and y begin
    ends: Array  # where those of out begin
    shapes: _Shapes
    size: int  # in place of bytes: what the time depends on


@functools.lru_cache(maxsize=1024)
def _plan(
    out: tuple[int, ...], out_strides: tuple[int, ...], x: tuple[int, ...], x_strides: tuple[int, ...],
    y: tuple[int, ...], y_strides: tuple[int, ...], dtype: DType, is_invariant: bool,
    is_finished: bool,
) -> _Plan:  # fmt: skip
    (rows, columns), steps, batch, item = out[-2:], x[-1], out[:-2], dtype.itemsize
    count, width, tile = math.prod(batch), panel_columns(dtype), tile_rows(2)
    ldc, _ = _steps(out, out_strides, item)
    a_row, a_step = _steps(x, x_strides, item)
    b_step, b_column = _steps(y, y_strides, item)
    ends = np.stack([matrix_places(batch, s[:-2], t[:-2], item)
                     for s, t in ((out, out_strides), (x, x_strides), (y, y_strides))])  # fmt: skip
    size = max(1, 2 * count * rows * columns * steps // 8)
    if rows <= FEW and a_step == b_step == 1 and not is_invariant:
        pieces = min(columns, PIECES)
        stripe = -(-columns // pieces)
        across = -(-columns // stripe)
        shapes = _Shapes((rows, columns, steps, ldc, a_row, a_step, b_step, b_column, rows, 1, stripe, across,
                          *(0,) * 7))  # fmt: skip
        return _Plan(None, count * across, 1, 0, 0, 0, 0, ends, ends, shapes, size)
    is_wide = a_row != 1 or a_step * item >= APART
    cut = cut_of(Problem(count, rows, columns, steps, a_step != 1, is_wide, b_column != 1, is_invariant,
                         is_finished), dtype)  # fmt: skip
    places, out_row = ends, ldc
    if cut.pieces > 1:
        ldc, places = columns, ends.copy()
        places[0] = np.arange(count) * (rows * columns)
    height, stripe = min(cut.height, -(-rows // tile) * tile), min(cut.stripe, -(-columns // width) * width)
    copied = 0 if a_step == 1 else height if is_wide else tile if rows % tile else 0  # rows of A
    of_a = copied * cut.run + 2 * width if copied else 0
    of_b = stripe * cut.run if cut.way == OWN else width * cut.run if cut.way == DIRECT and columns % width else 0
    shapes = _Shapes((rows, columns, steps, ldc, a_row, a_step, b_step, b_column, cut.height, cut.down, cut.stripe,
                      cut.across, cut.piece, cut.pieces, cut.run, cut.way, of_b, is_wide, out_row))  # fmt: skip
    units, wide = count * cut.down * cut.across * cut.pieces, panel_count(columns, dtype)
    block = max(1, min(-(-units // 32), units), -(-units * LEAST // max(1, 8 * size)))
    return _Plan(cut, units, block, of_a + of_b, count * wide, count * wide * width * steps, count * rows,
                 places, ends, shapes, size)  # fmt: skip


def _steps(shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> tuple[int, int]:
    """How far it is from row to row and from column to column; where there is one only, what suits it best."""
    (rows, columns), (down, across) = shape[-2:], (s // item for s in strides[-2:])
    if columns == 1:
        across = 1
    if rows == 1:
        down = columns if across == 1 else 1
    return down, across


def matrix_places(batch: tuple[int, ...], shape: tuple[int, ...], strides: tuple[int, ...], item: int) -> Array:
    """Where each matrix of a batch begins, in numbers from the first one."""
    lead = len(batch) - len(shape)
    total = np.zeros(batch, np.int64)
    for d, (n, s) in enumerate(zip(shape, strides, strict=True)):
        if n > 1:
            total += (np.arange(n) * (s // item)).reshape(-1, *[1] * (len(batch) - lead - d - 1))
    return total.reshape(-1)
