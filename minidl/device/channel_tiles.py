"""Register tiles of depthwise convolution: a vector holds channels, and every channel meets its own weight alone.

Windows of a row lie evenly spaced, so a tile has one address for each tap and adds multiples of one step to it, which
is what x86's loads do anyway; a table with a place for each window needs more registers than there are for addresses.

| intrinsic | stays in registers | one step is |
|---|---|---|
| `windows_tile` | results of 8 windows | one tap, or three in a row |
| `taps_tile` | sums of 9 taps (3×3 at once; 6 with 16 registers) for two vectors of channels | one window |

Small groups are done alike: each channel of a group of 2, 4 or 8 is spread over the group's lanes, which is one
instruction, and multiplied with a vector of its own weights. For the weights' sums it is the slopes that go round in
their group, once for all taps: lane j of vector r has the slope of filter j + r.

Three taps in a row see 10 pixels in 8 windows, each of which is read once for up to three FMAs: one core of Zen 5 has
two reads and two FMAs of 512 bits a cycle, and reads that come with each FMA leave it at two thirds of its pace. Pixels
beside the row are read from a vector of zeros; only entries that see some compare columns.

Tried and lost, one core of Zen 5, 16 images of 64 channels, 24², in us: rows copied to a ring in the first-level cache
with zeros at both ends 123, this 114 (the copy is a pass over memory of its own, which nothing hides); windows of two
vectors of channels at once, where LLVM puts so many reads first that it runs out of registers; fetching the next row
ahead.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    element_type,
    host_number,
    integer,
    lanes_of,
    load,
    multiply_add,
    offset_by,
    registers,
    splat,
    store,
    vector_type,
    zeros,
)

WINDOWS = 8  # of a `windows_tile`
RUN = 3  # taps in a row that lie as far apart as windows do
VECTORS = 2  # of channels in a `taps_tile`, of channels that are alone
MEMBERS = (1, 2, 4, 8)  # channels, and filters, of a group
LONGEST_RUN = 4  # members up to which there are registers for the weights of a run
ENTRY = 3  # numbers of an entry in a table of taps


def _existing(builder: Any, number: int, count: Any) -> Any:
    """`number`, or count - 1 if it is less: what stands for an entry that does not exist."""
    last = builder.sub(count, integer(1))
    return builder.select(builder.icmp_signed("<", integer(number), last), integer(number), last)


def _rows(builder: Any, first: Any, step: Any, count: int) -> list[Any]:
    return [offset_by(builder, first, builder.mul(integer(i), step)) for i in range(count)]


def _store_first(builder: Any, cells: list[Any], sums: list[Any], count: Any) -> None:
    for i, (cell, value) in enumerate(zip(cells, sums, strict=True)):
        with builder.if_then(builder.icmp_signed("<", integer(i), count)):
            store(builder, value, cell)


def _where(builder: Any, condition: Any, values: Any, others: Any) -> list[Any]:
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


class _Line:
    """A row of pixels, of which those outside of it are zeros."""

    def __init__(self, builder: Any, vector: Any, width: Any) -> None:
        from numba.core import cgutils

        self.builder, self.vector, self.width = builder, vector, width
        self.nothing = builder.bitcast(cgutils.alloca_once_value(builder, zeros(vector)), vector.element.as_pointer())

    def pixel(self, place: Any, column: Any) -> Any:
        """The vector at `place` if `column` is one of the row's."""
        is_inside = self.builder.icmp_unsigned("<", column, self.width)
        return load(self.builder, self.vector, self.builder.select(is_inside, place, self.nothing))

    def has(self, first: Any, last: Any) -> Any:
        """Whether columns first to last are all the row's."""
        builder = self.builder
        return builder.and_(builder.icmp_signed(">=", first, integer(0)), builder.icmp_signed("<", last, self.width))


def _lanes_from(builder: Any, vector: Any, value: Any, members: int, source: Any) -> Any:
    """The vector whose lane j, member i of its group, holds that of member `source(i)`."""
    from llvmlite import ir

    if members == 1:
        return value
    places = [j - j % members + source(j % members) for j in range(vector.count)]
    mask = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), places)
    return builder.shuffle_vector(value, ir.Constant(vector, ir.Undefined), mask)


def _emit_windows(
    members: int, typing_context: Any, c: Any, ic: Any, ldc: Any, start: Any, i_start: Any, ld_start: Any, x: Any,
    ix: Any, pitch: Any, step: Any, first: Any, width: Any, weight: Any, iw: Any, table: Any, runs: Any, taps: Any,
    count: Any, floor: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (c_, ic_, ldc_, start_, i_start_, ld_start_, x_, ix_, pitch_, step_, first_, width_, weight_, iw_, table_,
         runs_, taps_, count_, floor_) = args  # fmt: skip
        vector = vector_type(c)
        line = _Line(builder, vector, width_)
        pixels = offset_by(builder, data_pointer(context, builder, x, x_), ix_)
        weights = offset_by(builder, data_pointer(context, builder, weight, weight_), iw_)
        entries = data_pointer(context, builder, table, table_)
        lifts = offset_by(builder, data_pointer(context, builder, start, start_), i_start_)
        end = offset_by(builder, data_pointer(context, builder, c, c_), ic_)
        apart = builder.mul(step_, pitch_)
        before = [
            load(builder, vector, offset_by(builder, lifts, builder.mul(_existing(builder, i, count_), ld_start_)))
            for i in range(WINDOWS)
        ]

        def over(taps: int) -> Any:
            """The body of the loop over entries that stand for so many taps."""

            def body(t: Any, sums: list[Any]) -> list[Any]:
                entry = offset_by(builder, entries, builder.mul(t, integer(ENTRY)))
                row, place, column = (builder.load(offset_by(builder, entry, k)) for k in range(ENTRY))
                column = builder.add(column, first_)
                at = offset_by(builder, pixels, row, builder.mul(column, pitch_))
                own = [
                    load(builder, vector, offset_by(builder, weights, place, k * vector.count))
                    for k in range(taps * members)
                ]
                seen = _rows(builder, at, apart, WINDOWS + taps - 1)

                def number(i: int) -> Any:
                    return builder.add(column, builder.mul(integer(i), step_))

                def added(pixel: Any) -> list[Any]:
                    new = list(sums)
                    for n in range(len(seen)):
                        value = pixel(n)
                        for m in range(members):
                            spread = _lanes_from(builder, vector, value, members, lambda i, m=m: m)
                            for i in range(max(0, n - taps + 1), min(WINDOWS, n + 1)):
                                new[i] = multiply_add(builder, spread, own[(n - i) * members + m], new[i])
                    return new

                return _where(
                    builder,
                    line.has(column, number(len(seen) - 1)),
                    lambda: added(lambda n: load(builder, vector, seen[n])),
                    lambda: added(lambda n: line.pixel(seen[n], number(n))),
                )

            return body

        sums = before
        if members <= LONGEST_RUN:
            sums = counted_loop(builder, integer(0), runs_, 1, sums, over(RUN), hide=True)[1]
        sums = counted_loop(builder, runs_, taps_, 1, sums, over(1), hide=True)[1]
        least = floor_ if element_type(c) == floor_.type else builder.fptrunc(floor_, element_type(c))
        least = splat(builder, vector, least)
        sums = [builder.select(builder.fcmp_ordered("<", value, least), least, value) for value in sums]
        _store_first(builder, _rows(builder, end, ldc_, WINDOWS), sums, count_)
        return context.get_dummy_value()

    n = types.intp
    return types.void(c, n, n, start, n, n, x, n, n, n, n, n, weight, n, table, n, n, n, types.float64), code


def _windows_tile(members: int) -> Intrinsic:
    def emit(
        typing_context: Any, c: Any, ic: Any, ldc: Any, start: Any, i_start: Any, ld_start: Any, x: Any, ix: Any,
        pitch: Any, step: Any, first: Any, width: Any, weight: Any, iw: Any, table: Any, runs: Any, taps: Any,
        count: Any, floor: Any,
    ) -> Any:  # fmt: skip
        return _emit_windows(members, typing_context, c, ic, ldc, start, i_start, ld_start, x, ix, pitch, step, first,
                             width, weight, iw, table, runs, taps, count, floor)  # fmt: skip

    def python(
        c: Any, ic: int, ldc: int, start: Any, i_start: int, ld_start: int, x: Any, ix: int, pitch: int, step: int,
        first: int, width: int, weight: Any, iw: int, table: Any, runs: int, taps: int, count: int, floor: float,
    ) -> None:  # fmt: skip
        """Results of the first `count` of `WINDOWS` windows, one vector of channels j each.

        c[ic + i ldc + j] = start[i_start + i ld_start + j] + the sum over t < taps and members m of
        pixel(t, i)[j - j % members + m] · weight[iw + place(t) + m lanes + j], raised to `floor`. `table` has (row,
        place, column) of each entry t: pixel(t, i) is number first + column + i step of the `width` pixels at x[ix +
        row:], which are `pitch` apart, and zero if there is no such pixel. Entries t < runs stand for `RUN` taps each,
        the next ones `step` columns and a vector of weights for each member further.
        """
        line = lanes_of(c.dtype)
        lane = np.arange(line)
        for i in range(min(count, WINDOWS)):
            total = start[i_start + i * ld_start :][:line].copy()
            for t, k in [(n, k) for n in range(taps) for k in range(RUN if n < runs else 1)]:
                row, place, column = table[ENTRY * t : ENTRY * (t + 1)]
                column += first + (i + k) * step
                if 0 <= column < width:
                    seen = x[ix + row + column * pitch :][:line]
                    for m in range(members):
                        own = weight[iw + place + (k * members + m) * line :][:line]
                        total += seen[lane - lane % members + m] * own
            total[total < floor] = floor
            c[ic + i * ldc : ic + i * ldc + line] = total

    return intrinsic(emit)(python)


windows_tiles = {members: _windows_tile(members) for members in MEMBERS}


def _emit_taps(
    members: int, typing_context: Any, c: Any, ic: Any, c_apart: Any, x: Any, ix: Any, pitch: Any, step: Any,
    width: Any, table: Any, entry: Any, taps: Any, g: Any, ig: Any, ldg: Any, apart: Any, inner: Any, outer: Any,
    count: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (c_, ic_, c_apart_, x_, ix_, pitch_, step_, width_, table_, entry_, taps_, g_, ig_, ldg_, apart_, inner_,
         outer_, count_) = args  # fmt: skip
        vector, vectors, at_once = vector_type(c), vectors_of(members), taps_at_once(members)
        line = _Line(builder, vector, width_)
        begin = offset_by(builder, data_pointer(context, builder, x, x_), ix_)
        slopes = offset_by(builder, data_pointer(context, builder, g, g_), ig_)
        end = offset_by(builder, data_pointer(context, builder, c, c_), ic_)
        entries = offset_by(builder, data_pointer(context, builder, table, table_), builder.mul(entry_, integer(ENTRY)))
        pixels, columns, cells, window_step = [], [], [], builder.mul(step_, pitch_)
        for t in range(at_once):
            at = offset_by(builder, entries, builder.mul(_existing(builder, t, taps_), integer(ENTRY)))
            row, place, column = (builder.load(offset_by(builder, at, k)) for k in range(ENTRY))
            pixels.append(offset_by(builder, begin, row, builder.mul(column, pitch_)))
            columns.append(column)
            firsts = _rows(builder, offset_by(builder, end, place), c_apart_, vectors)
            cells.append([offset_by(builder, first, r * vector.count) for first in firsts for r in range(members)])

        def over(read: Any) -> Any:
            def window(i: Any, sums: list[Any]) -> list[Any]:
                slope = offset_by(builder, slopes, builder.mul(i, ldg_))
                slopes_ = [load(builder, vector, place) for place in _rows(builder, slope, apart_, vectors)]
                own = [
                    _lanes_from(builder, vector, value, members, lambda i, r=r: (i + r) % members)
                    for value in slopes_
                    for r in range(members)
                ]
                moved, new = builder.mul(i, window_step), []
                for t in range(at_once):
                    seen = read(i, t, _rows(builder, offset_by(builder, pixels[t], moved), apart_, vectors))
                    before = sums[t * len(own) : (t + 1) * len(own)]
                    new += [
                        multiply_add(builder, seen[n // members], other, total)
                        for n, (other, total) in enumerate(zip(own, before, strict=True))
                    ]
                return new

            return window

        def inside(i: Any, t: int, places: list[Any]) -> list[Any]:
            return [load(builder, vector, place) for place in places]

        def anywhere(i: Any, t: int, places: list[Any]) -> list[Any]:
            column = builder.add(columns[t], builder.mul(i, step_))
            return [line.pixel(place, column) for place in places]

        sums = [load(builder, vector, cell) for all_of_tap in cells for cell in all_of_tap]
        sums = counted_loop(builder, integer(0), inner_, 1, sums, over(anywhere), hide=True)[1]
        sums = counted_loop(builder, inner_, outer_, 1, sums, over(inside))[1]
        sums = counted_loop(builder, outer_, count_, 1, sums, over(anywhere), hide=True)[1]
        for n in range(vectors * members):
            _store_first(builder, [all_of_tap[n] for all_of_tap in cells], sums[n :: vectors * members], taps_)
        return context.get_dummy_value()

    n = types.intp
    return types.void(c, n, n, x, n, n, n, n, table, n, n, g, n, n, n, n, n, n), code


def _taps_tile(members: int) -> Intrinsic:
    def emit(
        typing_context: Any, c: Any, ic: Any, c_apart: Any, x: Any, ix: Any, pitch: Any, step: Any, width: Any,
        table: Any, entry: Any, taps: Any, g: Any, ig: Any, ldg: Any, apart: Any, inner: Any, outer: Any, count: Any,
    ) -> Any:  # fmt: skip
        return _emit_taps(members, typing_context, c, ic, c_apart, x, ix, pitch, step, width, table, entry, taps, g,
                          ig, ldg, apart, inner, outer, count)  # fmt: skip

    def python(
        c: Any, ic: int, c_apart: int, x: Any, ix: int, pitch: int, step: int, width: int, table: Any, entry: int,
        taps: int, g: Any, ig: int, ldg: int, apart: int, inner: int, outer: int, count: int,
    ) -> None:  # fmt: skip
        """Sums over `count` windows of the taps of min(taps, `taps_at_once(members)`) entries from `entry` on.

        c[ic + place(t) + r lanes + j] += the sum over i < count of pixel(t, i)[j] · g[ig + i ldg + round(j, r)] for a
        vector of channels j, with pixels as in `windows_tiles`; round(j, r) is r members further in j's group, which
        is a ring. The same for all `vectors_of(members)` vectors, whose channels are `apart` and whose sums `c_apart`.
        Windows from `inner` to before `outer` see no pixel outside of their row.
        """
        line = lanes_of(c.dtype)
        lane = np.arange(line)
        for t in range(entry, entry + min(taps, taps_at_once(members))):
            row, place, column = table[ENTRY * t : ENTRY * (t + 1)]
            for v, i, r in np.ndindex(vectors_of(members) if c_apart else 1, count, members):
                if 0 <= column + i * step < width:
                    pixel, slope = ix + row + (column + i * step) * pitch + v * apart, ig + i * ldg + v * apart
                    cell, other = ic + place + v * c_apart + r * line, lane - lane % members + (lane + r) % members
                    c[cell : cell + line] += x[pixel : pixel + line] * g[slope : slope + line][other]

    return intrinsic(emit)(python)


def vectors_of(members: int) -> int:
    """Vectors of channels in a `taps_tile`."""
    return VECTORS if members == 1 else 1


def taps_at_once(members: int = 1) -> int:
    """Taps of a `taps_tile`: as many as there are registers for."""
    many = registers() > 16
    return {1: 9 if many else 6, 2: 9 if many else 5, 4: 5 if many else 3}.get(members, 3 if many else 1)


taps_tiles = {members: _taps_tile(members) for members in MEMBERS}
tile_taps = {members: host_number(taps_at_once, members) for members in MEMBERS}
