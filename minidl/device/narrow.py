"""Turning narrow matrices: places with a few numbers each, side by side in memory, to vectors of places and back.

For as many rows as a vector has lanes, every row is read as a whole vector, of which the first `columns` lanes count; the square
is turned in registers. On the way back every row is written as a whole vector, whose surplus the next row writes over: so
rows go in order, and those at the end one number at a time. (With masks instead a number cost 11 ns, and one number at a
time 4 to 7; so 1.)
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import inline, intrinsic
from minidl.device.transpose import transpose, turned
from minidl.device.vectors import data_pointer, integer, lanes, lanes_of, load, store, vector_type


def _emit_apart(
    typing_context: Any, target: Any, at: Any, step: Any, source: Any, i: Any, columns: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, at, step, from_, i, columns = args
        vector = vector_type(source)
        begin = builder.gep(data_pointer(context, builder, source, from_), [i])
        end = builder.gep(data_pointer(context, builder, target, to), [at])
        rows = [
            load(builder, vector, builder.gep(begin, [builder.mul(integer(r), columns)])) for r in range(vector.count)
        ]
        for q, line in enumerate(turned(builder, rows)):
            with builder.if_then(builder.icmp_signed("<", integer(q), columns)):
                store(builder, line, builder.gep(end, [builder.mul(integer(q), step)]))
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, number, source, number, number), code


def _emit_together(
    typing_context: Any, target: Any, i: Any, source: Any, at: Any, step: Any, columns: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, i, from_, at, step, columns = args
        vector = vector_type(source)
        begin = builder.gep(data_pointer(context, builder, source, from_), [at])
        end = builder.gep(data_pointer(context, builder, target, to), [i])
        last = builder.sub(columns, integer(1))
        lines = []
        for q in range(vector.count):
            exists = builder.icmp_signed("<", integer(q), columns)
            line = builder.select(exists, integer(q), last)  # any line will do for lanes that are written over
            lines.append(load(builder, vector, builder.gep(begin, [builder.mul(line, step)])))
        for r, row in enumerate(turned(builder, lines)):
            store(builder, row, builder.gep(end, [builder.mul(integer(r), columns)]))
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, source, number, number, number), code


@intrinsic(_emit_apart)
def _square_apart(target: Any, at: int, step: int, source: Any, i: int, columns: int) -> None:
    for r in range(lanes_of(source.dtype)):
        for q in range(columns):
            target[at + q * step + r] = source[i + r * columns + q]


@intrinsic(_emit_together)
def _square_together(target: Any, i: int, source: Any, at: int, step: int, columns: int) -> None:
    for r in range(lanes_of(source.dtype)):
        for q in range(columns):
            target[i + r * columns + q] = source[at + q * step + r]


@inline
def columns_apart(target: Any, step: int, source: Any, i: int, rows: int, columns: int) -> None:
    """target[q * step + r] = source[i + r * columns + q] for all rows r and columns q; flat arrays."""
    width, r = lanes(source), 0
    if columns > width:
        transpose(target, 0, step, source, i, columns, rows, columns)
        return
    while r + width <= rows and i + (r + width - 1) * columns + width <= source.size:
        _square_apart(target, r, step, source, i + r * columns, columns)
        r += width
    for row in range(r, rows):
        for q in range(columns):
            target[q * step + row] = source[i + row * columns + q]


@inline
def columns_together(target: Any, i: int, source: Any, step: int, rows: int, columns: int) -> None:
    """target[i + r * columns + q] = source[q * step + r]: the way back."""
    width, r = lanes(source), 0
    if columns > width:
        transpose(target, i, columns, source, 0, step, columns, rows)
        return
    while (r + width - 1) * columns + width <= rows * columns:
        _square_together(target, i + r * columns, source, r, step, columns)
        r += width
    for row in range(r, rows):
        for q in range(columns):
            target[i + row * columns + q] = source[q * step + row]
