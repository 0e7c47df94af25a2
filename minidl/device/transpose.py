"""Transposing matrices in registers: how convolutions go between channels-first and channels-last memory.

A square of as many rows as a vector has lanes is turned in log2(lanes) rounds: round s swaps, between rows i and i + s,
the lanes that belong to the other one (Eklundh 1972, "A fast computer method for matrix transposing"). That is 64
shuffles for 256 float32 with AVX-512, where one number at a time takes 256 loads and stores. Squares at the edge go the
same way with masked loads and stores.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import inline, intrinsic
from minidl.device.vectors import (
    data_pointer,
    integer,
    lanes,
    lanes_of,
    load,
    load_masked,
    mask_below,
    store,
    store_masked,
    vector_type,
)


def turned(builder: Any, rows: list[Any]) -> list[Any]:
    """The columns of a square of vectors."""
    from llvmlite import ir

    count, step = len(rows), 1
    numbers = ir.VectorType(ir.IntType(32), count)
    while step < count:
        new = list(rows)
        for i in range(count):
            if not i & step:
                low = [lane if not lane & step else count + lane - step for lane in range(count)]
                high = [lane + step if not lane & step else count + lane for lane in range(count)]
                for target, lanes_ in ((i, low), (i + step, high)):
                    new[target] = builder.shuffle_vector(rows[i], rows[i + step], ir.Constant(numbers, lanes_))
        rows, step = new, 2 * step
    return rows


def sums_across(builder: Any, rows: list[Any]) -> Any:
    """A vector whose lane i is the sum of all lanes of row i; as many rows as a vector has lanes.

    The rounds of `turned`, where each adds what it swaps: half as many rows are left after each.
    """
    from llvmlite import ir

    count, step = len(rows), 1
    numbers = ir.VectorType(ir.IntType(32), count)
    while step < count:
        low = [lane if not lane & step else count + lane - step for lane in range(count)]
        high = [lane + step if not lane & step else count + lane for lane in range(count)]
        halves = [[builder.shuffle_vector(a, b, ir.Constant(numbers, lanes_)) for lanes_ in (low, high)]
                  for a, b in zip(rows[::2], rows[1::2], strict=True)]  # fmt: skip
        rows, step = [builder.fadd(a, b) for a, b in halves], 2 * step
    return rows[0]


def _emit(
    typing_context: Any, target: Any, it: Any, ld_target: Any, source: Any, i: Any, ld_source: Any, rows: Any,
    columns: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, it, ld_target, source_, i, ld_source, rows, columns = args
        vector = vector_type(source)
        begin = builder.gep(data_pointer(context, builder, source, source_), [i])
        end = builder.gep(data_pointer(context, builder, target, to), [it])
        count = vector.count

        def place(pointer: Any, number: int, step: Any) -> Any:
            return builder.gep(pointer, [builder.mul(integer(number), step)])

        def mask(number: int, lines: Any, length: Any) -> Any:
            """The first `length` lanes of line `number`, none if there is no such line."""
            exists = builder.icmp_signed("<", integer(number), lines)
            return mask_below(builder, vector, builder.select(exists, length, integer(0)))

        whole = builder.and_(
            builder.icmp_signed(">=", rows, integer(count)), builder.icmp_signed(">=", columns, integer(count))
        )
        with builder.if_else(whole) as (square, edge):
            with square:
                lines = [load(builder, vector, place(begin, r, ld_source)) for r in range(count)]
                for q, line in enumerate(turned(builder, lines)):
                    store(builder, line, place(end, q, ld_target))
            with edge:
                lines = [
                    load_masked(builder, vector, place(begin, r, ld_source), mask(r, rows, columns))
                    for r in range(count)
                ]
                for q, line in enumerate(turned(builder, lines)):
                    store_masked(builder, line, place(end, q, ld_target), mask(q, columns, rows))
        return context.get_dummy_value()

    numbers = (types.intp, types.intp)
    return types.void(target, *numbers, source, *numbers, *numbers), code


@intrinsic(_emit)
def _square(target: Any, it: int, ld_target: int, source: Any, i: int, ld_source: int, rows: int, columns: int) -> None:
    """One square, or what `rows` and `columns` leave of it."""
    for r in range(min(rows, lanes_of(source.dtype))):
        for q in range(min(columns, lanes_of(source.dtype))):
            target[it + q * ld_target + r] = source[i + r * ld_source + q]


@inline
def transpose(
    target: Any, it: int, ld_target: int, source: Any, i: int, ld_source: int, rows: int, columns: int
) -> None:
    """target[it + q ld_target + r] = source[i + r ld_source + q] for r < rows, q < columns; flat arrays."""
    if rows == 1 and ld_target == 1:
        for q in range(columns):
            target[it + q] = source[i + q]
        return
    for q in range(0, columns, lanes(source)):
        for r in range(0, rows, lanes(source)):
            _square(target, it + q * ld_target + r, ld_target, source, i + r * ld_source + q, ld_source,
                    rows - r, columns - q)  # fmt: skip
