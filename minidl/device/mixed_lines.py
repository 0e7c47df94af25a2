"""Lines in vectors, mixed of two or summed of many: `lines.py` for more than one source.

A loop over 16 numbers that is left to the compiler spends more time on finding out whether its arrays overlap than on
the numbers.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import intrinsic
from minidl.device.vectors import counted_loop, data_pointer, multiply_add, splat, vector_type, zeros
from minidl.device.window_vectors import for_vectors, read, write


def _emit_mix(
    typing_context: Any, target: Any, i: Any, source: Any, a: Any, factor_a: Any, b: Any, factor_b: Any, n: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(source)
        end = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        base = data_pointer(context, builder, source, args[2])
        first, second = builder.gep(base, [args[3]]), builder.gep(base, [args[5]])
        factors = splat(builder, vector, args[4]), splat(builder, vector, args[6])

        def work(k: Any, mask: Any) -> None:
            x = read(builder, vector, builder.gep(first, [k]), mask)
            y = read(builder, vector, builder.gep(second, [k]), mask)
            mixed = multiply_add(builder, x, factors[0], builder.fmul(y, factors[1]))
            write(builder, mixed, builder.gep(end, [k]), mask)

        for_vectors(builder, vector, args[7], work)
        return context.get_dummy_value()

    number, factor = types.intp, source.dtype
    return types.void(target, number, source, number, factor, number, factor, number), code


def _emit_sum(
    typing_context: Any, target: Any, i: Any, source: Any, first: Any, places: Any, weights: Any, k: Any, last: Any,
    n: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(source)
        end = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        begin = builder.gep(data_pointer(context, builder, source, args[2]), [args[3]])
        numbers, factors = (data_pointer(context, builder, kind, args[a]) for kind, a in ((places, 4), (weights, 5)))
        n = args[8]

        def work(j: Any, mask: Any) -> None:
            def add(k: Any, values: list[Any]) -> list[Any]:
                line = builder.mul(builder.load(builder.gep(numbers, [k])), n)
                part = read(builder, vector, builder.gep(begin, [builder.add(line, j)]), mask)
                factor = splat(builder, vector, builder.load(builder.gep(factors, [k])))
                return [multiply_add(builder, part, factor, values[0])]

            _, (total,) = counted_loop(builder, args[6], args[7], 1, [zeros(vector)], add)
            write(builder, total, builder.gep(end, [j]), mask)

        for_vectors(builder, vector, n, work)
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, source, number, places, weights, number, number, number), code


def _emit_add(
    typing_context: Any, target: Any, i: Any, source: Any, a: Any, factor: Any, n: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(source)
        end = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        first = builder.gep(data_pointer(context, builder, source, args[2]), [args[3]])
        share = splat(builder, vector, args[4])

        def work(k: Any, mask: Any) -> None:
            place = builder.gep(end, [k])
            x = read(builder, vector, builder.gep(first, [k]), mask)
            write(builder, multiply_add(builder, x, share, read(builder, vector, place, mask)), place, mask)

        for_vectors(builder, vector, args[5], work)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, source.dtype, types.intp), code


@intrinsic(_emit_add)
def add_scaled_line(target: Any, i: int, source: Any, a: int, factor: Any, n: int) -> None:
    """target[i + k] += source[a + k] * factor for k < n."""
    target[i : i + n] += source[a : a + n] * factor


@intrinsic(_emit_sum)
def sum_lines(
    target: Any, i: int, source: Any, first: int, places: Any, weights: Any, k: int, last: int, n: int
) -> None:
    """target[i + j] = the sum of source[first + places[k] * n + j] * weights[k], from k up to `last`, for j < n."""
    target[i : i + n] = 0
    for line in range(k, last):
        at = first + places[line] * n
        target[i : i + n] += source[at : at + n] * weights[line]


@intrinsic(_emit_mix)
def mix_lines(target: Any, i: int, source: Any, a: int, factor_a: Any, b: int, factor_b: Any, n: int) -> None:
    """target[i + k] = source[a + k] * factor_a + source[b + k] * factor_b for k < n."""
    target[i : i + n] = source[a : a + n] * factor_a + source[b : b + n] * factor_b
