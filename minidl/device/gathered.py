"""The micro-kernel of convolutions: a tile of C += A·B in registers that finds its rows and its steps by tables.

As in `microkernel.py`, MR×NV sums stay in registers while the steps go by. Here each row of the tile has its own place
in A and in C, and the steps come in taps, each with its own place in A and in B:

    C[row i, j] = start + Σ over taps t, Σ over k < run:  A[row i + tap t + k] · B[tap t + k ldb + j]

A window of a channels-last image is such a sum: the row is the window, the tap a pixel of it, the run its channels. So
windows of any stride, dilation and number of dimensions are read in place, from several images at once, and those at a
border just have fewer taps.

With 16 registers a tile has 6 rows of 2 vectors, with 32 it has 8; of 1 vector 12. Rows beyond the last one repeat it:
they compute the same numbers and write them to the same place, so a tile has no branch for a row.

One core of Zen 3, float32: 84 to 101 GFLOP/s from 16 channels on, 64 with 8 columns, as with fixed steps from row to
row; of Zen 5 with AVX-512: 220 to 300 from 32 columns on, 165 with 16.

Source: Dukhan 2019, "The indirect convolution algorithm", arXiv:1907.02129, has a pointer for each row and tap; two
tables whose entries are added need no room for the product of both.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    element_type,
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

SPARE_ROWS = 16  # entries that a table of rows needs behind its last one, as copies of it
UNROLL = 4  # steps in one round of the loop
_NAMES = ("c", "ic", "start", "i_start", "by_row", "a", "ia", "b", "ib", "ldb", "rows", "row", "n", "taps", "first",
          "last", "run", "floor")  # fmt: skip


def tile_rows(vectors: int) -> int:
    """MR, for a tile of one or two vectors; there is no room for 12 of two, see `window_tiles.windows_of`."""
    if vectors == 1:
        return 12
    return 6 if registers() == 16 else 8


class _Tile:
    """Writes the code of one tile."""

    def __init__(self, vectors: int, context: Any, builder: Any, types: Any, args: Any) -> None:
        self.vectors, self.rows = vectors, tile_rows(vectors)
        self.context, self.builder, self.types, self.args = context, builder, types, args
        self.vector = vector_type(types["c"])

    def write(self) -> None:
        places = [self.row_entry(i) for i in range(self.rows)]
        starts = [self.moved(self.base("start", "i_start"), self.builder.mul(to, self.args["by_row"]))
                  for _, to in places]  # fmt: skip
        sums, ends = self.initial(starts), [self.moved(self.base("c", "ic"), to) for _, to in places]
        fetch_to_write(self.builder, self.vector, ends, self.vectors)
        sums = self.over_taps([self.moved(self.base("a", "ia"), of) for of, _ in places], sums)
        self.finish(ends, self.raised(sums))

    def moved(self, pointer: Any, *offsets: Any) -> Any:
        return offset_by(self.builder, pointer, *offsets)

    def base(self, array: str, index: str) -> Any:
        return self.moved(data_pointer(self.context, self.builder, self.types[array], self.args[array]),
                          self.args[index])  # fmt: skip

    def pair(self, table: str, number: Any, ahead: int) -> tuple[Any, Any]:
        """The two offsets of an entry, in A and in the other matrix."""
        first = data_pointer(self.context, self.builder, self.types[table], self.args[table])
        at = self.builder.mul(number, integer(2))
        offsets = [self.builder.load(self.moved(first, at, 2 * ahead + i)) for i in range(2)]
        return offsets[0], offsets[1]

    def row_entry(self, number: int) -> tuple[Any, Any]:
        return self.pair("rows", self.args["row"], number)

    def is_whole(self) -> Any:
        return self.builder.icmp_signed(">=", self.args["n"], integer(self.vectors * self.vector.count))

    def masks(self) -> list[Any]:
        """For each vector, the lanes that are columns below n."""
        return [
            mask_below(self.builder, self.vector, self.builder.sub(self.args["n"], integer(v * self.vector.count)))
            for v in range(self.vectors)
        ]

    def initial(self, rows: list[Any]) -> list[Any]:
        builder = self.builder
        places = [self.moved(row, v * self.vector.count) for row in rows for v in range(self.vectors)]
        with builder.if_else(self.is_whole()) as (whole, ragged):
            with whole:
                full, after_full = [load(builder, self.vector, p) for p in places], builder.block
            with ragged:
                masks = self.masks()
                part = [load_masked(builder, self.vector, p, masks[i % self.vectors]) for i, p in enumerate(places)]
                after_part = builder.block
        values = []
        for one, other in zip(full, part, strict=True):
            phi = builder.phi(self.vector)
            phi.add_incoming(one, after_full)
            phi.add_incoming(other, after_part)
            values.append(phi)
        return values

    def over_taps(self, rows: list[Any], sums: list[Any]) -> list[Any]:
        args, b = self.args, self.base("b", "ib")

        def tap(t: Any, sums: list[Any]) -> list[Any]:
            of_a, of_b = self.pair("taps", t, 0)
            return self.tap(rows, of_a, self.moved(b, of_b), sums)

        return self.loop(args["first"], args["last"], 1, sums, tap)

    def tap(self, rows: list[Any], of_a: Any, b: Any, sums: list[Any]) -> list[Any]:
        whole = self.builder.and_(self.args["run"], integer(-UNROLL))

        def steps(count: int) -> Any:
            def body(k: Any, sums: list[Any]) -> list[Any]:
                index = self.builder.add(of_a, k)
                for ahead in range(count):
                    number = self.builder.add(k, integer(ahead))
                    row = self.moved(b, self.builder.mul(number, self.args["ldb"]))
                    sums = self.step(rows, index, ahead, row, sums)
                return sums

            return body

        sums = self.loop(integer(0), whole, UNROLL, sums, steps(UNROLL))
        return self.loop(whole, self.args["run"], 1, sums, steps(1))

    def step(self, rows: list[Any], index: Any, ahead: int, b: Any, sums: list[Any]) -> list[Any]:
        builder = self.builder
        right = [load(builder, self.vector, self.moved(b, v * self.vector.count)) for v in range(self.vectors)]
        total = []
        for i, row in enumerate(rows):
            place = self.moved(row, index, ahead)
            left = splat(builder, self.vector, builder.load(place))
            for v in range(self.vectors):
                total.append(multiply_add(builder, left, right[v], sums[i * self.vectors + v]))
        return total

    def loop(self, begin: Any, end: Any, step: int, sums: list[Any], body: Any) -> list[Any]:
        return counted_loop(self.builder, begin, end, step, sums, body)[1]

    def raised(self, sums: list[Any]) -> list[Any]:
        """Numbers below `floor` become it; a NaN stays."""
        builder = self.builder
        floor = self.args["floor"]
        if element_type(self.types["c"]) != floor.type:
            floor = builder.fptrunc(floor, element_type(self.types["c"]))
        floor = splat(builder, self.vector, floor)
        return [builder.select(builder.fcmp_ordered("<", value, floor), floor, value) for value in sums]

    def finish(self, rows: list[Any], sums: list[Any]) -> None:
        with self.builder.if_else(self.is_whole()) as (whole, ragged):
            with whole:
                self.store_rows(rows, sums, [None] * self.vectors)
            with ragged:
                self.store_rows(rows, sums, self.masks())

    def store_rows(self, rows: list[Any], sums: list[Any], masks: list[Any]) -> None:
        for i, row in enumerate(rows):
            for v, mask in enumerate(masks):
                value, place = sums[i * self.vectors + v], self.moved(row, v * self.vector.count)
                if mask is None:
                    store(self.builder, value, place)
                else:
                    store_masked(self.builder, value, place, mask)


def _tile(vectors: int) -> Intrinsic:
    def emit(
        typing_context: Any, c: Any, ic: Any, start: Any, i_start: Any, by_row: Any, a: Any, ia: Any, b: Any, ib: Any,
        ldb: Any, rows: Any, row: Any, n: Any, taps: Any, first: Any, last: Any, run: Any, floor: Any,
    ) -> Any:  # fmt: skip
        from numba.core import types

        kinds = (c, ic, start, i_start, by_row, a, ia, b, ib, ldb, rows, row, n, taps, first, last, run, floor)
        declared = {
            name: kind_ if isinstance(kind_, types.Array) else types.float64 if name == "floor" else types.intp
            for name, kind_ in zip(_NAMES, kinds, strict=True)
        }

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            _Tile(vectors, context, builder, declared, dict(zip(_NAMES, args, strict=True))).write()
            return context.get_dummy_value()

        return types.void(*declared.values()), code

    def python(
        c: Any, ic: int, start: Any, i_start: int, by_row: int, a: Any, ia: int, b: Any, ib: int, ldb: int, rows: Any,
        row: int, n: int, taps: Any, first: int, last: int, run: int, floor: float,
    ) -> None:  # fmt: skip
        for i in range(row, row + tile_rows(vectors)):
            for j in range(min(n, vectors * lanes_of(c.dtype))):
                total = start[i_start + by_row * rows[2 * i + 1] + j]
                for t in range(first, last):
                    for k in range(run):
                        left = a[ia + rows[2 * i] + taps[2 * t] + k]
                        total += left * b[ib + taps[2 * t + 1] + k * ldb + j]
                c[ic + rows[2 * i + 1] + j] = floor if total < floor else total

    return intrinsic(emit)(python)


_wide, _narrow = _tile(2), _tile(1)
_rows_wide, _rows_narrow = host_number(tile_rows, 2), host_number(tile_rows, 1)


@inline
def panel_of_runs(
    c: Any, ic: int, start: Any, i_start: int, by_row: int, a: Any, ia: int, b: Any, ib: int, ldb: int,
    rows: Any, m: int, n: int, taps: Any, first: int, last: int, run: int, floor: float,
) -> None:  # fmt: skip
    """One panel, columns below n and at most two vectors, of the sum above, for the m rows of a table.

    All matrices are arrays with one dimension, and `ic`, `ia`, `ib` and `i_start` the indices of their first numbers.
    `rows` holds pairs of offsets, in A and in C, and `SPARE_ROWS` copies of the last one; `taps`, of which first to
    last count, in A and in B. Sums begin with start[i_start + j], or, with `by_row` 1, start[i_start + offset in C +
    j]; results below `floor` are raised to it.
    """
    if n > lanes(c):
        for i in range(0, m, _rows_wide()):
            _wide(c, ic, start, i_start, by_row, a, ia, b, ib, ldb, rows, i, n, taps, first, last, run, floor)
    else:
        for i in range(0, m, _rows_narrow()):
            _narrow(c, ic, start, i_start, by_row, a, ia, b, ib, ldb, rows, i, n, taps, first, last, run, floor)
