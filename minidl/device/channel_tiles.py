"""Register tiles of depthwise convolution: a vector holds channels, and every channel meets its own weight alone.

| file | stays in registers | one step is |
|---|---|---|
| here | results of 4 windows in each of two rows | a run of taps in one row of the image |
| `channel_sums.py` | sums of up to three rows of taps | 4 windows of one row |

Two rows of windows see most rows of the image both, so that a pixel that is read once serves up to 2·k FMAs: a core of
Zen 4 has one read and one FMA of 512 bits a cycle, and with one read for each FMA it loses a third of its pace. Rows
that only one of the two sees come first and last, with loops of their own. Windows lie `ratio` pixels of a run apart,
which is known when the tile is written: that tells which windows see a pixel.

Small groups are done alike: each channel of a group of 2, 4 or 8 is spread over the group's lanes, which is one
instruction, and multiplied with a vector of its own weights.

Pixels beside the row are read from a vector of zeros; only runs that see some compare columns.

Tried and lost, in a draft in C, 16 images of 64 channels, 24², one core of Zen 4: 8 windows of one row 143 us, this
114; 8 windows in two rows 178 and 4 in four 172 (this that time 149: the sums of a tile that is not full are lost);
rows copied to a ring in the first-level cache with zeros at both ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    element_type,
    fetch_lines,
    hidden,
    integer,
    lanes_of,
    load,
    multiply_add,
    offset_by,
    splat,
    store,
    vector_type,
    zeros,
)

WINDOWS = 4  # of a tile, in each row
MEMBERS = (1, 2, 4, 8)  # channels, and filters, of a group
ENTRY = 4  # numbers of an entry in a table of taps


def _existing(builder: Any, number: int, count: Any) -> Any:
    """`number`, or count - 1 if it is less: what stands for an entry that does not exist."""
    last = builder.sub(count, integer(1))
    return builder.select(builder.icmp_signed("<", integer(number), last), integer(number), last)


def where(builder: Any, condition: Any, values: Any, others: Any) -> list[Any]:
    """values() where the condition holds, else others(): lists of vectors, of which only one is computed."""
    with builder.if_else(condition) as (then, otherwise):
        with then:
            ones, after_ones = values(), builder.block
        with otherwise:
            twos, after_twos = others(), builder.block
    merged = []
    for one, two in zip(ones, twos, strict=True):
        phi = builder.phi(one.type)
        phi.add_incoming(one, after_ones)
        phi.add_incoming(two, after_twos)
        merged.append(phi)
    return merged


class Line:
    """A row of pixels, of which those outside of it are zeros."""

    def __init__(self, builder: Any, vector: Any, width: Any) -> None:
        from numba.core import cgutils

        self.builder, self.vector, self.width = builder, vector, width
        nothing = cgutils.alloca_once_value(builder, zeros(vector))
        # If LLVM knew what stands there, it would jump over each read instead.
        self.nothing = hidden(builder, builder.bitcast(nothing, vector.element.as_pointer()))

    def pixel(self, place: Any, column: Any) -> Any:
        """The vector at `place` if `column` is one of the row's."""
        is_inside = self.builder.icmp_unsigned("<", column, self.width)
        return load(self.builder, self.vector, self.builder.select(is_inside, place, self.nothing))

    def has(self, first: Any, last: Any) -> Any:
        """Whether columns first to last are all the row's."""
        builder = self.builder
        return builder.and_(builder.icmp_signed(">=", first, integer(0)), builder.icmp_signed("<", last, self.width))


def lanes_from(builder: Any, vector: Any, value: Any, members: int, source: Any) -> Any:
    """The vector whose lane j, member i of its group, holds that of member `source(i)`."""
    from llvmlite import ir

    if members == 1:
        return value
    places = [j - j % members + source(j % members) for j in range(vector.count)]
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), places)
    return builder.shuffle_vector(value, ir.Constant(vector, ir.Undefined), mask)


ARGS = (
    "c ic down ldc start i_start s_down ld_start x ix pitch step first width weight iw table both second taps rows "
    "count floor next_x lines_x next_c lines_c"
)


def _emit_windows(members: int, run: int, ratio: int, typing_context: Any, *arguments: Any) -> Any:
    from numba.core import types

    names = ARGS.split()
    c = arguments[0]

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kinds, args = dict(zip(names, arguments, strict=True)), dict(zip(names, values, strict=True))
        vector = vector_type(c)
        line = Line(builder, vector, args["width"])
        pitch, step, count = args["pitch"], args["step"], args["count"]

        def at(array: str, *offsets: Any) -> Any:
            return offset_by(builder, data_pointer(context, builder, kinds[array], args[array]), *offsets)

        pixels, weights, entries = at("x", args["ix"]), at("weight", args["iw"]), at("table")
        apart, has_two = builder.mul(step, pitch), builder.icmp_signed(">", args["rows"], integer(1))
        s_down = builder.select(has_two, args["s_down"], integer(0))
        length = ratio * (WINDOWS - 1) + run  # pixels of a run in all windows
        least = (
            args["floor"] if element_type(c) == args["floor"].type else builder.fptrunc(args["floor"], element_type(c))
        )
        least = splat(builder, vector, least)

        def over(seen_by: tuple[int, ...], first: Any) -> Any:
            """The body of the loop over entries that these rows of windows see."""

            def body(t: Any, sums: list[Any]) -> list[Any]:
                entry = offset_by(builder, entries, builder.mul(t, integer(ENTRY)))
                row, *own, column = (builder.load(offset_by(builder, entry, k)) for k in range(ENTRY))
                column = builder.add(column, first)
                here = offset_by(builder, pixels, row, builder.mul(column, pitch))
                loaded = {
                    r: [load(builder, vector, offset_by(builder, weights, own[r], k * vector.count))
                        for k in range(run * members)]
                    for r in seen_by
                }  # fmt: skip
                seen = [offset_by(builder, here, builder.mul(integer(n), apart)) for n in range(length)]

                def number(n: int) -> Any:
                    return builder.add(column, builder.mul(integer(n), step))

                def added(pixel: Any) -> list[Any]:
                    new = list(sums)
                    for n in range(length):
                        windows = [i for i in range(WINDOWS) if 0 <= n - ratio * i < run]
                        value = pixel(n) if windows else None
                        for m in range(members if windows else 0):
                            spread = lanes_from(builder, vector, value, members, lambda i, m=m: m)
                            for r in seen_by:
                                for i in windows:
                                    tap, place = loaded[r][(n - ratio * i) * members + m], r * WINDOWS + i
                                    new[place] = multiply_add(builder, spread, tap, new[place])
                    return new

                return where(
                    builder,
                    line.has(column, number(length - 1)),
                    lambda: added(lambda n: load(builder, vector, seen[n])),
                    lambda: added(lambda n: line.pixel(seen[n], number(n))),
                )

            return body

        def tile(i: Any, ahead: list[Any]) -> list[Any]:
            """Windows i to i + `WINDOWS`."""
            left = builder.sub(count, i)
            lifts = at("start", args["i_start"], builder.mul(i, args["ld_start"]))
            steps = [builder.mul(_existing(builder, n, left), args["ld_start"]) for n in range(WINDOWS)]
            sums = [load(builder, vector, offset_by(builder, lifts, n)) for n in steps]
            sums += [load(builder, vector, offset_by(builder, lifts, s_down, n)) for n in steps]
            first = builder.add(args["first"], builder.mul(i, builder.mul(integer(ratio), step)))
            ends = integer(0), args["both"], args["second"], args["taps"]
            for k, seen_by in enumerate(((0,), (0, 1), (1,))):
                sums = counted_loop(builder, ends[k], ends[k + 1], 1, sums, over(seen_by, first), hide=True)[1]
            sums = [builder.select(builder.fcmp_ordered("<", value, least), least, value) for value in sums]
            cell = at("c", args["ic"], builder.mul(i, args["ldc"]))

            def finish(cell: Any, values: list[Any]) -> None:
                for n, value in enumerate(values):
                    with builder.if_then(builder.icmp_signed("<", integer(n), left)):
                        store(builder, value, offset_by(builder, cell, builder.mul(integer(n), args["ldc"])))

            finish(cell, sums[:WINDOWS])
            with builder.if_then(has_two):
                finish(offset_by(builder, cell, args["down"]), sums[WINDOWS:])
            return [fetch_lines(builder, p, args[n]) for p, n in zip(ahead, ("lines_x", "lines_c"), strict=True)]

        ahead = [at("x", args["next_x"]), at("c", args["next_c"])]
        counted_loop(builder, integer(0), count, WINDOWS, ahead, tile, hide=True)
        return context.get_dummy_value()

    return types.void(*arguments[:-5], types.float64, *[types.intp] * 4), code


def windows_tile(members: int, run: int, ratio: int) -> Intrinsic:
    """The tiles of two rows for groups of so many channels, runs of so many taps, and windows `ratio` pixels of a run
    apart.
    """

    def emit(
        typing_context: Any, c: Any, ic: Any, down: Any, ldc: Any, start: Any, i_start: Any, s_down: Any,
        ld_start: Any, x: Any, ix: Any, pitch: Any, step: Any, first: Any, width: Any, weight: Any, iw: Any,
        table: Any, both: Any, second: Any, taps: Any, rows: Any, count: Any, floor: Any, next_x: Any, lines_x: Any,
        next_c: Any, lines_c: Any,
    ) -> Any:  # fmt: skip
        return _emit_windows(members, run, ratio, typing_context, c, ic, down, ldc, start, i_start, s_down, ld_start,
                             x, ix, pitch, step, first, width, weight, iw, table, both, second, taps, rows, count,
                             floor, next_x, lines_x, next_c, lines_c)  # fmt: skip

    def python(
        c: Any, ic: int, down: int, ldc: int, start: Any, i_start: int, s_down: int, ld_start: int, x: Any, ix: int,
        pitch: int, step: int, first: int, width: int, weight: Any, iw: int, table: Any, both: int, second: int,
        taps: int, rows: int, count: int, floor: float, next_x: int, lines_x: int, next_c: int, lines_c: int,
    ) -> None:  # fmt: skip
        """Results of `count` windows in `rows` (1 or 2) rows, one vector of channels j each.

        c[ic + r down + i ldc + j] = start[i_start + r s_down + i ld_start + j] + the sum over entries t, their taps
        k < run and members m of pixel(t, i, k)[j - j % members + m] · weight[iw + place(t, r) + (k members + m) lanes
        + j], raised to `floor`. `table` has (row, place for r = 0, place for r = 1, column) of each entry: row 0 sees
        those before `second`, row 1 those from `both` on. pixel(t, i, k) is number first + column + (ratio i + k) step
        of the `width` pixels at x[ix + row:], which are `pitch` apart, and zero if there is no such pixel.

        After each tile, `lines_x` cache lines of x from `next_x` on, and `lines_c` of c, are asked for.
        """
        line = lanes_of(c.dtype)
        lane = np.arange(line)
        for r, i in np.ndindex(rows, count):
            total = start[i_start + r * s_down + i * ld_start :][:line].copy()
            for t, k in np.ndindex(taps, run):
                row, *places, column = table[ENTRY * t : ENTRY * (t + 1)]
                column += first + (ratio * i + k) * step
                if 0 <= column < width and (t >= both if r else t < second):
                    seen = x[ix + row + column * pitch :][:line]
                    for m in range(members):
                        own = weight[iw + places[r] + (k * members + m) * line :][:line]
                        total += seen[lane - lane % members + m] * own
            total[total < floor] = floor
            at = ic + r * down + i * ldc
            c[at : at + line] = total

    return intrinsic(emit)(python)
