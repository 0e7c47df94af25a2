"""Rows of numbers gathered by a table of places, a vector at a time, for kernels that lay matrices out for themselves.

A loop of Numba does not do: it asks of every index whether it is negative, and then LLVM makes no vectors of it
(the weight gradient of 7×7 windows, 8 images of 16 channels, 64²: 28 ms with loops, 14 so). Rows of up to three
vectors, which are nearly all, have no loop inside: with one they took a quarter of a weight gradient's time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.device.inline import intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    lanes_of,
    load,
    load_masked,
    mask_below,
    store,
    vector_type,
)

FEW = 3  # vectors


def _copy_rounded(builder: Any, vector: Any, end: Any, begin: Any, count: Any, mask: Any) -> None:
    """Copy `count` numbers, and zeros behind them up to a whole vector; `mask` has the lanes behind the whole vectors.

    A masked load and a whole store: on a Zen 3 a masked store takes ten times as long.
    """
    whole = builder.and_(count, integer(-vector.count))

    def body(k: Any, values: list[Any]) -> list[Any]:
        store(builder, load(builder, vector, builder.gep(begin, [k])), builder.gep(end, [k]))
        return values

    counted_loop(builder, integer(0), whole, vector.count, [], body)
    with builder.if_then(builder.icmp_signed("<", whole, count)):
        store(builder, load_masked(builder, vector, builder.gep(begin, [whole]), mask), builder.gep(end, [whole]))


def _copy_few(builder: Any, vector: Any, end: Any, begin: Any, vectors: int, mask: Any) -> None:
    """Copy so many vectors, the last one with zeros outside of `mask`."""
    for v in range(vectors):
        at = [integer(v * vector.count)]
        here = builder.gep(begin, at)
        whole = v < vectors - 1
        value = load(builder, vector, here) if whole else load_masked(builder, vector, here, mask)
        store(builder, value, builder.gep(end, at))


def _emit_rows(
    typing_context: Any, target: Any, it: Any, pitch: Any, source: Any, i: Any, table: Any, column: Any, rows: Any,
    count: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, it, pitch, source_, i, table_, column, rows, count = args
        vector = vector_type(target)
        end = builder.gep(data_pointer(context, builder, target, to), [it])
        begin = builder.gep(data_pointer(context, builder, source, source_), [i])
        offsets = builder.gep(data_pointer(context, builder, table, table_), [column])
        mask = mask_below(builder, vector, builder.and_(count, integer(vector.count - 1)))

        def over_rows(copy: Callable[[Any, Any], None]) -> None:
            def body(r: Any, values: list[Any]) -> list[Any]:
                offset = builder.load(builder.gep(offsets, [builder.mul(r, integer(2))]))
                copy(builder.gep(end, [builder.mul(r, pitch)]), builder.gep(begin, [offset]))
                return values

            counted_loop(builder, integer(0), builder.select(is_none, integer(0), rows), 1, [], body)

        def choose(vectors: int) -> None:
            if vectors > FEW:
                over_rows(lambda there, here: _copy_rounded(builder, vector, there, here, count, mask))
                return
            last = integer((vectors - 1) * vector.count)
            is_it = builder.icmp_signed("<=", count, integer(vectors * vector.count))
            with builder.if_else(is_it) as (then, otherwise):
                with then:
                    rest = mask_below(builder, vector, builder.sub(count, last))
                    over_rows(lambda there, here: _copy_few(builder, vector, there, here, vectors, rest))
                with otherwise:
                    choose(vectors + 1)

        is_none = builder.icmp_signed("<=", count, integer(0))
        choose(1)
        return context.get_dummy_value()

    numbers = (types.intp, types.intp)
    return types.void(target, *numbers, source, types.intp, table, types.intp, *numbers), code


@intrinsic(_emit_rows)
def gather_rows(
    target: Any, it: int, pitch: int, source: Any, i: int, table: Any, column: int, rows: int, count: int
) -> None:
    """target[it + r pitch + q] = source[i + table[2 r + column] + q] for r < rows and q < count.

    Zeros follow behind the last q up to a whole vector.
    """
    for r in range(rows):
        begin, at = i + table[2 * r + column], it + r * pitch
        target[at : at + -(-count // lanes_of(target.dtype)) * lanes_of(target.dtype)] = 0
        target[at : at + count] = source[begin : begin + count]
