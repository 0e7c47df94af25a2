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

Tried and lost: 8 windows of one row, 16 images of 64 channels, 24², one core of Zen 4, 143 us, this 114; 8 windows in
two rows 178 and 4 in four 172 (this that time 149: the sums of a tile that is not full are lost); rows copied to a ring
in the first-level cache with zeros at both ends.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    element_type,
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


def _emit_windows(
    members: int, run: int, ratio: int, typing_context: Any, c: Any, ic: Any, down: Any, ldc: Any, start: Any,
    i_start: Any, s_down: Any, ld_start: Any, x: Any, ix: Any, pitch: Any, step: Any, first: Any, width: Any,
    weight: Any, iw: Any, table: Any, both: Any, second: Any, taps: Any, rows: Any, count: Any, floor: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (c_, ic_, down_, ldc_, start_, i_start_, s_down_, ld_start_, x_, ix_, pitch_, step_, first_, width_, weight_,
         iw_, table_, both_, second_, taps_, rows_, count_, floor_) = args  # fmt: skip
        vector = vector_type(c)
        line = Line(builder, vector, width_)
        pixels = offset_by(builder, data_pointer(context, builder, x, x_), ix_)
        weights = offset_by(builder, data_pointer(context, builder, weight, weight_), iw_)
        entries = data_pointer(context, builder, table, table_)
        apart, has_two = builder.mul(step_, pitch_), builder.icmp_signed(">", rows_, integer(1))

        def places(array: Any, value: Any, index: Any, across: Any, lower: Any, *, real: bool) -> list[Any]:
            """Of all windows, row by row; with `real`, of some window that exists for those that do not."""
            origin = offset_by(builder, data_pointer(context, builder, array, value), index)
            other = offset_by(builder, origin, builder.select(has_two, lower, integer(0)) if real else lower)
            numbers = [_existing(builder, i, count_) if real else integer(i) for i in range(WINDOWS)]
            return [offset_by(builder, row, builder.mul(i, across)) for row in (origin, other) for i in numbers]

        def over(seen_by: tuple[int, ...]) -> Any:
            """The body of the loop over entries that these rows of windows see."""

            def body(t: Any, sums: list[Any]) -> list[Any]:
                entry = offset_by(builder, entries, builder.mul(t, integer(ENTRY)))
                row, *own, column = (builder.load(offset_by(builder, entry, k)) for k in range(ENTRY))
                column = builder.add(column, first_)
                at = offset_by(builder, pixels, row, builder.mul(column, pitch_))
                loaded = {
                    r: [load(builder, vector, offset_by(builder, weights, own[r], k * vector.count))
                        for k in range(run * members)]
                    for r in seen_by
                }  # fmt: skip
                seen = [offset_by(builder, at, builder.mul(integer(n), apart)) for n in range(length)]

                def number(n: int) -> Any:
                    return builder.add(column, builder.mul(integer(n), step_))

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

        length = ratio * (WINDOWS - 1) + run  # pixels of a run in all windows
        sums = [load(builder, vector, p) for p in places(start, start_, i_start_, ld_start_, s_down_, real=True)]
        ends = integer(0), both_, second_, taps_
        for k, seen_by in enumerate(((0,), (0, 1), (1,))):
            sums = counted_loop(builder, ends[k], ends[k + 1], 1, sums, over(seen_by), hide=True)[1]
        least = floor_ if element_type(c) == floor_.type else builder.fptrunc(floor_, element_type(c))
        least = splat(builder, vector, least)
        sums = [builder.select(builder.fcmp_ordered("<", value, least), least, value) for value in sums]
        cells = places(c, c_, ic_, ldc_, down_, real=False)

        def finish(first: int) -> None:
            for i in range(WINDOWS):
                with builder.if_then(builder.icmp_signed("<", integer(i), count_)):
                    store(builder, sums[first + i], cells[first + i])

        finish(0)
        with builder.if_then(has_two):
            finish(WINDOWS)
        return context.get_dummy_value()

    n = types.intp
    return types.void(
        c, n, n, n, start, n, n, n, x, n, n, n, n, n, weight, n, table, n, n, n, n, n, types.float64
    ), code


def windows_tile(members: int, run: int, ratio: int) -> Intrinsic:
    """The tile for groups of so many channels, runs of so many taps, and windows `ratio` pixels of a run apart."""

    def emit(
        typing_context: Any, c: Any, ic: Any, down: Any, ldc: Any, start: Any, i_start: Any, s_down: Any,
        ld_start: Any, x: Any, ix: Any, pitch: Any, step: Any, first: Any, width: Any, weight: Any, iw: Any,
        table: Any, both: Any, second: Any, taps: Any, rows: Any, count: Any, floor: Any,
    ) -> Any:  # fmt: skip
        return _emit_windows(members, run, ratio, typing_context, c, ic, down, ldc, start, i_start, s_down, ld_start,
                             x, ix, pitch, step, first, width, weight, iw, table, both, second, taps, rows, count,
                             floor)  # fmt: skip

    def python(
        c: Any, ic: int, down: int, ldc: int, start: Any, i_start: int, s_down: int, ld_start: int, x: Any, ix: int,
        pitch: int, step: int, first: int, width: int, weight: Any, iw: int, table: Any, both: int, second: int,
        taps: int, rows: int, count: int, floor: float,
    ) -> None:  # fmt: skip
        """Results of the first `count` of `WINDOWS` windows in `rows` (1 or 2) rows, one vector of channels j each.

        c[ic + r down + i ldc + j] = start[i_start + r s_down + i ld_start + j] + the sum over entries t, their taps
        k < run and members m of pixel(t, i, k)[j - j % members + m] · weight[iw + place(t, r) + (k members + m) lanes
        + j], raised to `floor`. `table` has (row, place for r = 0, place for r = 1, column) of each entry: row 0 sees
        those before `second`, row 1 those from `both` on. pixel(t, i, k) is number first + column + (ratio i + k) step
        of the `width` pixels at x[ix + row:], which are `pitch` apart, and zero if there is no such pixel.
        """
        line = lanes_of(c.dtype)
        lane = np.arange(line)
        for r, i in np.ndindex(rows, min(count, WINDOWS)):
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
