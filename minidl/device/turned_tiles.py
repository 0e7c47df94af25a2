"""The micro-kernel for a transposed A: products Aᵀ·B, such as the gradient of a weight.

Where A lies step by step, the numbers that one step needs of it lie side by side, but from one step to the next it is a
whole row of A, often a multiple of 4 KiB, so that all steps fall on the same few places of the first-level cache. So
rows can be copied first: `pack_rows` lays a tile's numbers of each step one behind the other, which costs 1/10 of the
multiplications for 32 columns of B and 1/80 for 256. A tile then reads both matrices in order, by one pointer each.
Few columns of B are multiplied with rows where they lie.

One core of a Zen 5, float32, GFLOP/s: 240 (`microkernel.py`: 245; the processor's limit is near 255).
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.microkernel import Tile, tile, tile_rows
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    host_number,
    integer,
    lanes,
    lanes_of,
    load,
    load_masked,
    mask_below,
    multiply_add,
    splat,
    store,
    vector_type,
)


class _Turned(Tile):
    """A tile whose numbers of A are packed by step."""

    @staticmethod
    def height(vectors: int) -> int:
        return tile_rows(2)

    @staticmethod
    def place(i: int, k: int, lda: int) -> int:
        return k * lda + i

    def over_taps(self, sums: list[Any]) -> list[Any]:
        a, b, run = self.first("a", "ia"), self.first("b", "ib"), self.args["run"]

        def steps(count: int) -> Any:
            def body(k: Any, sums: list[Any]) -> list[Any]:
                for ahead in range(count):
                    number = self.builder.add(k, integer(ahead))
                    left = self.at(a, self.builder.mul(number, self.args["lda"]))
                    sums = self.step(left, self.at(b, self.builder.mul(number, self.args["ldb"])), sums)
                return sums

            return body

        whole = self.builder.and_(run, integer(-2))
        _, sums = counted_loop(self.builder, integer(0), whole, 2, sums, steps(2))
        return counted_loop(self.builder, whole, run, 1, sums, steps(1))[1]

    def step(self, a: Any, b: Any, sums: list[Any]) -> list[Any]:
        builder = self.builder
        right = [load(builder, self.vector, self.at(b, v * self.vector.count)) for v in range(self.vectors)]
        left = [splat(builder, self.vector, builder.load(self.at(a, i))) for i in range(self.rows)]
        pairs = [(one, other) for one in left for other in right]
        return [multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]


_wide, _narrow = tile(2, _Turned), tile(1, _Turned)


@inline
def turned_tile(
    c: Any, ic: int, ldc: int, start: Any, i_start: int, ld_start: int, a: Any, ia: int, lda: int, b: Any, ib: int,
    ldb: int, m: int, n: int, run: int,
) -> None:  # fmt: skip
    """C = start + A·B for one tile: m rows (of which it takes `turned_rows()`), n columns of one panel, `run` steps.

    As `microkernel.gemm_taps`, but number (i, k) of A is a[ia + k lda + i]; numbers of a whole tile are read.
    """
    if n > lanes(c):
        _wide(c, ic, ldc, start, i_start, ld_start, a, ia, lda, b, ib, ldb, m, n, 1, 0, 0, run)
    else:
        _narrow(c, ic, ldc, start, i_start, ld_start, a, ia, lda, b, ib, ldb, m, n, 1, 0, 0, run)


turned_rows = host_number(tile_rows, 2)


def _packer(width_of: Any) -> Intrinsic:
    """Copies the beginnings of lines one behind the other; `width_of` tells their length from the lanes of a vector."""

    def emit(typing_context: Any, target: Any, to: Any, source: Any, at: Any, ld: Any, count: Any, wide: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            target_, to, source_, at, ld, count, wide = args
            vector = vector_type(target)
            width = width_of(vector.count)
            there = builder.gep(data_pointer(context, builder, target, target_), [to])
            here = builder.gep(data_pointer(context, builder, source, source_), [at])
            starts = range(0, width, vector.count)
            masks = [mask_below(builder, vector, builder.sub(wide, integer(first))) for first in starts]

            def lines(masks: list[Any]) -> Any:
                def body(k: Any, nothing: list[Any]) -> list[Any]:
                    line = builder.gep(here, [builder.mul(k, ld)])
                    result = builder.gep(there, [builder.mul(k, integer(width))])
                    for first, mask in zip(starts, masks, strict=True):
                        place = builder.gep(line, [integer(first)])
                        value = load(builder, vector, place) if mask is None else load_masked(
                            builder, vector, place, mask
                        )  # fmt: skip
                        store(builder, value, builder.gep(result, [integer(first)]))
                    return nothing

                counted_loop(builder, integer(0), count, 1, [], body)

            if width % vector.count:  # never a whole number of vectors
                lines(masks)
                return context.get_dummy_value()
            with builder.if_else(builder.icmp_signed(">=", wide, integer(width))) as (whole, ragged):
                with whole:
                    lines([None] * len(masks))
                with ragged:
                    lines(masks)
            return context.get_dummy_value()

        number = types.intp
        return types.void(target, number, source, number, number, number, number), code

    def python(target: Any, to: int, source: Any, at: int, ld: int, count: int, wide: int) -> None:
        width = width_of(lanes_of(target.dtype))
        for k in range(count):
            for j in range(width):
                target[to + k * width + j] = source[at + k * ld + j] if j < wide else 0

    return intrinsic(emit)(python)


# target[to + k width + j] = source[at + k ld + j] for k < count and j < min(wide, width), zeros beyond. The last line
# may end in as much as a vector of zeros behind its width.
pack_rows = _packer(lambda lanes: tile_rows(2))  # a tile of rows of A: its numbers of each step
pack_columns = _packer(lambda lanes: 2 * lanes)  # a panel of columns of B
