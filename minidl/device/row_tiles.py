"""Products of few rows with a packed matrix, for kernels that make one after the other: recurrent steps, their sums.

The micro-kernel's idea (see `microkernel.py`) for matrices whose lines are filled up to whole panels, so that no tile
has a ragged edge: rows are cut into tiles of 4, 5 or 6 by one panel of two vectors; three rows and fewer take tiles
that are less high and wider (2 by 2 panels, 1 by 4), since a sum must wait for the one before it and eight sums under way
keep the multipliers busy. Each sum runs in the order of k, in whatever tile it falls, so a row's bits do not
depend on how many rows stand beside it.

A tile is a function of its own, called from wherever it is needed: a kernel with four products holds its code once.
One core of Zen 3, float32, weight in the second-level cache: FIGURES
"""

from __future__ import annotations

from typing import Any

from minidl.device.dtypes import DType
from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    lanes,
    lanes_of,
    load,
    multiply_add,
    splat,
    store,
    vector_type,
)

UNROLL = 4
DEPTH = 256  # steps of k at a time: one panel's share, 16 KiB, stays in the first-level cache
WIDEST = 4  # panels in the widest tile; packed matrices and lines of sums have a multiple of it


def _tile(rows: int, panels: int) -> Intrinsic:
    def emit(
        typing_context: Any, c: Any, ic: Any, ld_c: Any, i_start: Any, ld_start: Any, a: Any, ia: Any, row_step: Any,
        k_step: Any, b: Any, ib: Any, panel_step: Any, ldb: Any, depth: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        kinds = (c, None, None, None, None, a, None, None, None, b, None, None, None, None)

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def first(array: int, index: int) -> Any:
                return builder.gep(data_pointer(context, builder, kinds[array], args[array]), [args[index]])

            function = _function(builder, vector_type(c), rows, panels)
            places = first(0, 1), first(0, 3), first(5, 6), first(9, 10)
            builder.call(function, [*places, args[2], args[4], args[7], args[8], *args[11:]])
            return context.get_dummy_value()

        return types.void(*[types.intp if kind is None else kind for kind in kinds]), code

    def python(
        c: Any, ic: int, ld_c: int, i_start: int, ld_start: int, a: Any, ia: int, row_step: int, k_step: int,
        b: Any, ib: int, panel_step: int, ldb: int, depth: int,
    ) -> None:  # fmt: skip
        width = 2 * lanes_of(c.dtype)
        for i in range(rows):
            for j in range(panels * width):
                total = c[i_start + i * ld_start + j]
                for step in range(depth):
                    right = b[ib + j // width * panel_step + step * ldb + j % width]
                    total += a[ia + i * row_step + step * k_step] * right
                c[ic + i * ld_c + j] = total

    return intrinsic(emit)(python)


def _function(builder: Any, vector: Any, rows: int, panels: int) -> Any:
    """The tile as a function of the module that is being written, made when it is first asked for."""
    from llvmlite import ir

    name = f"minidl.row_tile.{rows}.{panels}.{vector.element}"
    if name in builder.module.globals:
        return builder.module.globals[name]
    pointer, number = vector.element.as_pointer(), ir.IntType(64)
    kind = ir.FunctionType(
        ir.VoidType(), [pointer] * 4 + [number] * 7
    )
    function = ir.Function(builder.module, kind, name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    inner = ir.IRBuilder(function.append_basic_block())
    _write(inner, vector, rows, panels, *function.args)
    return function


def _write(
    builder: Any, vector: Any, rows: int, panels: int, c: Any, start: Any, a: Any, b: Any, ld_c: Any, ld_start: Any,
    row_step: Any, k_step: Any, panel_step: Any, ldb: Any, depth: Any,
) -> None:  # fmt: skip
    def lines(base: Any, step: Any, count: int) -> list[Any]:
        return [builder.gep(base, [builder.mul(integer(i), step)]) for i in range(count)]

    across = [integer(v * vector.count) for v in range(2 * panels)]
    left, right = lines(a, row_step, rows), lines(b, panel_step, panels)

    def steps(first: Any, count: int, sums: list[Any]) -> list[Any]:
        for step in range(count):
            k = builder.add(first, integer(step))
            at_a, at_b = builder.mul(k, k_step), builder.mul(k, ldb)
            vectors = [
                load(builder, vector, builder.gep(builder.gep(panel, [at_b]), [across[v]]))
                for panel in right
                for v in range(2)
            ]
            scales = [splat(builder, vector, builder.load(builder.gep(row, [at_a]))) for row in left]
            pairs = [(scale, other) for scale in scales for other in vectors]
            sums = [multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]
        return sums

    sums = [load(builder, vector, builder.gep(row, [v])) for row in lines(start, ld_start, rows) for v in across]
    whole = builder.and_(depth, integer(-UNROLL))
    _, sums = counted_loop(builder, integer(0), whole, UNROLL, sums, lambda k, s: steps(k, UNROLL, s))
    _, sums = counted_loop(builder, whole, depth, 1, sums, lambda k, s: steps(k, 1, s))
    for place, total in enumerate(sums):
        row = builder.gep(c, [builder.mul(integer(place // len(across)), ld_c)])
        store(builder, total, builder.gep(row, [across[place % len(across)]]))
    builder.ret_void()


_six, _five, _four, _three = _tile(6, 1), _tile(5, 1), _tile(4, 1), _tile(3, 1)
_two, _one = _tile(2, 2), _tile(1, 4)


@inline
def multiply_rows(
    c: Any, ic: int, ld_c: int, i_start: int, ld_start: int, a: Any, ia: int, row_step: int, k_step: int,
    b: Any, ib: int, panel_step: int, ldb: int, rows: int, panels: int, depth: int,
) -> None:  # fmt: skip
    """C = start + A·B, for `rows` rows and `panels` panels of two vectors.

    Every matrix is a flat array and the index of its first number. Number (i, j) of C is c[ic + i ld_c + j]; of start,
    c[i_start + i ld_start + j] (C itself: accumulate; ld_start 0: one line for all); (i, k) of A is
    a[ia + i row_step + k k_step]; (k, j) of B, with j in panel p at column q, is b[ib + p panel_step + k ldb + q].
    One and two rows read and write up to a multiple of `WIDEST` panels.
    """
    width, tiles = 2 * lanes(c), (rows + 5) // 6
    for first in range(0, depth, DEPTH):
        deep = min(DEPTH, depth - first)
        p = 0
        while p < panels:
            column, i = p * width, 0
            for tile in range(tiles):
                tall = rows // tiles + (tile < rows % tiles)
                to, left, right = ic + i * ld_c + column, ia + i * row_step + first * k_step, ib + p * panel_step + first * ldb
                at, ld = (i_start + i * ld_start + column, ld_start) if first == 0 else (to, ld_c)
                if tall == 6:
                    _six(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                elif tall == 5:
                    _five(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                elif tall == 4:
                    _four(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                elif tall == 3:
                    _three(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                elif tall == 2:
                    _two(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                else:
                    _one(c, to, ld_c, at, ld, a, left, row_step, k_step, b, right, panel_step, ldb, deep)
                i += tall
            p += 4 if rows == 1 else 2 if rows == 2 else 1


def packed_lines(columns: int, dtype: DType) -> int:
    """`columns` rounded up to a multiple of `WIDEST` panels: what a packed matrix and lines of sums must hold."""
    width = 2 * WIDEST * lanes_of(dtype)
    return -(-columns // width) * width
