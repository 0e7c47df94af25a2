"""A line whose numbers are each a weighted sum of a few numbers of another line, wherever these stand.

A vector of results reads one number for each lane, tap by tap (AVX-512 does that in one instruction, at about one
number a cycle). A loop of Numba does not become vectors: LLVM cannot show that the arrays do not overlap.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    load_gathered,
    multiply_add,
    vector_type,
    zeros,
)
from minidl.device.window_vectors import for_vectors, read, write


def _gathered(builder: Any, vector: Any, source: Any, place: Any, mask: Any) -> Any:
    """The numbers at these places; zero where there is none, and outside `mask`."""
    lanes = builder.icmp_signed(">=", place, zeros(place.type))
    return load_gathered(builder, vector, source, place, lanes if mask is None else builder.and_(lanes, mask))


def _emit_taps(
    typing_context: Any, target: Any, i: Any, line: Any, places: Any, weights: Any, taps: Any, n: Any
) -> Any:  # fmt: skip
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(weights)
        whole = ir.VectorType(ir.IntType(32), vector.count)
        end = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        source, numbers, factors = (
            data_pointer(context, builder, kind, args[a]) for kind, a in ((line, 2), (places, 3), (weights, 4))
        )
        taps, n = args[5:]

        def work(q: Any, mask: Any) -> None:
            def term(tap: Any) -> tuple[Any, Any]:
                at = builder.add(builder.mul(tap, n), q)
                place = read(builder, whole, builder.gep(numbers, [at]), mask)
                return _gathered(builder, vector, source, place, mask), read(
                    builder, vector, builder.gep(factors, [at]), mask
                )

            def add(tap: Any, values: list[Any]) -> list[Any]:
                return [multiply_add(builder, *term(tap), values[0])]

            _, (total,) = counted_loop(builder, integer(1), taps, 1, [builder.fmul(*term(integer(0)))], add)
            write(builder, total, builder.gep(end, [q]), mask)

        for_vectors(builder, vector, n, work)
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, line, places, weights, number, number), code


@intrinsic(_emit_taps)
def mix_taps(target: Any, i: int, line: Any, places: Any, weights: Any, taps: int, n: int) -> None:
    """target[i + q] = the sum of line[places[t, q]] * weights[t, q] over the taps t, for q < n.

    Places are int32; one below zero is no place, and its weight is zero.
    """
    p, w = (a.reshape(-1)[: taps * n].reshape(taps, n) for a in (places, weights))
    for q in range(n):
        target[i + q] = sum([line[p[t, q]] * w[t, q] for t in range(taps) if p[t, q] >= 0])


def _emit_products(
    typing_context: Any, sums: Any, line: Any, places: Any, g: Any, at: Any, taps: Any, n: Any
) -> Any:  # fmt: skip
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        vector = vector_type(sums)
        whole = ir.VectorType(ir.IntType(32), vector.count)
        totals, source, numbers, slopes = (
            data_pointer(context, builder, kind, args[a]) for a, kind in enumerate((sums, line, places, g))
        )
        begin = builder.gep(slopes, [args[4]])
        taps, n = args[5:]

        def work(q: Any, mask: Any) -> None:
            slope = read(builder, vector, builder.gep(begin, [q]), mask)

            def add(tap: Any, nothing: list[Any]) -> list[Any]:
                at = builder.add(builder.mul(tap, n), q)
                number = _gathered(
                    builder, vector, source, read(builder, whole, builder.gep(numbers, [at]), mask), mask
                )
                to = builder.gep(totals, [at])
                write(builder, multiply_add(builder, number, slope, read(builder, vector, to, mask)), to, mask)
                return nothing

            counted_loop(builder, integer(0), taps, 1, [], add)

        for_vectors(builder, vector, n, work)
        return context.get_dummy_value()

    number = types.intp
    return types.void(sums, line, places, g, number, number, number), code


@intrinsic(_emit_products)
def add_tap_products(sums: Any, line: Any, places: Any, g: Any, at: int, taps: int, n: int) -> None:
    """sums[t, q] += line[places[t, q]] * g[at + q] for all taps t and q < n; nothing where there is no place."""
    p, total = (a.reshape(-1)[: taps * n].reshape(taps, n) for a in (places, sums))
    for q in range(n):
        for t in range(taps):
            total[t, q] += line[p[t, q]] * g[at + q] if p[t, q] >= 0 else 0
