"""Copies and sums of short rows of numbers, a vector at a time, for kernels that lay matrices out for themselves.

A loop of Numba does not do: it asks of every index whether it is negative, and then LLVM makes no vectors of it
(the weight gradient of 7×7 windows, 8 images of 16 channels, 64²: 28 ms with loops, 14 so).
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    lanes_of,
    load,
    load_masked,
    mask_below,
    store,
    store_masked,
    vector_type,
)


def _along_row(
    builder: Any, vector: Any, end: Any, begin: Any, count: Any, mask: Any, *, adds: bool = False, rounds: bool = False
) -> None:
    """Copy, or add, `count` numbers; `mask` has the lanes that are left behind the whole vectors.

    `rounds`: zeros may be written behind them, up to a whole vector. On a Zen 3 a masked store takes ten times as long.
    """
    whole = builder.and_(count, integer(-vector.count))

    def body(k: Any, values: list[Any]) -> list[Any]:
        value, place = load(builder, vector, builder.gep(begin, [k])), builder.gep(end, [k])
        store(builder, builder.fadd(load(builder, vector, place), value) if adds else value, place)
        return values

    counted_loop(builder, integer(0), whole, vector.count, [], body)
    with builder.if_then(builder.icmp_signed("<", whole, count)):
        value, place = load_masked(builder, vector, builder.gep(begin, [whole]), mask), builder.gep(end, [whole])
        if adds:
            value = builder.fadd(load_masked(builder, vector, place, mask), value)
        if rounds:
            store(builder, value, place)
        else:
            store_masked(builder, value, place, mask)


def _rest(builder: Any, vector: Any, count: Any) -> Any:
    return mask_below(builder, vector, builder.and_(count, integer(vector.count - 1)))


def _row(*, adds: bool) -> Intrinsic:
    def emit(typing_context: Any, target: Any, it: Any, source: Any, i: Any, count: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to, it, source_, i, count = args
            vector = vector_type(target)
            end = builder.gep(data_pointer(context, builder, target, to), [it])
            begin = builder.gep(data_pointer(context, builder, source, source_), [i])
            _along_row(builder, vector, end, begin, count, _rest(builder, vector, count), adds=adds)
            return context.get_dummy_value()

        return types.void(target, types.intp, source, types.intp, types.intp), code

    def python(target: Any, it: int, source: Any, i: int, count: int) -> None:
        target[it : it + count] = source[i : i + count] + (target[it : it + count] if adds else 0)

    return intrinsic(emit)(python)


copy_row = _row(adds=False)  # (target, it, source, i, count): target[it : it + count] = source[i : i + count]
add_row = _row(adds=True)  # the same with +=


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
        mask = _rest(builder, vector, count)

        def body(r: Any, values: list[Any]) -> list[Any]:
            offset = builder.load(builder.gep(offsets, [builder.mul(r, integer(2))]))
            place = builder.gep(end, [builder.mul(r, pitch)])
            _along_row(builder, vector, place, builder.gep(begin, [offset]), count, mask, rounds=True)
            return values

        counted_loop(builder, integer(0), rows, 1, [], body)
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
