"""Register tiles for convolutions with few channels: the windows are read where they lie, by a table of offsets.

All windows of a row see the same pattern: number s of window i is at i·step + offset[s]. So one loop over s serves
every size, dilation and number of channels, and short sums (9 products for one channel and 3×3) pay for one loop, not
for three nested ones.

| intrinsic | lanes are | one step is |
|---|---|---|
| `filters_*` | filters | one number of every window, times a row of weights |
| `channels_*` | channels | one vector of every window, times a vector of weights of every filter |
| `outer_*` | filters or channels | one window: numbers of one array times vectors of the other (weight gradient) |
"""

from __future__ import annotations

import itertools
from typing import Any

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.transpose import sums_across
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    hidden,
    host_number,
    integer,
    lanes_of,
    load,
    multiply_add,
    offset_by,
    registers,
    splat,
    store,
    vector_type,
    zeros,
)


def windows_of(vectors: int) -> int:
    """Windows of a `filters_tile`.

    LLVM puts all reads of a step first, so that many numbers want registers beside the sums and the weights: with 12
    windows of 2 vectors it goes to the stack, and takes twice as long as with 8.
    """
    if registers() == 16:
        return {1: 12, 2: 6}[vectors]
    return {1: 12, 2: 8}[vectors]


def _start(context: Any, builder: Any, array: Any, value: Any, *offsets: Any) -> Any:
    return offset_by(builder, data_pointer(context, builder, array, value), *offsets)


def filters_tile(vectors: int) -> Intrinsic:
    """The intrinsic (c, ic, ldc, x, ix, step, table, steps, weight, iw, lift, i_lift), with filters in the lanes.

    For i < `windows_of(vectors)` windows and f < vectors · lanes filters,
    c[ic + i ldc + f] = lift[i_lift + f] + Σ over s < steps of x[ix + i step + table[s]] · weight[iw + s width + f].
    """

    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, x: Any, ix: Any, step: Any, table: Any, steps: Any, weight: Any,
        iw: Any, lift: Any, i_lift: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            c_, ic_, ldc_, x_, ix_, step_, table_, steps_, weight_, iw_, lift_, i_lift_ = args
            vector, windows = vector_type(c), windows_of(vectors)
            begin = _start(context, builder, x, x_, ix_)
            rows = [offset_by(builder, begin, builder.mul(integer(i), step_)) for i in range(windows)]
            offsets, right = _start(context, builder, table, table_), _start(context, builder, weight, weight_, iw_)
            first = _start(context, builder, lift, lift_, i_lift_)
            lifted = [load(builder, vector, offset_by(builder, first, v * vector.count)) for v in range(vectors)]

            def body(s: Any, sums: list[Any]) -> list[Any]:
                offset = builder.load(offset_by(builder, offsets, s))
                row = offset_by(builder, right, builder.mul(s, integer(vectors * vector.count)))
                weights = [load(builder, vector, offset_by(builder, row, v * vector.count)) for v in range(vectors)]
                new = []
                for i, pointer in enumerate(rows):
                    one = splat(builder, vector, builder.load(offset_by(builder, pointer, offset)))
                    new += [multiply_add(builder, one, weights[v], sums[i * vectors + v]) for v in range(vectors)]
                return new

            sums = counted_loop(builder, integer(0), steps_, 1, lifted * windows, body, hide=True)[1]
            end = _start(context, builder, c, c_, ic_)
            for i in range(windows):
                for v in range(vectors):
                    place = offset_by(builder, end, builder.mul(integer(i), ldc_), v * vector.count)
                    store(builder, sums[i * vectors + v], place)
            return context.get_dummy_value()

        n = types.intp
        return types.void(c, n, n, x, n, n, table, n, weight, n, lift, n), code

    def python(
        c: Any, ic: int, ldc: int, x: Any, ix: int, step: int, table: Any, steps: int, weight: Any, iw: int, lift: Any,
        i_lift: int,
    ) -> None:  # fmt: skip
        width = vectors * lanes_of(c.dtype)
        for i in range(windows_of(vectors)):
            for f in range(width):
                total = lift[i_lift + f]
                for s in range(steps):
                    total += x[ix + i * step + table[s]] * weight[iw + s * width + f]
                c[ic + i * ldc + f] = total

    return intrinsic(emit)(python)


windows_1, windows_2 = host_number(windows_of, 1), host_number(windows_of, 2)


def channels_tile(filters: int) -> Intrinsic:
    """The intrinsic of `filters_tile`, with channels in the lanes: for `filters` filters of lanes / filters windows.

    table[s] is where vector s of a window begins, and its weights for filter f are at weight[iw + (s filters + f)
    lanes:]. All results are added up across their lanes at once, and fill one vector.
    """

    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, x: Any, ix: Any, step: Any, table: Any, steps: Any, weight: Any,
        iw: Any, lift: Any, i_lift: Any,
    ) -> Any:  # fmt: skip
        from llvmlite import ir
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            c_, ic_, ldc_, x_, ix_, step_, table_, steps_, weight_, iw_, lift_, i_lift_ = args
            vector = vector_type(c)
            windows = vector.count // filters
            begin = _start(context, builder, x, x_, ix_)
            rows = [offset_by(builder, begin, builder.mul(integer(i), step_)) for i in range(windows)]
            offsets, right = _start(context, builder, table, table_), _start(context, builder, weight, weight_, iw_)

            def body(s: Any, sums: list[Any]) -> list[Any]:
                offset = builder.load(offset_by(builder, offsets, s))
                row = offset_by(builder, right, builder.mul(s, integer(filters * vector.count)))
                weights = [load(builder, vector, offset_by(builder, row, f * vector.count)) for f in range(filters)]
                new = []
                for i, pointer in enumerate(rows):
                    pixel = load(builder, vector, offset_by(builder, pointer, offset))
                    new += [multiply_add(builder, pixel, weights[f], sums[i * filters + f]) for f in range(filters)]
                return new

            none = [zeros(vector)] * (windows * filters)
            sums = sums_across(builder, counted_loop(builder, integer(0), steps_, 1, none, body, hide=True)[1])
            first, end = _start(context, builder, lift, lift_, i_lift_), _start(context, builder, c, c_, ic_)
            lifts, number = ir.Constant(vector, ir.Undefined), ir.IntType(32)
            for f in range(filters):
                lifts = builder.insert_element(
                    lifts, builder.load(offset_by(builder, first, f)), ir.Constant(number, f)
                )
            every = ir.Constant(ir.VectorType(number, vector.count), [lane % filters for lane in range(vector.count)])
            sums = builder.fadd(sums, builder.shuffle_vector(lifts, lifts, every))
            with builder.if_else(builder.icmp_signed("==", ldc_, integer(filters))) as (beside, apart):
                with beside:
                    store(builder, sums, end)
                with apart:
                    for i, f in itertools.product(range(windows), range(filters)):
                        total = builder.extract_element(sums, ir.Constant(number, i * filters + f))
                        builder.store(total, offset_by(builder, end, builder.mul(integer(i), ldc_), f))
            return context.get_dummy_value()

        n = types.intp
        return types.void(c, n, n, x, n, n, table, n, weight, n, lift, n), code

    def python(
        c: Any, ic: int, ldc: int, x: Any, ix: int, step: int, table: Any, steps: int, weight: Any, iw: int, lift: Any,
        i_lift: int,
    ) -> None:  # fmt: skip
        lanes = lanes_of(c.dtype)
        for i in range(lanes // filters):
            for f in range(filters):
                total = c.dtype.type(0)
                for s in range(steps):
                    for lane in range(lanes):
                        pixel = x[ix + i * step + table[s] + lane]
                        total += pixel * weight[iw + (s * filters + f) * lanes + lane]
                c[ic + i * ldc + f] = total + lift[i_lift + f]

    return intrinsic(emit)(python)


def outer_tile(rows: int, vectors: int, copies: int = 1) -> Intrinsic:
    """A tile of sums of numbers times vectors, from `copies` windows at a time where these sums are too few to be fast.

    The intrinsic (c, ic, a, ia, a_down, a_step, a_table, i_row, b, ib, b_down, b_step, b_table, i_vector, down, count):
    c[ic + (r vectors + v) lanes:] += Σ over y < down, i < count of a[ia + y a_down + i a_step + a_table[i_row + r]]
    times the vector b[ib + y b_down + i b_step + b_table[i_vector + v]:].
    """

    def emit(
        typing_context: Any, c: Any, ic: Any, a: Any, ia: Any, a_down: Any, a_step: Any, a_table: Any, i_row: Any,
        b: Any, ib: Any, b_down: Any, b_step: Any, b_table: Any, i_vector: Any, down: Any, count: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            (c_, ic_, a_, ia_, a_down_, a_step_, a_table_, i_row_, b_, ib_, b_down_, b_step_, b_table_, i_vector_,
             down_, count_) = args  # fmt: skip
            vector = vector_type(c)
            numbers = _start(context, builder, a_table, a_table_, i_row_)
            places = _start(context, builder, b_table, b_table_, i_vector_)
            left = [
                _start(context, builder, a, a_, ia_, builder.load(offset_by(builder, numbers, r))) for r in range(rows)
            ]
            right = [
                _start(context, builder, b, b_, ib_, builder.load(offset_by(builder, places, v)))
                for v in range(vectors)
            ]
            sums_at = _start(context, builder, c, c_, ic_)
            cells = [offset_by(builder, sums_at, n * vector.count) for n in range(rows * vectors)]
            # What there are fewer of stays in registers for the whole step, of the others there is one at a time.
            in_turn = (lambda cell: cell) if rows > vectors else (lambda cell: cell[::-1])

            def line(y: Any, sums: list[Any]) -> list[Any]:
                a_row, b_row = builder.mul(y, a_down_), builder.mul(y, b_down_)

                def window(i: Any, carried: list[Any]) -> list[Any]:
                    a_at, b_at, *sums = carried
                    new = list(sums)
                    ones: list[Any] = [None] * rows
                    loaded: list[Any] = [None] * vectors
                    for r, v in sorted(itertools.product(range(rows), range(vectors)), key=in_turn):
                        if ones[r] is None:
                            number = builder.load(offset_by(builder, left[r], a_at))
                            ones[r] = splat(builder, vector, number)
                        if loaded[v] is None:
                            loaded[v] = load(builder, vector, offset_by(builder, right[v], b_at))
                        new[r * vectors + v] = multiply_add(builder, ones[r], loaded[v], sums[r * vectors + v])
                    return [
                        hidden(builder, builder.add(a_at, a_step_)),
                        hidden(builder, builder.add(b_at, b_step_)),
                        *new,
                    ]

                def some(i: Any, carried: list[Any]) -> list[Any]:
                    places = carried[:2]
                    new: list[Any] = []
                    for copy in range(copies):
                        moved = window(i, [*places, *carried[2 + copy * size : 2 + (copy + 1) * size]])
                        places, new = moved[:2], new + moved[2:]
                    return [*places, *new]

                rest = builder.srem(count_, integer(copies)) if copies > 1 else integer(0)
                whole, begin = builder.sub(count_, rest), [a_row, b_row, *sums]
                carried = counted_loop(builder, integer(0), whole, copies, begin, some, hide=True)[1]
                if copies > 1:
                    carried[: 2 + size] = counted_loop(builder, whole, count_, 1, carried[: 2 + size], window)[1]
                return carried[2:]

            size = rows * vectors
            before = [load(builder, vector, cell) for cell in cells] + [zeros(vector)] * (size * (copies - 1))
            sums = counted_loop(builder, integer(0), down_, 1, before, line, hide=True)[1]
            for i, cell in enumerate(cells):
                total = sums[i]
                for more in sums[i + size :: size]:
                    total = builder.fadd(total, more)
                store(builder, total, cell)
            return context.get_dummy_value()

        n = types.intp
        return types.void(c, n, a, n, n, n, a_table, n, b, n, n, n, b_table, n, n, n), code

    def python(
        c: Any, ic: int, a: Any, ia: int, a_down: int, a_step: int, a_table: Any, i_row: int, b: Any, ib: int,
        b_down: int, b_step: int, b_table: Any, i_vector: int, down: int, count: int,
    ) -> None:  # fmt: skip
        lanes = lanes_of(c.dtype)
        for y in range(down):
            for i in range(count):
                for r in range(rows):
                    one = a[ia + y * a_down + i * a_step + a_table[i_row + r]]
                    for v in range(vectors):
                        at = ib + y * b_down + i * b_step + b_table[i_vector + v]
                        to = ic + (r * vectors + v) * lanes
                        c[to : to + lanes] += one * b[at : at + lanes]

    return intrinsic(emit)(python)
