"""The micro-kernel: a small tile of C += A·B kept in registers, on which all matrix work of the CPU kernels rests.

For each step k, one number of A per row is spread over a vector and multiplied with NV vectors of B; the MR×NV products
are added up in registers, so the 2·MR·NV·lanes operations of a step read only MR numbers and NV vectors. With AVX-512
the tile is 8×2 vectors, with AVX2 6×2 (12 of 16 registers); columns that fill one vector only take a tile of one
vector, 8×1 or 12×1. (12×2 has its sums in 24 of 32 registers, but LLVM reads numbers of A so far ahead that half of
them go by the stack: 512³ on one core of a Zen 5, 187 GFLOP/s; 8×2: 252.)

A rows are read in place, `lda` numbers apart: packing them gained nothing at these sizes. B is packed once by the
caller, in panels of `panel` columns, so that it is read in order.

Sums may walk over "taps", each with A moved by `a_step` and B by `b_step` numbers, without leaving the registers.
Its kin for other shapes of work: `gathered.py` (rows and taps by tables: convolutions), `outer.py` (weight gradients),
`whole_tiles.py` (Winograd), `row_tiles.py` (recurrent steps).

Source: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"; Van Zee and van de Geijn 2015,
"BLIS: a framework for rapidly instantiating BLAS functionality".
"""

from __future__ import annotations

from typing import Any

from minidl.device.dtypes import DType
from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.vectors import (
    aligned_empty,
    counted_loop,
    data_pointer,
    fetch_to_write,
    host_number,
    integer,
    lanes,
    lanes_of,
    load,
    load_masked,
    mask_below,
    multiply_add,
    offset_by,
    registers,
    splat,
    store,
    store_masked,
    vector_type,
)

UNROLL = 4  # steps of k in one round: row addresses, of which there are more than registers, are fetched once a round


def tile_rows(vectors: int) -> int:
    """MR, for a tile of so many vectors."""
    if registers() == 16:
        return 6 if vectors == 2 else 12
    return 8


class Tile:
    """Writes the code of one tile."""

    def __init__(self, context: Any, builder: Any, types: dict[str, Any], args: dict[str, Any]) -> None:
        self.context, self.builder, self.types, self.args = context, builder, types, args
        self.vector = vector_type(types["c"])
        self.rows = self.vectors = 0

    @staticmethod
    def height(vectors: int) -> int:
        """Rows of a tile of so many vectors."""
        return tile_rows(vectors)

    @staticmethod
    def place(i: int, k: int, lda: int) -> int:
        """Where number (i, k) of A lies."""
        return i * lda + k

    def write(self, rows: int, vectors: int) -> None:
        self.rows, self.vectors = rows, vectors
        sums, origin = self.initial(), self.first("c", "ic")
        ends = [self.at(origin, self.builder.mul(self.row(i), self.args["ldc"])) for i in range(self.rows)]
        fetch_to_write(self.builder, self.vector, ends, self.vectors)
        self.finish(self.over_taps(sums))

    def at(self, pointer: Any, *offsets: Any) -> Any:
        """`pointer` moved by the sum of `offsets` elements."""
        return offset_by(self.builder, pointer, *offsets)

    def first(self, array: str, index: str) -> Any:
        base = data_pointer(self.context, self.builder, self.types[array], self.args[array])
        return self.at(base, self.args[index])

    def row(self, number: int) -> Any:
        """The number of a row; rows from m on stand for row m - 1, so that none is read that does not exist."""
        last = self.builder.sub(self.args["m"], integer(1))
        below = self.builder.icmp_signed("<", integer(number), last)
        return self.builder.select(below, integer(number), last)

    def lanes_left(self, vector: int) -> Any:
        """Mask of the lanes of a vector that are columns below n."""
        left = self.builder.sub(self.args["n"], integer(vector * self.vector.count))
        return mask_below(self.builder, self.vector, left)

    def is_whole(self) -> Any:
        return self.builder.icmp_signed(">=", self.args["n"], integer(self.vectors * self.vector.count))

    def initial(self) -> list[Any]:
        builder, origin = self.builder, self.first("start", "i_start")
        rows = [self.at(origin, builder.mul(self.row(i), self.args["ld_start"])) for i in range(self.rows)]
        places = [self.at(row, v * self.vector.count) for row in rows for v in range(self.vectors)]
        with builder.if_else(self.is_whole()) as (whole, ragged):
            with whole:
                full, after_full = [load(builder, self.vector, p) for p in places], builder.block
            with ragged:
                masks = [self.lanes_left(v) for v in range(self.vectors)]
                part = [load_masked(builder, self.vector, p, masks[i % self.vectors]) for i, p in enumerate(places)]
                after_part = builder.block
        values = []
        for one, other in zip(full, part, strict=True):
            phi = builder.phi(self.vector)
            phi.add_incoming(one, after_full)
            phi.add_incoming(other, after_part)
            values.append(phi)
        return values

    def over_taps(self, sums: list[Any]) -> list[Any]:
        builder, args = self.builder, self.args
        a, b = self.first("a", "ia"), self.first("b", "ib")
        rows = [builder.mul(self.row(i), args["lda"]) for i in range(self.rows)]

        def tap(number: Any, sums: list[Any]) -> list[Any]:
            at_a = self.at(a, builder.mul(number, args["a_step"]))
            at_b = self.at(b, builder.mul(number, args["b_step"]))
            pointers = [self.at(at_a, row) for row in rows]
            whole = builder.and_(args["run"], integer(-UNROLL))
            sums = self.loop(integer(0), whole, UNROLL, sums, lambda k, s: self.steps(pointers, at_b, k, UNROLL, s))
            return self.loop(whole, args["run"], 1, sums, lambda k, s: self.steps(pointers, at_b, k, 1, s))

        return self.loop(integer(0), args["taps"], 1, sums, tap)

    def steps(self, pointers: list[Any], b: Any, k: Any, count: int, sums: list[Any]) -> list[Any]:
        """`count` steps from k on."""
        builder, args = self.builder, self.args
        for step in range(count):
            number = builder.add(k, integer(step))
            row = self.at(b, builder.mul(number, args["ldb"]))
            right = [load(builder, self.vector, self.at(row, v * self.vector.count)) for v in range(self.vectors)]
            left = [splat(builder, self.vector, builder.load(self.at(pointer, k, step))) for pointer in pointers]
            pairs = [(one, other) for one in left for other in right]
            sums = [multiply_add(builder, *pair, total) for pair, total in zip(pairs, sums, strict=True)]
        return sums

    def loop(self, begin: Any, end: Any, step: int, sums: list[Any], body: Any) -> list[Any]:
        return counted_loop(self.builder, begin, end, step, sums, body)[1]

    def finish(self, sums: list[Any]) -> None:
        builder, origin = self.builder, self.first("c", "ic")
        with builder.if_else(self.is_whole()) as (whole, ragged):
            with whole:
                self.store_rows(origin, sums, [None] * self.vectors)
            with ragged:
                self.store_rows(origin, sums, [self.lanes_left(v) for v in range(self.vectors)])

    def store_rows(self, origin: Any, sums: list[Any], masks: list[Any]) -> None:
        builder = self.builder
        for i in range(self.rows):
            with builder.if_then(builder.icmp_signed("<", integer(i), self.args["m"])):
                row = self.at(origin, builder.mul(integer(i), self.args["ldc"]))
                for v, mask in enumerate(masks):
                    value, place = sums[i * self.vectors + v], self.at(row, v * self.vector.count)
                    if mask is None:
                        store(builder, value, place)
                    else:
                        store_masked(builder, value, place, mask)


def tile(vectors: int, writer: type[Tile] = Tile) -> Intrinsic:
    """The intrinsic of a tile of so many vectors, written by `writer`; its arrays may be pointers (`pointers.py`)."""

    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, start: Any, i_start: Any, ld_start: Any, a: Any, ia: Any,
        lda: Any, b: Any, ib: Any, ldb: Any, m: Any, n: Any, taps: Any, a_step: Any, b_step: Any, run: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        kinds = {
            "c": c, "ic": ic, "ldc": ldc, "start": start, "i_start": i_start, "ld_start": ld_start,
            "a": a, "ia": ia, "lda": lda, "b": b, "ib": ib, "ldb": ldb,
            "m": m, "n": n, "taps": taps, "a_step": a_step, "b_step": b_step, "run": run,
        }  # fmt: skip
        declared = {name: types.intp if isinstance(kind, types.Integer) else kind for name, kind in kinds.items()}

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            written = writer(context, builder, declared, dict(zip(kinds, args, strict=True)))
            written.write(writer.height(vectors), vectors)
            return context.get_dummy_value()

        return types.void(*declared.values()), code

    def python(
        c: Any, ic: int, ldc: int, start: Any, i_start: int, ld_start: int, a: Any, ia: int,
        lda: int, b: Any, ib: int, ldb: int, m: int, n: int, taps: int, a_step: int, b_step: int, run: int,
    ) -> None:  # fmt: skip
        width = vectors * lanes_of(c.dtype)
        for i in range(min(m, writer.height(vectors))):
            for j in range(min(n, width)):
                total = start[i_start + i * ld_start + j]
                for t in range(taps):
                    for k in range(run):
                        left = a[ia + t * a_step + writer.place(i, k, lda)]
                        total += left * b[ib + t * b_step + k * ldb + j]
                c[ic + i * ldc + j] = total

    return intrinsic(emit)(python)


_wide, _narrow = tile(2), tile(1)


_rows_wide, _rows_narrow = host_number(tile_rows, 2), host_number(tile_rows, 1)


@inline
def gemm_taps(
    c: Any, ic: int, ldc: int, start: Any, i_start: int, ld_start: int, a: Any, ia: int, lda: int,
    b: Any, ib: int, panel_step: int, ldb: int, m: int, n: int, taps: int, a_step: int, b_step: int, run: int,
) -> None:  # fmt: skip
    """C = start + the sum over t < taps of A_t·B_t, where A_t is (m, run) and B_t (run, n).

    Every matrix is an array with one dimension and the index of its first number. Number (i, j) of C is
    c[ic + i ldc + j]; of start, start[i_start + i ld_start + j] (C itself: accumulate; ld_start 0: one row for all,
    such as a bias or zeros); (i, k) of A_t is a[ia + t a_step + i lda + k]; (k, j) of B_t, with j in panel p at
    column q (`panel_columns`), is b[ib + p panel_step + t b_step + k ldb + q].
    """
    j = 0
    while j < n:
        panel = ib + j // (2 * lanes(c)) * panel_step
        if n - j > lanes(c):
            for i in range(0, m, _rows_wide()):
                _wide(c, ic + i * ldc + j, ldc, start, i_start + i * ld_start + j, ld_start, a, ia + i * lda, lda,
                      b, panel, ldb, m - i, n - j, taps, a_step, b_step, run)  # fmt: skip
        else:
            for i in range(0, m, _rows_narrow()):
                _narrow(c, ic + i * ldc + j, ldc, start, i_start + i * ld_start + j, ld_start, a, ia + i * lda, lda,
                        b, panel, ldb, m - i, n - j, taps, a_step, b_step, run)  # fmt: skip
        j += 2 * lanes(c)


@inline
def gemm_block(
    c: Any, ic: int, ldc: int, a: Any, ia: int, lda: int, packed: Any, ib: int, m: int, n: int, k: int, accumulate: bool
) -> None:
    """C = A·B, or C += A·B, for one block: (m, n) from (m, k) and (k, n).

    C and A are read and written in place: flat arrays, the index of the first number, and the step from row to row.
    B is `pack_panels(b)`, its first number at `packed[ib]`. Sums run in the order of k. Fast where A's rows and one
    panel (2 k vectors) fit the first-level cache; cut a larger k into pieces and accumulate.
    """
    if not accumulate:
        for i in range(m):
            c[ic + i * ldc : ic + i * ldc + n] = 0
    width = 2 * lanes(c)
    gemm_taps(c, ic, ldc, c, ic, ldc, a, ia, lda, packed, ib, k * width, width, m, n, 1, 0, 0, k)


def pack_panels(b: Any) -> Any:
    """A matrix (k, n) in panels for `gemm_block`: [panel][k][column], filled up with zeros, from a cache line on."""
    width, (k, n) = panel_columns(b.dtype), b.shape
    panels = aligned_empty(panel_count(n, b.dtype) * k * width, b.dtype)
    for p, panel in enumerate(panels.reshape(panel_count(n, b.dtype), k, width)):
        columns = b[:, p * width : (p + 1) * width]
        panel[:, : columns.shape[1]] = columns
        panel[:, columns.shape[1] :] = 0
    return panels


def panel_columns(dtype: DType) -> int:
    """Columns in a panel of B: two vectors."""
    return 2 * lanes_of(dtype)


def panel_count(columns: int, dtype: DType) -> int:
    """How many panels hold `columns` columns; the last one is filled up with zeros."""
    return -(-columns // panel_columns(dtype))
