"""Kernels of the weight gradient of depthwise convolution: stretches of rows of windows, over all channels."""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel
from minidl.device.channel_sums import rows_at_once, sums_tile, windows_at_once
from minidl.device.compile import Kernel
from minidl.device.lines import clear_line
from minidl.device.vectors import CACHE_LINE, host_number, lanes
from minidl.ops.conv.depthwise_plan import FIRST, FORMS, STEP


@inline
def _lines_with(first: int, step: int, height: int, begin: int, end: int) -> tuple[int, int]:
    """Rows of windows, of those begin to end, that see row first + step·y in the image: the first and one behind."""
    low = max(begin, -(first // step))
    return low, max(low, min(end, (height - 1 - first) // step + 1))


@inline
def _ends_of(unit: int, sizes: Array, phases: Array) -> tuple[int, int]:
    """The numbers in all images, and in all windows, behind the last that a stretch of rows of windows sees and is."""
    plane, behind = unit // sizes[17], min(sizes[5], (unit % sizes[17] + 1) * sizes[16])
    seen = plane % sizes[4] * (sizes[10] // sizes[13]) + phases[0, 0, FIRST] + (sizes[7] - 1) * phases[0, 0, STEP]
    row = (behind - 1) * (sizes[11] // sizes[14]) + phases[1, 0, FIRST] + (sizes[8] - 1) * phases[1, 0, STEP]
    seen, row = max(0, min(seen, sizes[1] - 1)), max(0, min(row, sizes[2] - 1))
    pixels = ((plane // sizes[4] * sizes[1] + seen) * sizes[2] + row + 1) * sizes[3] * sizes[0]
    return pixels, (plane * sizes[5] + behind) * sizes[6] * sizes[0]


def _dots_of(members: int, run: int, ratio: int) -> Kernel:
    """The kernel for one of `FORMS`."""
    rows_of_tile, at_a_time = host_number(rows_at_once, members, run), windows_at_once(members)
    tile, tile_of_one = sums_tile(members, run, ratio), sums_tile(members, run, ratio, 1)

    @kernel(
        "T[::1], const T[::1], const T[::1], const int64[::1], const int64[:, :, ::1], const int64[::1], intp",
        T=("float32", "float64"),
    )
    def dots(
        begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, phases: Array, starts: Array, units: int
    ) -> None:
        """sums[piece, vector, tap, channel] of pieces begin to end, each a share of the stretches of windows' rows."""
        channels, depth, height, width, deep, high, along = sizes[:7]
        kernel, in_step, out_step, lines, of_tap = (
            sizes[7:10],
            sizes[10:13],
            sizes[13:16],
            sizes[16],
            lanes(x) * members,
        )
        steps, firsts, apart = in_step // out_step, phases[:, 0, FIRST], phases[:, 0, STEP]
        across, ldg, x_line, g_line = in_step[2] // ratio, out_step[2] * channels, width * channels, along * channels
        of_row, of_vector, to_next = kernel[2] * of_tap, kernel[0] * kernel[1] * kernel[2] * of_tap, steps[1] * x_line
        is_large, of_line = sizes[18] > 0, CACHE_LINE // x.itemsize
        groups = ((along - 1) // (out_step[2] * at_a_time) + 1) * of_line
        each = groups * lines * len(starts) * min(out_step[2], along)  # numbers of which every group fetches a line
        share, at_once = len(starts) * of_vector, rows_of_tile()
        pieces = len(sums) // share
        for piece in range(begin, end):
            clear_line(sums, piece * share, sums, 0, share)
            for unit in range(units * piece // pieces, units * (piece + 1) // pieces):
                plane, first = unit // sizes[17], unit % sizes[17] * lines
                behind = min(high, first + lines)
                next_x, next_g, lines_x, lines_g = 0, 0, 0, 0
                if is_large and unit + 1 < units:
                    next_x, next_g = _ends_of(unit, sizes, phases)
                    end_x, end_g = _ends_of(unit + 1, sizes, phases)
                    lines_x, lines_g = max(0, end_x - next_x + each - 1) // each, (end_g - next_g + each - 1) // each
                for v, a, phase in np.ndindex(len(starts), kernel[0], min(out_step[2], along)):
                    seen = plane % deep * steps[0] + firsts[0] + a * apart[0]
                    if seen < 0 or seen >= depth:
                        continue
                    pixels = (plane // deep * depth + seen) * height * x_line + starts[v]
                    slopes = (plane * high * along + phase) * channels + starts[v]
                    windows = (along - phase + out_step[2] - 1) // out_step[2]
                    b, asks_x, asks_g = 0, lines_x, lines_g
                    if a:
                        asks_x = asks_g = 0
                    while b < kernel[1]:
                        rows = at_once if b + at_once <= kernel[1] else 1
                        row = firsts[1] + b * apart[1]
                        low, _ = _lines_with(row, steps[1], height, first, behind)
                        _, top = _lines_with(row + (rows - 1) * apart[1], steps[1], height, first, behind)
                        if top <= low:
                            low = top = behind
                        for c in range(0, kernel[2], run):
                            column = phases[2, phase, FIRST] + c * apart[2]
                            cell = piece * share + v * of_vector + (a * kernel[1] + b) * of_row + c * of_tap
                            for part in range(3):  # lines with all of the rows stand between others
                                from_, to = (first, low) if part == 0 else (low, top) if part == 1 else (top, behind)
                                if part == 1 and rows > 1:
                                    tile(sums, cell, of_row, x, pixels + (row + low * steps[1]) * x_line,
                                         apart[1] * x_line, to_next, channels, across, column, width, g,
                                         slopes + low * g_line, g_line, ldg, windows, top - low,
                                         next_x, asks_x, next_g, asks_g)  # fmt: skip
                                    next_x += asks_x * groups * (top - low)
                                    next_g += asks_g * groups * (top - low)
                                    asks_x = asks_g = 0
                                    continue
                                for n in range(rows):
                                    tap = row + n * apart[1]
                                    line, end_ = _lines_with(tap, steps[1], height, from_, to)
                                    tile_of_one(sums, cell + n * of_row, of_row, x,
                                                pixels + (tap + line * steps[1]) * x_line, 0, to_next, channels,
                                                across, column, width, g, slopes + line * g_line, g_line, ldg, windows,
                                                end_ - line, 0, 0, 0, 0)  # fmt: skip
                        b += rows

    return dots


DOTS = {form: _dots_of(*form) for form in FORMS}
