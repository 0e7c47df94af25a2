"""Register tiles of the weight gradient of depthwise convolution: slopes times the pixels that the windows see.

Up to three rows of a run's taps keep their sums in registers over many rows of windows, so that images of 7² do not
read and write them for each row of 7. Four windows of a row are done at once, whose runs see most pixels together:
three taps in three rows take 4 + 18 reads for 36 FMAs. (`channel_tiles.py` has the rest of the idea.)

In groups of 2, 4 or 8 it is the slopes that go round in their group, once for all taps: lane j of vector r has the
slope of filter j + r.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.channel_tiles import Line, lanes_from, where
from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    fetch_lines,
    integer,
    lanes_of,
    load,
    multiply_add,
    offset_by,
    registers,
    store,
    vector_type,
)


def windows_at_once(members: int) -> int:
    """Windows whose slopes are in registers together."""
    return {1: 4, 2: 2}.get(members, 1)


def rows_at_once(members: int, run: int) -> int:
    """Rows of taps that have registers for their sums, at most three."""
    free = registers() - windows_at_once(members) * members - 1
    return max(1, min(3, free // (run * members)))


def _emit_sums(
    members: int, run: int, ratio: int, rows: int, typing_context: Any, c: Any, ic: Any, c_down: Any, x: Any, ix: Any,
    x_down: Any, x_line: Any, pitch: Any, step: Any, first: Any, width: Any, g: Any, ig: Any, g_line: Any, ldg: Any,
    count: Any, lines: Any, next_x: Any, lines_x: Any, next_g: Any, lines_g: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        (c_, ic_, c_down_, x_, ix_, x_down_, x_line_, pitch_, step_, first_, width_, g_, ig_, g_line_, ldg_, count_,
         lines_, next_x_, lines_x_, next_g_, lines_g_) = args  # fmt: skip
        vector = vector_type(c)
        line = Line(builder, vector, width_)
        origin = offset_by(builder, data_pointer(context, builder, x, x_), ix_)
        slopes = offset_by(builder, data_pointer(context, builder, g, g_), ig_)
        end = offset_by(builder, data_pointer(context, builder, c, c_), ic_)
        cells = [
            offset_by(builder, end, builder.mul(integer(b), c_down_), k * vector.count)
            for b in range(rows)
            for k in range(run * members)
        ]
        apart, window_step = builder.mul(step_, pitch_), builder.mul(integer(ratio), step_)

        def windows(row: Any, slope: Any, at_once: int) -> Any:
            """The body of the loop over so many windows at a time of one row."""
            length = ratio * (at_once - 1) + run

            def body(i: Any, values: list[Any]) -> list[Any]:
                *sums, next_x, next_g = values
                column = builder.add(first_, builder.mul(i, window_step))
                pixels = offset_by(builder, row, builder.mul(column, pitch_))
                own = []
                for n in range(at_once):
                    here = offset_by(builder, slope, builder.mul(builder.add(i, integer(n)), ldg_))
                    value = load(builder, vector, here)
                    own.append([
                        lanes_from(builder, vector, value, members, lambda i, r=r: (i + r) % members)
                        for r in range(members)
                    ])  # fmt: skip

                def number(n: int) -> Any:
                    return builder.add(column, builder.mul(integer(n), step_))

                def added(pixel: Any) -> list[Any]:
                    new = list(sums)
                    for b in range(rows):
                        for n in range(length):
                            seen = [i for i in range(at_once) if 0 <= n - ratio * i < run]
                            shift = builder.add(builder.mul(integer(b), x_down_), builder.mul(integer(n), apart))
                            value = pixel(n, offset_by(builder, pixels, shift)) if seen else None
                            for i in seen:
                                for r in range(members):
                                    place = (b * run + n - ratio * i) * members + r
                                    new[place] = multiply_add(builder, value, own[i][r], new[place])
                    return new

                new = where(
                    builder,
                    line.has(column, number(length - 1)),
                    lambda: added(lambda n, place: load(builder, vector, place)),
                    lambda: added(lambda n, place: line.pixel(place, number(n))),
                )
                return [*new, fetch_lines(builder, next_x, lines_x_), fetch_lines(builder, next_g, lines_g_)]

            return body

        def one_row(j: Any, sums: list[Any]) -> list[Any]:
            row = offset_by(builder, origin, builder.mul(j, x_line_))
            slope = offset_by(builder, slopes, builder.mul(j, g_line_))
            i, at_once = integer(0), windows_at_once(members)
            while at_once:
                whole = builder.and_(count_, integer(-at_once))
                i, sums = counted_loop(builder, i, whole, at_once, sums, windows(row, slope, at_once), hide=True)
                at_once //= 2
            return sums

        sums = [load(builder, vector, cell) for cell in cells]
        ahead = [
            offset_by(builder, data_pointer(context, builder, kind, value), index)
            for kind, value, index in ((x, x_, next_x_), (g, g_, next_g_))
        ]
        sums = counted_loop(builder, integer(0), lines_, 1, [*sums, *ahead], one_row, hide=True)[1][: len(cells)]
        for cell, value in zip(cells, sums, strict=True):
            store(builder, value, cell)
        return context.get_dummy_value()

    n = types.intp
    return types.void(c, n, n, x, n, n, n, n, n, n, n, g, n, n, n, n, n, n, n, n, n), code


def sums_tile(members: int, run: int, ratio: int, rows: int | None = None) -> Intrinsic:
    """The tile for groups of so many channels, and runs of so many taps in each of `rows` (`rows_at_once` if None)."""

    def emit(
        typing_context: Any, c: Any, ic: Any, c_down: Any, x: Any, ix: Any, x_down: Any, x_line: Any, pitch: Any,
        step: Any, first: Any, width: Any, g: Any, ig: Any, g_line: Any, ldg: Any, count: Any, lines: Any,
        next_x: Any, lines_x: Any, next_g: Any, lines_g: Any,
    ) -> Any:  # fmt: skip
        tall = rows_at_once(members, run) if rows is None else rows
        return _emit_sums(members, run, ratio, tall, typing_context, c, ic, c_down, x, ix, x_down, x_line, pitch, step,
                          first, width, g, ig, g_line, ldg, count, lines, next_x, lines_x, next_g, lines_g)  # fmt: skip

    def python(
        c: Any, ic: int, c_down: int, x: Any, ix: int, x_down: int, x_line: int, pitch: int, step: int, first: int,
        width: int, g: Any, ig: int, g_line: int, ldg: int, count: int, lines: int, next_x: int,
        lines_x: int, next_g: int, lines_g: int,
    ) -> None:  # fmt: skip
        """Sums of `run` taps in each of `rows` rows over `count` windows in each of `lines` rows.

        c[ic + b c_down + (k members + r) lanes + j] += the sum over windows i < count of rows n < lines of
        pixel(b, k, i, n)[j] · g[ig + n g_line + i ldg + round(j, r)] for a vector of channels j; round(j, r) is r
        members further in j's group, which is a ring. pixel(b, k, i, n) is number first + (ratio i + k) step of the
        `width` pixels at x[ix + b x_down + n x_line:], which are `pitch` apart, and zero if there is no such pixel.

        After each group of windows, `lines_x` cache lines of x from `next_x` on, and `lines_g` of g, are asked for.
        """
        line, tall = lanes_of(c.dtype), rows_at_once(members, run) if rows is None else rows
        lane = np.arange(line)
        for b, k, n, i, r in np.ndindex(tall, run, lines, count, members):
            column = first + (ratio * i + k) * step
            if 0 <= column < width:
                pixel, slope = ix + b * x_down + n * x_line + column * pitch, ig + n * g_line + i * ldg
                cell, other = ic + b * c_down + (k * members + r) * line, lane - lane % members + (lane + r) % members
                c[cell : cell + line] += x[pixel : pixel + line] * g[slope : slope + line][other]

    return intrinsic(emit)(python)
