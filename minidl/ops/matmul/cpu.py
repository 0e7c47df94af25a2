"""Products of matrices on the micro-kernel, with bias and activation before the result leaves the cache.

B is packed in panels of two vectors of columns, so that the micro-kernel reads it in order; A is read where it lies,
or, where it lies step by step (the gradient of a weight), packed a block at a time. The sums are cut into pieces of
256 steps: a panel of 256×32 numbers stays in the first-level cache while the rows of a block of A, which fit the
second, pass by it (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). Every number of C
is summed in the order of k, and blocks of C are shared out whole, so neither threads nor neighbours change a bit.

Matrices may lie anywhere, with any step from one to the next (views of heads, transposed or broadcast operands):
kernels get pointers to the arrays and a table of where each matrix of the batch begins. Small matrices are a unit of
work each and pack what they need; large ones are packed first, by all threads, and then cut into blocks.

2·M·N·K operations on M·K + K·N + M·N numbers, and K·N once more to pack. One core of a Zen 5, float32, GFLOP/s:

| M, K, N | this | NumPy's OpenBLAS | MKL |
|---|---|---|---|
| 512, 512, 512 | 200 | 132 | 120 |
| 256, 784, 512 (weight transposed) | 195 | 130 | 114 |
| 4608, 96, 288 | 205 | 135 | 115 |
| 4608, 384, 96 | 212 | 130 | 114 |

(of a limit of 255; on a Zen 3 with AVX2 67 to 76 beside OpenBLAS's 79). Few rows with a transposed weight, as in
inference of one sample, are sums along its rows instead (`few_rows`): packing would cost more than the product.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, inline, kernel, parallel
from minidl.device.determinism import is_batch_invariant
from minidl.device.dtypes import DType
from minidl.device.inline import separate
from minidl.device.line_products import line_products
from minidl.device.microkernel import gemm_taps, panel_columns, panel_count, tile_rows
from minidl.device.pointers import cells, pointers_at
from minidl.device.transpose import transpose
from minidl.device.turned_tiles import pack_columns, pack_rows, turned_rows, turned_tile
from minidl.device.vectors import lanes
from minidl.ops.matmul.finish import NONE, finish_row

STEPS = 256  # of a sum at once
ROWS, COLUMNS = 96, 256  # of C in a block, at most
WORTH, WORTH_OF_FEW = 1 << 19, 1 << 15  # operations of a product, of many rows and of few
BLOCKS = 8  # a product is cut into at least so many, if its rows suffice
PIECES = 32  # that the columns of few rows are cut into, at most
OWN = 1 << 17  # numbers of B that a unit may pack for itself
SMALL = 1 << 22  # operations of a matrix that is not cut
FEW = 4  # rows that are not worth packing for
FLOATS = ("float32", "float64")
_ROLES = (0, 0, 0, 0, 0)  # out, x, y, the bias, what the activation was given


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


def product(
    out: Array, x: Array, y: Array, bias: Array | None = None, activation: int = NONE, kept: Array | None = None
) -> None:
    """out (..., M, N) = activation(x (..., M, K) times y (..., K, N), plus bias (N,)); leading dimensions broadcast.

    Args:
        activation: its number in `finish.py`.
        kept: C-contiguous and like `out`, to be filled with what the activation is given; or None.
    """
    if not out.size:
        return
    if out.strides[-1] != out.itemsize:
        straight = empty(CPU, out.shape, out.dtype)
        product(straight, x, y, bias, activation, kept)
        out[...] = straight
        return
    x, y = _in_lines(x), _in_lines(y)
    plan = _plan(out.shape, out.strides, x.shape, x.strides, y.shape, y.strides, out.dtype, is_batch_invariant())
    start = _zeros(out.dtype) if bias is None else np.ascontiguousarray(bias)
    shape = plan.shapes[bias is not None, activation, kept is not None]
    table, keep = cells([out, x, y, start, out if kept is None else kept], len(_ROLES))
    size = out.nbytes + x.nbytes + y.nbytes
    if plan.way == "few rows":
        parallel(few_rows, plan.units, start, table, plan.places, shape, size=size)
    elif plan.way == "matrices":
        parallel(matrices, plan.units, start, table, plan.places, shape, scratch_size=plan.scratch, size=size)
    else:
        packed = empty(CPU, (plan.panels * plan.panel,), out.dtype)
        parallel(panels, plan.panels, packed, table, plan.places, shape, size=y.nbytes)
        parallel(blocks, plan.units, packed, table, plan.places, shape, scratch_size=plan.scratch, size=size)
    del keep


def _in_lines(a: Array) -> Array:
    """The array itself if its rows or its columns lie side by side, else a copy."""
    return a if a.itemsize in a.strides[-2:] or 1 in a.shape[-2:] else np.ascontiguousarray(a)


@functools.cache
def _zeros(dtype: DType) -> Array:
    return np.zeros(panel_columns(dtype), dtype)


class _Shapes(dict[tuple[bool, int, bool], Array]):
    """The numbers of a product for kernels, with or without bias, by activation, and whether its input is kept."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self.numbers = numbers

    def __missing__(self, key: tuple[bool, int, bool]) -> Array:
        self[key] = np.array((*self.numbers, *key), np.int64)
        return self[key]


class _Plan(NamedTuple):
    """How a product of arrays that lie so is cut."""

    way: str  # "few rows", "matrices" or "blocks"
    units: int
    scratch: int  # numbers that a thread needs
    panels: int  # of all B together
    panel: int  # numbers in one
    places: Array  # where the matrices of out, x and y begin
    shapes: _Shapes


@functools.lru_cache(maxsize=1024)
def _plan(
    out: tuple[int, ...], out_strides: tuple[int, ...], x: tuple[int, ...], x_strides: tuple[int, ...],
    y: tuple[int, ...], y_strides: tuple[int, ...], dtype: DType, is_invariant: bool,
) -> _Plan:  # fmt: skip
    (rows, columns), steps, batch, item = out[-2:], x[-1], out[:-2], dtype.itemsize
    count, width, tile = math.prod(batch), panel_columns(dtype), tile_rows(2)
    ldc, _ = _steps(out, out_strides, item)
    a_row, a_step = _steps(x, x_strides, item)
    b_step, b_column = _steps(y, y_strides, item)
    wide, work, packed = panel_count(columns, dtype), 2 * rows * columns * steps, panel_count(columns, dtype) * width
    places = np.stack([matrix_places(batch, s[:-2], t[:-2], item)
                       for s, t in ((out, out_strides), (x, x_strides), (y, y_strides))])  # fmt: skip
    if rows <= FEW and a_step == b_step == 1 and not is_invariant:
        way, pieces = "few rows", min(columns, PIECES)
        height, down, across = -(-columns // pieces), 1, -(-columns // -(-columns // pieces))
    elif (work > SMALL and count < BLOCKS) or packed * steps > OWN:
        way, across = "blocks", -(-columns // COLUMNS)
        share = -(-rows * across * count // BLOCKS)
        height = min(ROWS, -(-share // tile) * tile)
        down = -(-rows // height)
    else:
        way, height, down, across = "matrices", ROWS, 1, 1
    room = 0 if a_step == 1 else -(-(min(height, rows) + tile) * STEPS // width) * width + width
    shapes = _Shapes((rows, columns, steps, ldc, a_row, a_step, b_step, b_column, height, down, across, room))
    scratch = room if way == "blocks" else room + packed * steps
    return _Plan(way, count * down * across, max(scratch, 1), count * wide, width * steps, places, shapes)


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


# What `shape` holds for the kernels, by position.
_M, _N, _K, _LDC, _A_ROW, _A_STEP, _B_STEP, _B_COLUMN, _HEIGHT, _DOWN, _ACROSS, _ROOM = range(12)
_BIASED, _ACTIVATION, _KEPT = 12, 13, 14


@kernel("T[::1], const intp[:, ::1], const int64[:, ::1], const int64[::1]", T=FLOATS)
def panels(begin: int, end: int, packed: Array, table: Array, places: Array, shape: Array) -> None:
    """(Matrix, panel) begin to end: [matrix][panel][step][column], filled up with zeros."""
    y = pointers_at(table, 0, packed, _ROLES)[2]
    count, size = -(-shape[_N] // (2 * lanes(packed))), shape[_K] * 2 * lanes(packed)
    for unit in range(begin, end):
        _pack(packed, unit * size, y, places[2, unit // count], unit % count, shape)


@inline
def _pack(packed: Array, to: int, y: Any, at: int, panel: int, shape: Array) -> None:
    width, steps = 2 * lanes(packed), shape[_K]
    wide = min(width, shape[_N] - panel * width)
    if shape[_B_COLUMN] == 1:
        pack_columns(packed, to, y, at + panel * width, shape[_B_STEP], steps, wide)
        return
    if wide < width:
        packed[to : to + steps * width] = 0
    transpose(packed, to, width, y, at + panel * width * shape[_B_COLUMN], shape[_B_COLUMN], wide, steps)


@kernel("const T[::1], const intp[:, ::1], const int64[:, ::1], const int64[::1], T[::1]", T=FLOATS)
def matrices(begin: int, end: int, start: Array, table: Array, places: Array, shape: Array, memory: Array) -> None:
    """Whole matrices begin to end: each packs its B behind the room for blocks of A."""
    pointers = pointers_at(table, 0, start, _ROLES)
    first, size = shape[_ROOM], shape[_K] * 2 * lanes(start)
    for unit in range(begin, end):
        if unit == begin or places[2, unit] != places[2, unit - 1]:
            for panel in range(-(-shape[_N] // (2 * lanes(start)))):
                _pack(memory, first + panel * size, pointers[2], places[2, unit], panel, shape)
        for row in range(0, shape[_M], shape[_HEIGHT]):
            height = min(shape[_HEIGHT], shape[_M] - row)
            _block(pointers, places, unit, memory, first, memory, shape, row, height, 0, shape[_N])


@kernel("T[::1], const intp[:, ::1], const int64[:, ::1], const int64[::1], T[::1]", T=FLOATS)
def blocks(begin: int, end: int, packed: Array, table: Array, places: Array, shape: Array, memory: Array) -> None:
    """(Matrix, block of columns, block of rows) begin to end."""
    pointers = pointers_at(table, 0, packed, _ROLES)
    down, across, size = shape[_DOWN], shape[_ACROSS], shape[_K] * 2 * lanes(packed)
    count = -(-shape[_N] // (2 * lanes(packed)))
    for unit in range(begin, end):
        matrix, row = unit // (down * across), unit % down * shape[_HEIGHT]
        first = unit // down % across * COLUMNS
        height, wide = min(shape[_HEIGHT], shape[_M] - row), min(COLUMNS, shape[_N] - first)
        at = (matrix * count + first // (2 * lanes(packed))) * size
        _block(pointers, places, matrix, packed, at, memory, shape, row, height, first, wide)


@separate
def _block(
    pointers: Any, places: Array, matrix: int, packed: Array, b: int, memory: Array, shape: Array, row: int,
    height: int, first: int, wide: int,
) -> None:  # fmt: skip
    """A block of C from `row` and column `first` on; its panels of B are packed from `b` on."""
    out, x, _, start, kept = pointers
    ldc, steps, a_row = shape[_LDC], shape[_K], shape[_A_ROW]
    to = places[0, matrix] + row * ldc + first
    at = places[1, matrix] + row * a_row
    if steps == 0:
        for i in range(height):
            for j in range(wide):
                out[to + i * ldc + j] = start[(first + j) * shape[_BIASED]]
    for k in range(0, steps, STEPS):
        run = min(STEPS, steps - k)
        before, at_before, before_step = out, to, 1
        if k == 0:
            before, at_before, before_step = start, first * shape[_BIASED], shape[_BIASED]
        ld_before = 0 if k == 0 else ldc
        if shape[_A_STEP] == 1:
            _pieces(out, to, ldc, before, at_before, before_step, ld_before, x, at + k, a_row, packed, b, steps, k,
                    height, wide, run)  # fmt: skip
        else:
            for i in range(0, height, turned_rows()):
                pack_rows(memory, i * run, x, at + i + k * shape[_A_STEP], shape[_A_STEP], run, height - i)
            _turned_pieces(out, to, ldc, before, at_before, before_step, ld_before, memory, packed, b, steps, k,
                           height, wide, run)  # fmt: skip
    if shape[_ACTIVATION] or shape[_KEPT]:
        for i in range(height):
            finish_row(out, to + i * ldc, kept, (matrix * shape[_M] + row + i) * shape[_N] + first, wide,
                       shape[_ACTIVATION], shape[_KEPT])  # fmt: skip


@separate
def _pieces(
    out: Any, to: int, ldc: int, before: Any, at_before: int, before_step: int, ld_before: int, x: Any, at: int,
    a_row: int, packed: Array, b: int, steps: int, k: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    """Panel by panel; rows of A in place."""
    width = 2 * lanes(packed)
    for j in range(0, wide, width):
        gemm_taps(out, to + j, ldc, before, at_before + j * before_step, ld_before, x, at, a_row, packed,
                  b + j * steps + k * width, 0, width, height, min(width, wide - j), 1, 0, 0, run)  # fmt: skip


@separate
def _turned_pieces(
    out: Any, to: int, ldc: int, before: Any, at_before: int, before_step: int, ld_before: int, a: Array,
    packed: Array, b: int, steps: int, k: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    """Panel by panel; rows of A packed by step."""
    width = 2 * lanes(packed)
    for j in range(0, wide, width):
        for i in range(0, height, turned_rows()):
            turned_tile(out, to + i * ldc + j, ldc, before, at_before + i * ld_before + j * before_step, ld_before,
                        a, i * run, packed, b + j * steps + k * width, width, height - i, wide - j, run)  # fmt: skip


@kernel("const T[::1], const intp[:, ::1], const int64[:, ::1], const int64[::1]", T=FLOATS)
def few_rows(begin: int, end: int, start: Array, table: Array, places: Array, shape: Array) -> None:
    """(Matrix, piece of columns) begin to end: each number is a sum along a row of A and a line of B."""
    out, x, y, lift, kept = pointers_at(table, 0, start, _ROLES)
    for unit in range(begin, end):
        matrix, first = unit // shape[_ACROSS], unit % shape[_ACROSS] * shape[_HEIGHT]
        count = min(shape[_HEIGHT], shape[_N] - first)
        lines = places[2, matrix] + first * shape[_B_COLUMN]
        for i in range(shape[_M]):
            to, at = places[0, matrix] + i * shape[_LDC] + first, places[1, matrix] + i * shape[_A_ROW]
            line_products(out, to, x, at, y, lines, shape[_B_COLUMN], count, shape[_K])
            if shape[_BIASED]:
                for j in range(count):
                    out[to + j] += lift[first + j]
            if shape[_ACTIVATION] or shape[_KEPT]:
                finish_row(out, to, kept, (matrix * shape[_M] + i) * shape[_N] + first, count, shape[_ACTIVATION],
                           shape[_KEPT])  # fmt: skip
