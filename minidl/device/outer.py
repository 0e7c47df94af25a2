"""The micro-kernel of weight gradients: C += Aᵀ·B for two tall, narrow matrices.

A tile of C stays in registers while all rows k of A and B go by: row k gives a few neighbouring numbers of A, each
spread over a vector, and one or two vectors of B, and the tile grows by their outer product. Both matrices are small
copies, laid out so that they are read in order: pixels of 512 channels lie 2 KiB apart, and 16 of them fill the places
that the first-level cache has for them (a table that finds them in place: 1×1 windows, 8 images of 512 channels, 7²,
about 30 GFLOP/s; copies: 52 to 64).

With 16 registers a tile has 6 rows of 2 vectors or 12 of 1, with 32 it has 12. One core of Zen 3, float32: 82 to 88
GFLOP/s with two vectors, 55 with one, where 13 reads meet 12 multiply-adds.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    host_number,
    integer,
    lanes,
    lanes_of,
    load,
    multiply_add,
    registers,
    splat,
    store,
    vector_type,
)

SPARE_COLUMNS = 12  # that A must have behind the ones that count
UNROLL = 2  # rows of A and B in one round of the loop
_NAMES = ("c", "ic", "ldc", "a", "ia", "lda", "b", "ib", "ldb", "m", "k")


def tile_rows(vectors: int) -> int:
    """Rows of a tile of one or two vectors."""
    return 6 if vectors == 2 and registers() == 16 else 12


class _Tile:
    """Writes the code of one tile."""

    def __init__(self, vectors: int, context: Any, builder: Any, types: Any, args: Any) -> None:
        self.vectors, self.rows = vectors, tile_rows(vectors)
        self.context, self.builder, self.types, self.args = context, builder, types, args
        self.vector = vector_type(types["c"])

    def write(self) -> None:
        places = self.places()
        sums = [load(self.builder, self.vector, place) for place in places]
        sums = self.over_rows(sums)
        for i in range(self.rows):
            with self.builder.if_then(self.builder.icmp_signed("<", integer(i), self.args["m"])):
                for v in range(self.vectors):
                    at = i * self.vectors + v
                    store(self.builder, sums[at], places[at])

    def places(self) -> list[Any]:
        """Addresses of the tile's vectors; rows from m on stand for row m - 1."""
        builder, origin, places = self.builder, self.base("c", "ic"), []
        last = builder.sub(self.args["m"], integer(1))
        for i in range(self.rows):
            row = builder.select(builder.icmp_signed("<", integer(i), last), integer(i), last)
            row = builder.gep(origin, [builder.mul(row, self.args["ldc"])])
            places += [builder.gep(row, [integer(v * self.vector.count)]) for v in range(self.vectors)]
        return places

    def base(self, array: str, index: str) -> Any:
        first = data_pointer(self.context, self.builder, self.types[array], self.args[array])
        return self.builder.gep(first, [self.args[index]])

    def over_rows(self, sums: list[Any]) -> list[Any]:
        builder, args, a, b = self.builder, self.args, self.base("a", "ia"), self.base("b", "ib")

        def steps(count: int) -> Any:
            def body(k: Any, sums: list[Any]) -> list[Any]:
                for ahead in range(count):
                    number = builder.add(k, integer(ahead))
                    of_a = builder.gep(a, [builder.mul(number, args["lda"])])
                    of_b = builder.gep(b, [builder.mul(number, args["ldb"])])
                    sums = self.step(of_a, of_b, sums)
                return sums

            return body

        whole = builder.and_(args["k"], integer(-UNROLL))
        _, sums = counted_loop(builder, integer(0), whole, UNROLL, sums, steps(UNROLL))
        return counted_loop(builder, whole, args["k"], 1, sums, steps(1))[1]

    def step(self, a: Any, b: Any, sums: list[Any]) -> list[Any]:
        builder = self.builder
        right = [load(builder, self.vector, builder.gep(b, [integer(v * self.vector.count)]))
                 for v in range(self.vectors)]  # fmt: skip
        total = []
        for i in range(self.rows):
            left = splat(builder, self.vector, builder.load(builder.gep(a, [integer(i)])))
            total += [multiply_add(builder, left, right[v], sums[i * self.vectors + v]) for v in range(self.vectors)]
        return total


def _tile(vectors: int) -> Intrinsic:
    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, a: Any, ia: Any, lda: Any, b: Any, ib: Any, ldb: Any, m: Any,
        k: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        kinds = (c, ic, ldc, a, ia, lda, b, ib, ldb, m, k)
        declared = {
            name: kind if isinstance(kind, types.Array) else types.intp
            for name, kind in zip(_NAMES, kinds, strict=True)
        }

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _Tile(vectors, context, builder, declared, dict(zip(_NAMES, args, strict=True))).write()
            return context.get_dummy_value()

        return types.void(*declared.values()), code

    def python(c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, b: Any, ib: int, ldb: int, m: int, k: int) -> None:
        for i in range(min(m, tile_rows(vectors))):
            for j in range(vectors * lanes_of(c.dtype)):
                for step in range(k):
                    c[ic + i * ldc + j] += a[ia + step * lda + i] * b[ib + step * ldb + j]

    return intrinsic(emit)(python)


_wide, _narrow = _tile(2), _tile(1)
_rows_wide, _rows_narrow = host_number(tile_rows, 2), host_number(tile_rows, 1)


@inline
def add_outer(
    c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, b: Any, ib: int, ldb: int, m: int, n: int, k: int
) -> None:
    """c[ic + i ldc + j] += the sum over s < k of a[ia + s lda + i] b[ib + s ldb + j]: m rows of one panel.

    Flat arrays and the indices of their first numbers. A panel is two vectors, or one if n fits in it; all of it is
    written. A has `SPARE_COLUMNS` behind its last one, of any values.
    """
    if n > lanes(c):
        for i in range(0, m, _rows_wide()):
            _wide(c, ic + i * ldc, ldc, a, ia + i, lda, b, ib, ldb, m - i, k)
    else:
        for i in range(0, m, _rows_narrow()):
            _narrow(c, ic + i * ldc, ldc, a, ia + i, lda, b, ib, ldb, m - i, k)
