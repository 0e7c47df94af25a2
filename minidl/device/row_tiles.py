"""Products of few rows with a packed matrix, for kernels that make one after the other: recurrent steps, their sums.

The micro-kernel's idea (see `microkernel.py`) for matrices whose lines are filled up to whole panels, so that no tile
has a ragged edge: rows are cut into tiles of 4, 5 or 6 by one panel of two vectors; three rows and fewer take tiles
that are lower and wider (2 by 2 panels, 1 by 4; fewer where no more are left), since a sum must wait for the one before
it, and only eight sums under way keep the multipliers busy. Each sum runs in the order of k, in whatever tile it falls,
so a row's bits do not depend on how many rows stand beside it.

A tile is a function of its own, called from wherever it is needed: a kernel with five products holds its code once.
One core of Zen 3, float32, weights of 64 to 512 by 512 numbers, GFLOP/s by the number of rows: 1: 38-46 (it reads
85 GB/s of weight from the second-level cache), 2: 53-83, 3: 65-73, 4: 82-94, 5: 92-98, 6: 92-100, 8 to 32: 90-98.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.dtypes import DType
from minidl.device.inline import inline, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    lanes_of,
    load,
    multiply_add,
    splat,
    store,
    vector_type,
)

UNROLL = 4
DEPTH = 256  # steps of k at a time: one panel's share, 16 KiB, stays in the first-level cache
WIDEST = 4  # panels in the widest tile

_SHAPES = ((1, WIDEST), (1, 2), (1, 1), (2, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 1))  # rows and panels of each tile


def _emit_tile(
    typing_context: Any, c: Any, ic: Any, c_step: Any, ld_c: Any, i_start: Any, ld_start: Any, a: Any, ia: Any,
    row_step: Any, k_step: Any, b: Any, ib: Any, b_step: Any, ldb: Any, depth: Any, rows: Any, panels: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    kinds = (c, None, None, None, None, None, a, None, None, None, b, None, None, None, None, None, None)

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def first(array: int, index: int) -> Any:
            return builder.gep(data_pointer(context, builder, kinds[array], args[array]), [args[index]])

        places = first(0, 1), first(0, 4), first(6, 7), first(10, 11)
        function = _any_tile(builder, vector_type(c))
        builder.call(function, [*places, args[2], args[3], args[5], args[8], args[9], *args[12:]])
        return context.get_dummy_value()

    return types.void(*[types.intp if kind is None else kind for kind in kinds]), code


@intrinsic(_emit_tile)
def _tile(
    c: Any, ic: int, c_step: int, ld_c: int, i_start: int, ld_start: int, a: Any, ia: int, row_step: int, k_step: int,
    b: Any, ib: int, b_step: int, ldb: int, depth: int, rows: int, panels: int,
) -> None:  # fmt: skip
    """One tile of those in `_SHAPES`."""
    width = 2 * lanes_of(c.dtype)
    for i in range(rows):
        for p, q in np.ndindex(panels, width):
            total = c[i_start + i * ld_start + p * c_step + q]
            for k in range(depth):
                total += a[ia + i * row_step + k * k_step] * b[ib + p * b_step + k * ldb + q]
            c[ic + i * ld_c + p * c_step + q] = total


def _any_tile(builder: Any, vector: Any) -> Any:
    """The function that calls the tile of as many rows and panels as its last arguments say."""
    name = f"minidl.row_tile.{vector.element}"
    if name in builder.module.globals:
        return builder.module.globals[name]
    function, inner = _shared_function(builder, vector, name, 10)
    *arguments, rows, wide = function.args
    choice = inner.switch(inner.add(inner.mul(rows, integer(2 * WIDEST)), wide), function.append_basic_block())
    inner.position_at_end(choice.default)
    inner.ret_void()
    for height, panels in _SHAPES:
        choice.add_case(integer(2 * WIDEST * height + panels), inner.append_basic_block())
        inner.position_at_end(function.blocks[-1])
        inner.call(_function(builder, vector, height, panels), arguments)
        inner.ret_void()
    return function


def _shared_function(builder: Any, vector: Any, name: str, numbers: int) -> tuple[Any, Any]:
    """An empty function of four pointers and `numbers` numbers, and what writes into it."""
    from llvmlite import ir

    types = [vector.element.as_pointer()] * 4 + [ir.IntType(64)] * numbers
    function = ir.Function(builder.module, ir.FunctionType(ir.VoidType(), types), name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    return function, ir.IRBuilder(function.append_basic_block())


def _function(builder: Any, vector: Any, rows: int, panels: int) -> Any:
    """One tile as a function of the module that is being written."""
    function, inner = _shared_function(builder, vector, f"minidl.row_tile.{vector.element}.{rows}.{panels}", 8)
    _write(inner, vector, rows, panels, *function.args)
    return function


def _write(
    builder: Any, vector: Any, rows: int, panels: int, c: Any, start: Any, a: Any, b: Any, c_step: Any, ld_c: Any,
    ld_start: Any, row_step: Any, k_step: Any, b_step: Any, ldb: Any, depth: Any,
) -> None:  # fmt: skip
    def lines(base: Any, step: Any, count: int) -> list[Any]:
        return [builder.gep(base, [builder.mul(integer(i), step)]) for i in range(count)]

    left, right = lines(a, row_step, rows), lines(b, b_step, panels)

    def places(base: Any, step: Any) -> list[Any]:
        """Where the vectors of sums begin, row by row."""
        return [
            vector_at(panel, v)
            for row in lines(base, step, rows)
            for panel in lines(row, c_step, panels)
            for v in (0, 1)
        ]

    def vector_at(panel: Any, number: int) -> Any:
        return builder.gep(panel, [integer(number * vector.count)])

    def steps(first: Any, count: int, sums: list[Any]) -> list[Any]:
        for step in range(count):
            k = builder.add(first, integer(step))
            at_a, at_b = builder.mul(k, k_step), builder.mul(k, ldb)
            vectors = [
                load(builder, vector, vector_at(builder.gep(panel, [at_b]), v)) for panel in right for v in (0, 1)
            ]
            scales = [splat(builder, vector, builder.load(builder.gep(row, [at_a]))) for row in left]
            pairs = [(scale, other) for scale in scales for other in vectors]
            sums = [multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]
        return sums

    sums = [load(builder, vector, place) for place in places(start, ld_start)]
    whole = builder.and_(depth, integer(-UNROLL))
    _, sums = counted_loop(builder, integer(0), whole, UNROLL, sums, lambda k, s: steps(k, UNROLL, s))
    _, sums = counted_loop(builder, whole, depth, 1, sums, lambda k, s: steps(k, 1, s))
    for place, total in zip(places(c, ld_c), sums, strict=True):
        store(builder, total, place)
    builder.ret_void()


@inline
def multiply_rows(
    c: Any, ic: int, c_step: int, ld_c: int, i_start: int, ld_start: int, a: Any, ia: int, row_step: int, k_step: int,
    b: Any, ib: int, b_step: int, ldb: int, rows: int, panels: int, depth: int,
) -> None:  # fmt: skip
    """C = start + A·B, for `rows` rows and `panels` panels of two vectors.

    Every matrix is a flat array and the index of its first number. Number (i, j) of C, with j in panel p at column q,
    is c[ic + p c_step + i ld_c + q]; of start, c[i_start + p c_step + i ld_start + q] (C itself: accumulate; step
    0: one line for all); (i, k) of A is a[ia + i row_step + k k_step]; (k, j) of B is b[ib + p b_step + k ldb + q].
    """
    tiles = (rows + 5) // 6
    for first in range(0, depth, DEPTH):
        deep = min(DEPTH, depth - first)
        p = 0
        while p < panels:
            i, wide = 0, 1
            if rows <= 2 and p + 2 <= panels:
                wide = WIDEST if rows == 1 and p + WIDEST <= panels else 2
            for tile in range(tiles):
                tall = rows // tiles + (tile < rows % tiles)
                to, left = ic + p * c_step + i * ld_c, ia + i * row_step + first * k_step
                right = ib + p * b_step + first * ldb
                at, ld = (i_start + p * c_step + i * ld_start, ld_start) if first == 0 else (to, ld_c)
                _tile(c, to, c_step, ld_c, at, ld, a, left, row_step, k_step, b, right, b_step, ldb, deep, tall, wide)
                i += tall
            p += wide


def packed_lines(columns: int, dtype: DType) -> int:
    """`columns` rounded up to whole panels: what a packed matrix and lines of sums must hold."""
    width = 2 * lanes_of(dtype)
    return -(-columns // width) * width
