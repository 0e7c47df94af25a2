"""M·X·Mᵀ for a small matrix M of constants and a grid X of vectors: the transforms of Winograd's convolution.

A grid of vectors (one for each pixel of a patch, with a channel in each lane) is loaded, transformed along its columns
and then along its rows in registers, and stored. Zeros and ones cost nothing, and what rows or columns share is summed
once: two rows that differ only in the signs of their odd columns are `even + odd` and `even - odd`; two columns that
differ only in signs enter as their sum and their difference. So the 6x6 input transform of F(4x4, 3x3) takes 13
operations a line instead of 26. Plain loops for the same left LLVM with 36 streams that may overlap, which it does not
vectorise.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import data_pointer, integer, lanes_of, load, multiply_add, store, vector_type

Matrix = tuple[tuple[float, ...], ...]


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
    columns = len(values)
    for j in range(columns - 1):
        pairs = [(row[j], row[j + 1]) for row in matrix]
        if all(abs(a) == abs(b) for a, b in pairs) and {a * b > 0 for a, b in pairs if a} == {True, False}:
            both = [builder.fadd(values[j], values[j + 1]), builder.fsub(values[j], values[j + 1])]
            swapped = tuple(
                (*row[:j], *((row[j], 0.0) if row[j] == row[j + 1] else (0.0, row[j])), *row[j + 2 :]) for row in matrix
            )
            return _times(builder, swapped, [*values[:j], *both, *values[j + 2 :]])
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


def patch_transform(matrix: Matrix, *, lifted: bool = False) -> Intrinsic:
    """The intrinsic transform(target, it, down, along, source, i, source_down, source_along, lift, i_lift).

    It writes matrix · X · matrixᵀ (plus the vector lift[i_lift:], if `lifted`), where X[r, q] is the vector at
    source[i + r source_down + q source_along]; number (r, q) of the result goes to target[it + r down + q along].
    """
    rows, size = len(matrix), len(matrix[0])

    def emit(
        typing_context: Any, target: Any, it: Any, down: Any, along: Any, source: Any, i: Any, source_down: Any,
        source_along: Any, lift: Any, i_lift: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            to, it, down, along, source_, i, source_down, source_along, lift_, i_lift = args
            vector = vector_type(target)

            def grid(pointer: Any, r: int, q: int, step_down: Any, step_along: Any) -> Any:
                offset = builder.add(builder.mul(integer(r), step_down), builder.mul(integer(q), step_along))
                return builder.gep(pointer, [offset])

            begin = builder.gep(data_pointer(context, builder, source, source_), [i])
            end = builder.gep(data_pointer(context, builder, target, to), [it])
            columns = []
            for q in range(size):
                values = [load(builder, vector, grid(begin, r, q, source_down, source_along)) for r in range(size)]
                columns.append(_times(builder, matrix, values))
            added = None
            if lifted:
                added = load(builder, vector, builder.gep(data_pointer(context, builder, lift, lift_), [i_lift]))
            for r in range(rows):
                for q, value in enumerate(_times(builder, matrix, [column[r] for column in columns])):
                    total = value if added is None else builder.fadd(value, added)
                    store(builder, total, grid(end, r, q, down, along))
            return context.get_dummy_value()

        step = types.intp
        return types.void(target, step, step, step, source, step, step, step, lift, step), code

    def python(
        target: Any, it: int, down: int, along: int, source: Any, i: int, source_down: int, source_along: int,
        lift: Any, i_lift: int,
    ) -> None:  # fmt: skip
        for lane in range(lanes_of(target.dtype)):
            for r in range(rows):
                for q in range(rows):
                    total = lift[i_lift + lane] if lifted else 0
                    for a in range(size):
                        for b in range(size):
                            value = source[i + a * source_down + b * source_along + lane]
                            total += matrix[r][a] * matrix[q][b] * value
                    target[it + r * down + q * along + lane] = total

    return intrinsic(emit)(python)
