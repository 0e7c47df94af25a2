"""Turning narrow matrices: places with a few numbers each, side by side in memory, to vectors of places and back.

For as many rows as a vector has lanes, every row is read in whole vectors, of which the last may have surplus lanes;
squares are turned in registers. On the way back every row is written as a whole vector, whose surplus the next row
writes over: so rows go in order, and those at the end one number at a time. (With masks instead, 4 columns cost 11 ns a
number.)

Two to four columns are as many vectors of memory as of places, and each lane of the one is some lane of the other: a
square would move 16 rows to keep two of its lines.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.transpose import turned
from minidl.device.vectors import data_pointer, integer, lanes, lanes_of, load, offset_by, store, vector_type


def _emit_apart(
    typing_context: Any, target: Any, at: Any, step: Any, source: Any, i: Any, ld: Any, columns: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, at, step, from_, i, ld, columns = args
        vector = vector_type(source)
        begin = builder.gep(data_pointer(context, builder, source, from_), [i])
        end = builder.gep(data_pointer(context, builder, target, to), [at])
        rows = [load(builder, vector, builder.gep(begin, [builder.mul(integer(r), ld)])) for r in range(vector.count)]
        for q, line in enumerate(turned(builder, rows)):
            with builder.if_then(builder.icmp_signed("<", integer(q), columns)):
                store(builder, line, builder.gep(end, [builder.mul(integer(q), step)]))
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, number, source, number, number, number), code


def _emit_together(
    typing_context: Any, target: Any, i: Any, ld: Any, source: Any, at: Any, step: Any, columns: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to, i, ld, from_, at, step, columns = args
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
            store(builder, row, builder.gep(end, [builder.mul(integer(r), ld)]))
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, number, source, number, number, number), code


@intrinsic(_emit_apart)
def _square_apart(target: Any, at: int, step: int, source: Any, i: int, ld: int, columns: int) -> None:
    for r in range(lanes_of(source.dtype)):
        for q in range(min(columns, lanes_of(source.dtype))):
            target[at + q * step + r] = source[i + r * ld + q]


@intrinsic(_emit_together)
def _square_together(target: Any, i: int, ld: int, source: Any, at: int, step: int, columns: int) -> None:
    for r in range(lanes_of(source.dtype)):
        for q in range(min(columns, lanes_of(source.dtype))):
            target[i + r * ld + q] = source[at + q * step + r]


def _gathered(builder: Any, vectors: list[Any], places: list[tuple[int, int]]) -> Any:
    """The vector whose lanes are these (vector, lane), picked from two vectors at a time."""
    from llvmlite import ir

    count, number = len(places), ir.IntType(32)
    picked = vectors[0]
    for v, other in enumerate(vectors[1:], 1):
        lanes_ = []
        for place, (vector, lane) in enumerate(places):
            lanes_.append(count + lane if vector == v else lane if v == 1 else place)
        picked = builder.shuffle_vector(picked, other, ir.Constant(ir.VectorType(number, count), lanes_))
    return picked


def _few_apart(columns: int) -> Intrinsic:
    """As many rows as a vector has lanes, of so many columns: target[at + q step + r] = source[i + r columns + q]."""

    def emit(typing_context: Any, target: Any, at: Any, step: Any, source: Any, i: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(source)
            begin = offset_by(builder, data_pointer(context, builder, source, args[3]), args[4])
            end = offset_by(builder, data_pointer(context, builder, target, args[0]), args[1])
            given = [load(builder, vector, offset_by(builder, begin, v * vector.count)) for v in range(columns)]
            for q in range(columns):
                places = [divmod(r * columns + q, vector.count) for r in range(vector.count)]
                line = offset_by(builder, end, builder.mul(integer(q), args[2]))
                store(builder, _gathered(builder, given, places), line)
            return context.get_dummy_value()

        number = types.intp
        return types.void(target, number, number, source, number), code

    def python(target: Any, at: int, step: int, source: Any, i: int) -> None:
        for r in range(lanes_of(source.dtype)):
            for q in range(columns):
                target[at + q * step + r] = source[i + r * columns + q]

    return intrinsic(emit)(python)


def _few_together(columns: int) -> Intrinsic:
    """The way back: target[i + r columns + q] = source[at + q step + r]."""

    def emit(typing_context: Any, target: Any, i: Any, source: Any, at: Any, step: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(source)
            begin = offset_by(builder, data_pointer(context, builder, source, args[2]), args[3])
            end = offset_by(builder, data_pointer(context, builder, target, args[0]), args[1])
            steps = [builder.mul(integer(q), args[4]) for q in range(columns)]
            lines = [load(builder, vector, offset_by(builder, begin, step)) for step in steps]
            for v in range(columns):
                numbers = range(v * vector.count, (v + 1) * vector.count)
                places = [(number % columns, number // columns) for number in numbers]
                store(builder, _gathered(builder, lines, places), offset_by(builder, end, v * vector.count))
            return context.get_dummy_value()

        number = types.intp
        return types.void(target, number, source, number, number), code

    def python(target: Any, i: int, source: Any, at: int, step: int) -> None:
        for r in range(lanes_of(source.dtype)):
            for q in range(columns):
                target[i + r * columns + q] = source[at + q * step + r]

    return intrinsic(emit)(python)


_two_apart, _three_apart, _four_apart = map(_few_apart, (2, 3, 4))
_two_together, _three_together, _four_together = map(_few_together, (2, 3, 4))


@inline
def columns_apart(target: Any, step: int, source: Any, i: int, rows: int, columns: int) -> None:
    """target[q * step + r] = source[i + r * columns + q] for all rows r and columns q; flat arrays."""
    width, r = lanes(source), 0
    while 2 <= columns <= 4 and r + width <= rows:
        if columns == 2:
            _two_apart(target, r, step, source, i + r * columns)
        elif columns == 3:
            _three_apart(target, r, step, source, i + r * columns)
        else:
            _four_apart(target, r, step, source, i + r * columns)
        r += width
    end = columns + width - 1  # what reading whole vectors may need of the last row
    while r + width <= rows and i + (r + width - 1) * columns + end <= source.size:
        for q in range(0, columns, width):
            _square_apart(target, q * step + r, step, source, i + r * columns + q, columns, columns - q)
        r += width
    for row in range(r, rows):
        for q in range(columns):
            target[q * step + row] = source[i + row * columns + q]


@inline
def columns_together(target: Any, i: int, source: Any, step: int, rows: int, columns: int) -> None:
    """target[i + r * columns + q] = source[q * step + r]: the way back."""
    width, r = lanes(source), 0
    while 2 <= columns <= 4 and r + width <= rows:
        if columns == 2:
            _two_together(target, i + r * columns, source, r, step)
        elif columns == 3:
            _three_together(target, i + r * columns, source, r, step)
        else:
            _four_together(target, i + r * columns, source, r, step)
        r += width
    end = columns + width - 1
    last = (columns - 1) // width * width
    while (r + width - 1) * columns + end <= rows * columns:
        for q in range(last, -1, -width):  # from the right: its surplus lies where the next row begins
            _square_together(target, i + r * columns + q, columns, source, q * step + r, step, columns - q)
        r += width
    for row in range(r, rows):
        for q in range(columns):
            target[i + row * columns + q] = source[q * step + row]
