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
                lanes = builder.icmp_signed(">=", place, zeros(whole))
                if mask is not None:
                    lanes = builder.and_(lanes, mask)
                number = load_gathered(builder, vector, source, place, lanes)
                return number, read(builder, vector, builder.gep(factors, [at]), mask)

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
    for q in range(n):
        target[i + q] = sum([line[p] * w for p, w in zip(places[:taps, q], weights[:taps, q], strict=True) if p >= 0])
