"""The kernels of matrix products (`cpu.py`): packing, blocks of C, adding up pieces of sums, few rows.

All get their arrays by the cells in which their addresses stand (`pointers.py`), and the numbers of the product in one
array, `shape`, with where each matrix of a batch begins behind them. `start` is the bias, or zeros.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Array
from minidl.device import kernel
from minidl.device.inline import inline, separate
from minidl.device.line_products import line_products
from minidl.device.microkernel import gemm_taps
from minidl.device.pointers import pointer_to, pointers_in
from minidl.device.transpose import transpose
from minidl.device.turned_tiles import pack_columns, pack_rows, turned_rows, turned_tile
from minidl.device.vectors import lanes
from minidl.ops.matmul.cut import DIRECT, OWN, PACKED
from minidl.ops.matmul.finish import finish_row

FLOATS = ("float32", "float64")
NEAR = 6144  # numbers of B that stay in the first-level cache beside some rows of A and C
NEAR_ROWS = 24

# What `shape` holds for the kernels, by position.
_M, _N, _K, _LDC, _A_ROW, _A_STEP, _B_STEP, _B_COLUMN = range(8)
_HEIGHT, _DOWN, _STRIPE, _ACROSS, _PIECE, _PIECES, _RUN, _WAY, _ROOM, _A_WIDE, _OUT_ROW = range(8, 19)
_BIASED, _ACTIVATION, _KEPT, _ADDED, _ONTO, _MATRICES, _PLACES = range(19, 26)
_OUT, _X, _Y = range(3)


@inline
def _place(shape: Array, role: int, matrix: int) -> Any:
    """Where a matrix of out (or of its sums), x or y begins."""
    return shape[_PLACES + role * shape[_MATRICES] + matrix]


@kernel("T[::1], intp, const int64[::1]", T=FLOATS)
def panels(begin: int, end: int, packed: Array, y_cell: int, shape: Array) -> None:
    """(Matrix, panel) begin to end: [matrix][panel][step][column], filled up with zeros."""
    (y,), target = pointers_in((y_cell,), packed), pointer_to(packed, 0)
    width = 2 * lanes(packed)
    count, size = -(-shape[_N] // width), shape[_K] * width
    for unit in range(begin, end):
        first = unit % count * width
        at = _place(shape, _Y, unit // count) + first * shape[_B_COLUMN]
        _pack(target, unit * size, y, at, width, shape[_N] - first, shape[_K], shape)


@separate
def _pack(packed: Any, to: int, y: Any, at: int, width: int, wide: int, run: int, shape: Array) -> None:
    """`run` steps of a panel with up to `wide` columns."""
    if shape[_B_COLUMN] == 1:
        pack_columns(packed, to, y, at, shape[_B_STEP], run, wide)
        return
    if wide < width:
        for i in range(to, to + run * width):
            packed[i] = 0
    transpose(packed, to, width, y, at, shape[_B_COLUMN], min(width, wide), run)


@kernel("const T[::1], intp, intp, intp, intp, intp, intp, const int64[::1], T[::1]", T=FLOATS)
def blocks(
    begin: int, end: int, start: Array, out: int, x: int, y: int, kept: int, added: int, packed: int, shape: Array,
    memory: Array,
) -> None:  # fmt: skip
    """(Matrix, piece of the sums, stripe of columns, block of rows) begin to end."""
    pointers, room = pointers_in((out, x, y, kept, added, packed), start), pointer_to(memory, 0)
    held = -1
    for unit in range(begin, end):
        stripe = unit // shape[_DOWN]
        _block(pointers, pointer_to(start, 0), room, shape, unit % shape[_DOWN], stripe, stripe == held)
        held = stripe if shape[_RUN] >= shape[_PIECE] else -1


@separate
def _block(
    pointers: Any, start: Any, room: Any, shape: Array, block: int, number: int, is_held: bool
) -> None:  # fmt: skip
    """One unit: C from a row and a column on, over a piece of the steps."""
    out, x, y, kept, added, packed = pointers
    stripe, piece = number % shape[_ACROSS], number // shape[_ACROSS] % shape[_PIECES]
    matrix, width = number // shape[_ACROSS] // shape[_PIECES], 2 * lanes(out)
    row, first, steps, ldc = block * shape[_HEIGHT], stripe * shape[_STRIPE], shape[_K], shape[_LDC]
    height, wide = min(shape[_HEIGHT], shape[_M] - row), min(shape[_STRIPE], shape[_N] - first)
    begin, end = piece * shape[_PIECE], min(steps, (piece + 1) * shape[_PIECE])
    to = _place(shape, _OUT, matrix) + piece * (shape[_MATRICES] * shape[_M] * shape[_N]) + row * ldc + first
    at, of_b = _place(shape, _X, matrix) + row * shape[_A_ROW], _place(shape, _Y, matrix)
    if steps == 0 and not shape[_ONTO]:
        for i in range(height):
            for j in range(wide):
                out[to + i * ldc + j] = start[(first + j) * shape[_BIASED]]
    for k in range(begin, end, shape[_RUN]):
        run = min(shape[_RUN], end - k)
        if shape[_WAY] == PACKED:
            count = -(-shape[_N] // width)
            b, at_b = packed, (matrix * count + first // width) * steps * width + k * width
            panel, ldb = steps * width, width
        elif shape[_WAY] == OWN:
            b, at_b, panel, ldb = room, 0, run * width, width
            if not is_held:
                for j in range(0, wide, width):
                    _pack(room, j * run, y, of_b + k * shape[_B_STEP] + (first + j) * shape[_B_COLUMN], width, wide - j,
                          run, shape)  # fmt: skip
        else:
            b, at_b, panel, ldb = y, of_b + k * shape[_B_STEP] + first, width, shape[_B_STEP]
        before, at_before, before_step, ld_before = out, to, 1, ldc
        if k == begin and not shape[_ONTO]:
            before, at_before, before_step, ld_before = start, first * shape[_BIASED], shape[_BIASED], 0
        if shape[_A_STEP] != 1 and shape[_A_WIDE]:
            for i in range(0, height, turned_rows()):
                pack_rows(room, shape[_ROOM] + i * run, x, at + i + k * shape[_A_STEP], shape[_A_STEP], run, height - i)
        ragged = wide % width if shape[_WAY] == DIRECT else 0
        _rows(out, to, ldc, before, at_before, before_step, ld_before, x, at, room, b, at_b, panel, ldb, shape, k,
              height, wide - ragged, run)  # fmt: skip
        if ragged > 0:  # read in place, its vectors would reach behind the matrix
            j = wide - ragged
            _pack(room, 0, y, at_b + j, width, ragged, run, shape)
            _rows(out, to + j, ldc, before, at_before + j * before_step, before_step, ld_before, x, at, room, room, 0,
                  panel, width, shape, k, height, ragged, run)  # fmt: skip
    if shape[_ACTIVATION] or shape[_KEPT] or shape[_ADDED]:
        lines, count = (1, height * wide) if wide == ldc else (height, wide)  # whole rows are one line
        for i in range(lines):
            _finish(out, to + i * ldc, kept, added, (matrix * shape[_M] + row + i) * shape[_N] + first, count, shape)


@separate
def _rows(
    out: Any, to: int, ldc: int, before: Any, at_before: int, before_step: int, ld_before: int, x: Any, at: int,
    room: Any, b: Any, at_b: int, panel: int, ldb: int, shape: Array, k: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    """All rows of a block by `wide` columns of whole panels of B."""
    a_step, of_a, tall = shape[_A_STEP], shape[_ROOM], turned_rows()
    if a_step == 1:
        straight_rows(out, to, ldc, before, at_before, before_step, ld_before, x, at + k, shape[_A_ROW], b, at_b, panel,
                      ldb, height, wide, run)  # fmt: skip
    elif shape[_A_WIDE]:
        _turned(out, to, ldc, before, at_before, before_step, ld_before, room, of_a, tall * run, tall, b, at_b, panel,
                ldb, height, wide, run)  # fmt: skip
    else:
        whole = height // tall * tall
        _turned(out, to, ldc, before, at_before, before_step, ld_before, x, at + k * a_step, tall, a_step, b, at_b,
                panel, ldb, whole, wide, run)  # fmt: skip
        if whole < height:  # read in place, a tile would reach behind the matrix
            pack_rows(room, of_a, x, at + whole + k * a_step, a_step, run, height - whole)
            _turned(out, to + whole * ldc, ldc, before, at_before + whole * ld_before, before_step, ld_before, room,
                    of_a, 0, tall, b, at_b, panel, ldb, height - whole, wide, run)  # fmt: skip


@separate
def straight_rows(
    out: Any, to: int, ldc: int, before: Any, at_before: int, before_step: int, ld_before: int, a: Any, at: int,
    a_row: int, b: Any, at_b: int, panel: int, ldb: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    """Panel by panel; rows of A in place: all at once, or, where B stays in the first-level cache, few at a time."""
    width = 2 * lanes(out)
    tall = NEAR_ROWS if run * wide <= NEAR else max(height, 1)
    for i in range(0, height, tall):
        for j in range(0, wide, width):
            gemm_taps(out, to + i * ldc + j, ldc, before, at_before + i * ld_before + j * before_step, ld_before, a,
                      at + i * a_row, a_row, b, at_b + j // width * panel, 0, ldb, min(tall, height - i),
                      min(width, wide - j), 1, 0, 0, run)  # fmt: skip


@separate
def _turned(
    out: Any, to: int, ldc: int, before: Any, at_before: int, before_step: int, ld_before: int, a: Any, at: int,
    tile: int, lda: int, b: Any, at_b: int, panel: int, ldb: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    """Panel by panel; tiles of A that lie step by step, `tile` numbers apart."""
    width, tall = 2 * lanes(out), turned_rows()
    for j in range(0, wide, width):
        for i in range(0, height, tall):
            turned_tile(out, to + i * ldc + j, ldc, before, at_before + i * ld_before + j * before_step, ld_before,
                        a, at + i // tall * tile, lda, b, at_b + j // width * panel, ldb, height - i, wide - j,
                        run)  # fmt: skip


@separate
def _finish(out: Any, to: int, kept: Any, added: Any, at: int, count: int, shape: Array) -> None:
    """One row of a block, whose sums are there."""
    if shape[_ADDED]:
        for j in range(count):
            out[to + j] += added[at + j]
    if shape[_ACTIVATION] or shape[_KEPT]:
        finish_row(out, to, kept, at, count, shape[_ACTIVATION], shape[_KEPT])


@kernel("const T[::1], intp, intp, intp, const T[::1], const int64[::1]", T=FLOATS)
def collect(
    begin: int, end: int, start: Array, out_cell: int, kept_cell: int, added_cell: int, sums: Array, shape: Array
) -> None:
    """Rows begin to end of all matrices: pieces of sums are added up."""
    out, kept, added = pointers_in((out_cell, kept_cell, added_cell), start)
    columns, apart = shape[_N], shape[_MATRICES] * shape[_M] * shape[_N]
    for line in range(begin, end):
        to, at = _place(shape, _OUT, line // shape[_M]) + line % shape[_M] * shape[_OUT_ROW], line * columns
        for j in range(columns):
            total = sums[at + j]
            for piece in range(1, shape[_PIECES]):
                total += sums[at + piece * apart + j]
            out[to + j] = total + out[to + j] if shape[_ONTO] else total
        if shape[_BIASED]:
            for j in range(columns):
                out[to + j] += start[j]
        _finish(out, to, kept, added, at, columns, shape)


@kernel("const T[::1], intp, intp, intp, intp, intp, intp, const int64[::1]", T=FLOATS)
def few_rows(
    begin: int, end: int, start: Array, out_cell: int, x_cell: int, y_cell: int, kept_cell: int, added_cell: int,
    packed_cell: int, shape: Array,
) -> None:  # fmt: skip
    """(Matrix, stripe of columns) begin to end: each number is a sum along a row of A and a line of B.

    It takes what `blocks` takes, but no panels are packed.
    """
    out, x, y, kept, added = pointers_in((out_cell, x_cell, y_cell, kept_cell, added_cell), start)
    for unit in range(begin, end):
        matrix, first = unit // shape[_ACROSS], unit % shape[_ACROSS] * shape[_STRIPE]
        count = min(shape[_STRIPE], shape[_N] - first)
        lines = _place(shape, _Y, matrix) + first * shape[_B_COLUMN]
        for i in range(shape[_M]):
            to = _place(shape, _OUT, matrix) + i * shape[_LDC] + first
            at = _place(shape, _X, matrix) + i * shape[_A_ROW]
            line_products(out, to, x, at, y, lines, shape[_B_COLUMN], count, shape[_K])
            if shape[_BIASED]:
                for j in range(count):
                    out[to + j] += start[first + j]
            _finish(out, to, kept, added, (matrix * shape[_M] + i) * shape[_N] + first, count, shape)
