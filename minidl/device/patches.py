"""M·X·Lᵀ for small matrices M and L of constants and a grid X of vectors: the transforms of Winograd's convolution.

A grid of vectors (one for each pixel of a patch, with a channel in each lane) is loaded, transformed along its columns
and then along its rows in registers, and stored. Zeros and ones cost nothing, and what rows or columns share is summed
once: two rows that differ only in the signs of their odd columns are `even + odd` and `even - odd`; two columns that
differ only in signs enter as their sum and their difference. So the 6×6 input transform of F(4×4, 3×3) takes 12
operations a line instead of 26. Plain loops for the same left LLVM with 36 streams that may overlap, which it does not
vectorise.

The result is made a few rows at a time (`groups`), and for each group the rows of X that it needs are loaded once
more: that is cheaper than to keep all of M·X, of which most would go to the stack and back.

A grid may reach over the border of an image: pixels outside `Bounds` are read from, or written to, a spare vector.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    data_pointer,
    integer,
    lanes_of,
    load,
    load_masked,
    mask_below,
    multiply_add,
    offset_by,
    splat,
    store,
    store_masked,
    vector_type,
    zeros,
)

Matrix = tuple[tuple[float, ...], ...]
Groups = tuple[tuple[int, ...], ...]


def _scaled(builder: Any, value: Any, factor: float) -> Any:
    from llvmlite import ir

    return builder.fmul(value, ir.Constant(value.type, [factor] * value.type.count))


def _combined(builder: Any, row: tuple[float, ...], values: list[Any]) -> Any:
    """The sum of row[j]·values[j]; None if all of row is zero."""
    from llvmlite import ir

    terms = sorted(((f, v) for f, v in zip(row, values, strict=True) if f), key=lambda term: term[0] != 1)
    total = None
    for factor, value in terms:
        if total is None:
            total = value if factor == 1 else _scaled(builder, value, factor)
        elif abs(factor) == 1:
            total = builder.fadd(total, value) if factor == 1 else builder.fsub(total, value)
        else:
            constant = ir.Constant(value.type, [factor] * value.type.count)
            total = multiply_add(builder, constant, value, total)
    return total


def _times(builder: Any, matrix: Matrix, values: list[Any]) -> list[Any]:
    """matrix · values."""
    for j in range(len(values) - 1):
        pairs = [(row[j], row[j + 1]) for row in matrix]
        products = {a * b > 0 for a, b in pairs if a}
        if products and all(abs(a) == abs(b) for a, b in pairs) and (len(matrix) > 1 or abs(pairs[0][0]) != 1):
            plus = builder.fadd(values[j], values[j + 1]) if True in products else None
            minus = builder.fsub(values[j], values[j + 1]) if False in products else None
            swapped = tuple(
                (*row[:j], *((row[j], 0.0) if row[j] == row[j + 1] else (0.0, row[j])), *row[j + 2 :]) for row in matrix
            )
            return _times(builder, swapped, [*values[:j], plus, minus, *values[j + 2 :]])
    result: list[Any] = []
    for i, row in enumerate(matrix):
        mirrored = tuple(-f if j % 2 else f for j, f in enumerate(row))
        if len(result) > i:
            continue
        if i + 1 < len(matrix) and matrix[i + 1] == mirrored and mirrored != row:
            even = _combined(builder, tuple(0.0 if j % 2 else f for j, f in enumerate(row)), values)
            odd = _combined(builder, tuple(f if j % 2 else 0.0 for j, f in enumerate(row)), values)
            result += [builder.fadd(even, odd), builder.fsub(even, odd)]
        else:
            result.append(_combined(builder, row, values))
    return result


Cell = Callable[[int, int], Any]


def _grid(context: Any, builder: Any, array: Any, value: Any, index: Any, down: Any, along: Any) -> Cell:
    """The address of the vector in row r, column q of a grid in an array."""
    begin = builder.gep(data_pointer(context, builder, array, value), [index])

    def at(r: int, q: int) -> Any:
        offset = builder.add(builder.mul(integer(r), down), builder.mul(integer(q), along))
        return builder.gep(begin, [offset])

    return at


def _bounded(builder: Any, cell: Cell, shape: tuple[int, int], bounds: Sequence[Any], spare: Any) -> Cell:
    """`cell` for rows bounds[0] <= r < bounds[1] and columns bounds[2] <= q < bounds[3]; else `spare`."""

    def inside(size: int, low: Any, high: Any) -> list[Any]:
        numbers = [integer(i) for i in range(size)]
        return [builder.and_(builder.icmp_signed(">=", i, low), builder.icmp_signed("<", i, high)) for i in numbers]

    rows, columns = inside(shape[0], *bounds[:2]), inside(shape[1], *bounds[2:])
    return lambda r, q: builder.select(builder.and_(rows[r], columns[q]), cell(r, q), spare)


def _transformed(builder: Any, down: Matrix, along: Matrix, groups: Groups, read: Cell, finish: Any) -> None:
    """Call `finish(r, values)` for every row r of down · X · alongᵀ; `read(r, q)` is X[r, q]."""
    for group in groups:
        part = tuple(down[i] for i in group)
        needed = [any(column) for column in zip(*part, strict=True)]
        columns = []
        for q in range(len(along[0])):
            values = [read(r, q) if is_needed else None for r, is_needed in enumerate(needed)]
            columns.append(_times(builder, part, values))
        for i, r in enumerate(group):
            finish(r, _times(builder, along, [column[i] for column in columns]))


def _reader(builder: Any, vector: Any, cell: Cell, count: Any = None) -> Cell:
    """The vector at a cell, of which only the lanes below `count` are there."""
    if count is None:
        return lambda r, q: load(builder, vector, cell(r, q))
    mask = mask_below(builder, vector, count)
    return lambda r, q: load_masked(builder, vector, cell(r, q), mask)


def patch_transform(down_matrix: Matrix, along_matrix: Matrix, groups: Groups, *, bounded: bool = False) -> Intrinsic:
    """The intrinsic (target, it, down, along, source, i, source_down, source_along, top, bottom, left, right, zeros,
    count).

    It writes down_matrix · X · along_matrixᵀ, where X[r, q] is the vector at source[i + r source_down +
    q source_along]; number (r, q) of the result goes to target[it + r down + q along]. If `bounded`, X is zero but for
    rows top <= r < bottom and columns left <= q < right, and so are its lanes from `count` on, whose memory is not
    touched; `zeros` is an array that begins with a vector of zeros.
    """
    shape = len(down_matrix[0]), len(along_matrix[0])

    def emit(
        typing_context: Any, target: Any, it: Any, down: Any, along: Any, source: Any, i: Any, source_down: Any,
        source_along: Any, top: Any, bottom: Any, left: Any, right: Any, zeros: Any, count: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(target)
            end = _grid(context, builder, target, *args[:4])
            begin = _grid(context, builder, source, *args[4:8])
            read = _reader(builder, vector, begin)
            if bounded:
                begin = _bounded(builder, begin, shape, args[8:12], data_pointer(context, builder, zeros, args[12]))
                read = _reader(builder, vector, begin, args[13])

            def finish(r: int, values: list[Any]) -> None:
                for q, value in enumerate(values):
                    store(builder, value, end(r, q))

            _transformed(builder, down_matrix, along_matrix, groups, read, finish)
            return context.get_dummy_value()

        step = types.intp
        return types.void(target, *[step] * 3, source, *[step] * 7, zeros, step), code

    def python(
        target: Any, it: int, down: int, along: int, source: Any, i: int, source_down: int, source_along: int,
        top: int, bottom: int, left: int, right: int, zeros: Any, count: int,
    ) -> None:  # fmt: skip
        bounds = (top, bottom, left, right) if bounded else (0, shape[0], 0, shape[1])
        ahead = [min(max(0, bound), shape[place // 2]) for place, bound in enumerate(bounds)]
        for lane in range(lanes_of(target.dtype)):
            seen = [0, 0, 0, 0] if bounded and lane >= count else ahead
            for r, q, total in _in_python(down_matrix, along_matrix, source, i + lane, source_down, source_along, seen):
                target[it + r * down + q * along + lane] = total

    return intrinsic(emit)(python)


def gathered_transform(down_matrix: Matrix, along_matrix: Matrix) -> Intrinsic:
    """`patch_transform` of numbers that lie apart: (target, it, down, along, source, i, places, i_place, lane_step,
    count).

    Lane n of X[r, q] is source[i + places[i_place + r columns + q] + n lane_step]; where the place is below zero X is
    zero. Lanes from `count` on repeat the one before them.
    """
    rows, size = len(down_matrix[0]), len(along_matrix[0])
    every = (tuple(range(len(down_matrix))),)

    def emit(
        typing_context: Any, target: Any, it: Any, down: Any, along: Any, source: Any, i: Any, places: Any,
        i_place: Any, lane_step: Any, count: Any,
    ) -> Any:  # fmt: skip
        from llvmlite import ir
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(target)
            end = _grid(context, builder, target, *args[:4])
            begin = offset_by(builder, data_pointer(context, builder, source, args[4]), args[5])
            first = offset_by(builder, data_pointer(context, builder, places, args[6]), args[7])
            last, offsets = builder.sub(args[9], integer(1)), []
            for number in map(integer, range(vector.count)):
                lane = builder.select(builder.icmp_signed("<", number, last), number, last)
                offsets.append(builder.mul(lane, args[8]))

            def read(r: int, q: int) -> Any:
                place, value = builder.load(offset_by(builder, first, r * size + q)), ir.Constant(vector, ir.Undefined)
                is_there = builder.icmp_signed(">=", place, integer(0))
                seen = offset_by(builder, begin, builder.select(is_there, place, integer(0)))
                for lane, offset in enumerate(offsets):
                    number = builder.load(offset_by(builder, seen, offset))
                    value = builder.insert_element(value, number, ir.Constant(ir.IntType(32), lane))
                return builder.select(is_there, value, zeros(vector))

            def finish(r: int, values: list[Any]) -> None:
                for q, value in enumerate(values):
                    store(builder, value, end(r, q))

            _transformed(builder, down_matrix, along_matrix, every, read, finish)
            return context.get_dummy_value()

        step = types.intp
        return types.void(target, *[step] * 3, source, step, places, *[step] * 3), code

    def python(
        target: Any, it: int, down: int, along: int, source: Any, i: int, places: Any, i_place: int, lane_step: int,
        count: int,
    ) -> None:  # fmt: skip
        taps = places[i_place : i_place + rows * size]
        for lane in range(lanes_of(target.dtype)):
            first = i + min(lane, count - 1) * lane_step
            seen = [source[first + tap] if tap >= 0 else source.dtype.type(0) for tap in taps]
            for r, q, total in _in_python(down_matrix, along_matrix, seen, 0, size, 1, (0, rows, 0, size)):
                target[it + r * down + q * along + lane] = total

    return intrinsic(emit)(python)


def tile_transform(
    down_matrix: Matrix, along_matrix: Matrix, groups: Groups, *, careful: bool = False, narrow: bool = False
) -> Intrinsic:
    """`patch_transform` for results: the vector lift[i_lift:] is added before they are stored.

    The intrinsic takes (target, it, down, along, source, i, source_down, source_along, lift, i_lift, bottom, right,
    residual, i_residual, residual_down, residual_along, floor, spare, count). If `careful`, it also adds the grid of
    vectors at residual[i_residual:], raises what is below `floor` to it (a NaN stays), and does not write rows from
    `bottom` and columns from `right` on; `spare` has room for a vector. If `narrow`, only the lanes below `count` of
    results and residual are there.
    """
    shape, seen = (len(down_matrix), len(along_matrix)), (len(down_matrix[0]), len(along_matrix[0]))

    def emit(
        typing_context: Any, target: Any, it: Any, down: Any, along: Any, source: Any, i: Any, source_down: Any,
        source_along: Any, lift: Any, i_lift: Any, bottom: Any, right: Any, residual: Any, i_residual: Any,
        residual_down: Any, residual_along: Any, floor: Any, spare: Any, count: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(target)
            end = _grid(context, builder, target, *args[:4])
            begin = _grid(context, builder, source, *args[4:8])
            added = _grid(context, builder, residual, *args[12:16])
            lifted = load(builder, vector, builder.gep(data_pointer(context, builder, lift, args[8]), [args[9]]))
            lowest = splat(builder, vector, args[16])
            if careful:
                nowhere = data_pointer(context, builder, spare, args[17])
                bounds = (integer(0), args[10], integer(0), args[11])
                end, added = (_bounded(builder, cell, shape, bounds, nowhere) for cell in (end, added))
            residue = _reader(builder, vector, added, args[18] if narrow else None)
            mask = mask_below(builder, vector, args[18])

            def finish(r: int, values: list[Any]) -> None:
                for q, value in enumerate(values):
                    total = builder.fadd(value, lifted)
                    if careful:
                        total = builder.fadd(total, residue(r, q))
                        total = builder.select(builder.fcmp_ordered("<", total, lowest), lowest, total)
                    if narrow:
                        store_masked(builder, total, end(r, q), mask)
                    else:
                        store(builder, total, end(r, q))

            _transformed(builder, down_matrix, along_matrix, groups, _reader(builder, vector, begin), finish)
            return context.get_dummy_value()

        step = types.intp
        kinds = (target, *[step] * 3, source, *[step] * 3, lift, *[step] * 3, residual, *[step] * 3)
        return types.void(*kinds, target.dtype, spare, step), code

    def python(
        target: Any, it: int, down: int, along: int, source: Any, i: int, source_down: int, source_along: int,
        lift: Any, i_lift: int, bottom: int, right: int, residual: Any, i_residual: int, residual_down: int,
        residual_along: int, floor: float, spare: Any, count: int,
    ) -> None:  # fmt: skip
        given = (source_down, source_along, (0, seen[0], 0, seen[1]))
        for lane in range(count if narrow else lanes_of(target.dtype)):
            for r, q, value in _in_python(down_matrix, along_matrix, source, i + lane, *given):
                total = value + lift[i_lift + lane]
                if careful:
                    if r >= bottom or q >= right:
                        continue
                    total += residual[i_residual + r * residual_down + q * residual_along + lane]
                    total = floor if total < floor else total
                target[it + r * down + q * along + lane] = total

    return intrinsic(emit)(python)


def _in_python(
    down_matrix: Matrix, along_matrix: Matrix, source: Any, i: int, down: int, along: int, bounds: Sequence[int]
) -> list[tuple[int, int, Any]]:
    """(r, q, number) of down_matrix · X · along_matrixᵀ, for one lane."""
    top, bottom, left, right = bounds
    cells = [(a, b, source[i + a * down + b * along]) for a in range(top, bottom) for b in range(left, right)]
    return [
        (r, q, sum(down_matrix[r][a] * along_matrix[q][b] * value for a, b, value in cells))
        for r in range(len(down_matrix))
        for q in range(len(along_matrix))
    ]
