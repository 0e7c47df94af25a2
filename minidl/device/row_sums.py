"""Sums, sums of products, and the largest number along a row, in vectors.

Floating-point addition may not be reordered, so LLVM leaves a plain summing loop at one addition every 4 cycles. These
keep four vectors of partial sums (64 float32 with AVX-512), which are added up pairwise at the end: the order is fixed,
and errors grow with n / 64 instead of n.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    load,
    load_masked,
    mask_below,
    multiply_add,
    splat,
    vector_type,
    zeros,
)

ROWS = 4  # vectors of partial sums: an addition takes 4 cycles, and two begin in each


def total_of(builder: Any, rows: list[Any], join: Any = None) -> Any:
    """All lanes of all rows, added up (or joined) pairwise."""
    from llvmlite import ir

    join = join or builder.fadd
    while len(rows) > 1:
        rows = [join(rows[i], rows[i + 1]) for i in range(0, len(rows), 2)]
    (row,) = rows
    width = row.type.count
    numbers = ir.VectorType(ir.IntType(32), width)
    half = width // 2
    while half:
        moved = ir.Constant(numbers, [(lane + half) % width for lane in range(width)])
        row = join(row, builder.shuffle_vector(row, row, moved))
        half //= 2
    return builder.extract_element(row, ir.Constant(ir.IntType(32), 0))


def _summed(builder: Any, vector: Any, n: Any, add: Any) -> Any:
    """The sum of what `add(k, mask, total)` adds to a vector for each k; mask is None where all lanes count."""
    return total_of(builder, _swept(builder, vector, n, add, zeros(vector)))


def _swept(builder: Any, vector: Any, n: Any, add: Any, start: Any) -> list[Any]:
    width = vector.count
    whole = builder.and_(n, integer(-ROWS * width))

    def round_(k: Any, rows: list[Any]) -> list[Any]:
        return [add(builder.add(k, integer(r * width)), None, row) for r, row in enumerate(rows)]

    def rest(k: Any, rows: list[Any]) -> list[Any]:
        return [add(k, mask_below(builder, vector, builder.sub(n, k)), rows[0]), *rows[1:]]

    k, rows = counted_loop(builder, integer(0), whole, ROWS * width, [start] * ROWS, round_)
    _, rows = counted_loop(builder, k, n, width, rows, rest)
    return rows


def _emit_sum(typing_context: Any, a: Any, i: Any, n: Any) -> Any:
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(a)
        begin = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])

        def add(k: Any, mask: Any, total: Any) -> Any:
            place = builder.gep(begin, [k])
            value = load(builder, vector, place) if mask is None else load_masked(builder, vector, place, mask)
            return builder.fadd(total, value)

        return _summed(builder, vector, args[2], add)

    return a.dtype(a, types.intp, types.intp), code


def _emit_product(
    typing_context: Any, a: Any, i: Any, shift_a: Any, b: Any, j: Any, shift_b: Any, n: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(a)
        first = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])
        second = builder.gep(data_pointer(context, builder, b, args[3]), [args[4]])
        shifts = splat(builder, vector, args[2]), splat(builder, vector, args[5])

        def add(k: Any, mask: Any, total: Any) -> Any:
            values = []
            for begin, shift in zip((first, second), shifts, strict=True):
                place = builder.gep(begin, [k])
                value = load(builder, vector, place) if mask is None else load_masked(builder, vector, place, mask)
                value = builder.fsub(value, shift)
                values.append(value if mask is None else builder.select(mask, value, zeros(vector)))
            return multiply_add(builder, values[0], values[1], total)

        return _summed(builder, vector, args[6], add)

    number = types.intp
    return a.dtype(a, number, a.dtype, b, number, a.dtype, number), code


def _emit_max(typing_context: Any, a: Any, i: Any, n: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(a)
        lowest = ir.Constant(vector, [-np.inf] * vector.count)
        begin = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])

        def larger(value: Any, top: Any) -> Any:
            return builder.select(builder.fcmp_ordered(">", value, top), value, top)

        def see(k: Any, mask: Any, top: Any) -> Any:
            place = builder.gep(begin, [k])
            if mask is None:
                return larger(load(builder, vector, place), top)
            return larger(builder.select(mask, load_masked(builder, vector, place, mask), lowest), top)

        return total_of(builder, _swept(builder, vector, args[2], see, lowest), larger)

    return a.dtype(a, types.intp, types.intp), code


def _extreme(sign: str, python: Any) -> Intrinsic:
    """The function (a, i, n) that gives the largest (">") or smallest ("<") of numbers; NaN if there is one."""

    def emit(typing_context: Any, a: Any, i: Any, n: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            vector = vector_type(a)
            begin = builder.gep(data_pointer(context, builder, a, args[0]), [args[1]])
            first = splat(builder, vector, builder.load(begin))

            def further(value: Any, top: Any) -> Any:
                is_nan = builder.fcmp_unordered("uno", value, value)
                return builder.select(builder.or_(builder.fcmp_ordered(sign, value, top), is_nan), value, top)

            def see(k: Any, mask: Any, top: Any) -> Any:
                place = builder.gep(begin, [k])
                if mask is None:
                    return further(load(builder, vector, place), top)
                return further(builder.select(mask, load_masked(builder, vector, place, mask), first), top)

            return total_of(builder, _swept(builder, vector, args[2], see, first), further)

        return a.dtype(a, types.intp, types.intp), code

    return intrinsic(emit)(python)


def _python_largest(a: Any, i: int, n: int) -> Any:
    return a.reshape(-1)[i : i + n].max()


def _python_smallest(a: Any, i: int, n: int) -> Any:
    return a.reshape(-1)[i : i + n].min()


row_largest, row_smallest = _extreme(">", _python_largest), _extreme("<", _python_smallest)


@intrinsic(_emit_max)
def row_max(a: Any, i: int, n: int) -> Any:
    """The largest of n numbers from the i-th on, counted through the whole array; NaN is passed over."""
    return np.fmax.reduce(a.reshape(-1)[i : i + n], initial=-np.inf)


@intrinsic(_emit_sum)
def row_sum(a: Any, i: int, n: int) -> Any:
    """The sum of n numbers from the i-th on, counted through the whole array."""
    return a.reshape(-1)[i : i + n].sum()


@intrinsic(_emit_product)
def row_product(a: Any, i: int, shift_a: float, b: Any, j: int, shift_b: float, n: int) -> Any:
    """The sum of (a[i + k] - shift_a) · (b[j + k] - shift_b) for k < n, counted through both arrays."""
    left, right = a.reshape(-1)[i : i + n], b.reshape(-1)[j : j + n]
    return ((left - a.dtype.type(shift_a)) * (right - b.dtype.type(shift_b))).sum()
