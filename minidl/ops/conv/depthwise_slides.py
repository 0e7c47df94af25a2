"""Kernels of depthwise convolution: windows of two rows at a time, over all channels."""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel
from minidl.device.channel_tiles import ENTRY, WINDOWS, windows_tile
from minidl.device.compile import Kernel
from minidl.device.vectors import CACHE_LINE, lanes
from minidl.ops.conv.depthwise_plan import COUNT, FIRST, FORMS, PLACE, STEP

ROW = 3  # numbers of a row's entry


@inline
def _list_rows(rows: Array, ends: Array, plane: int, y: int, both: bool, sizes: Array, phases: Array) -> None:
    """Rows of the image that row y of results sees, with `both` also the next row of its phase.

    An entry is the row's first number, and the numbers of its first weight for either row of results. `ends` gets the
    number of entries that the first row alone sees, that and those that both see, and all.
    """
    depth, height, deep, in_step, out_step = sizes[1], sizes[2], sizes[4], sizes[10:13], sizes[13:16]
    image, z = plane // deep, plane % deep
    planes, lines = phases[0, z % out_step[0]], phases[1, y % out_step[1]]
    first_plane, first_row = z // out_step[0] * in_step[0] + planes[FIRST], y // out_step[1] * in_step[1] + lines[FIRST]
    taps, lag, used = lines[COUNT], in_step[1] // lines[STEP], 0
    for kind in range(3):
        begin, end = 0, taps
        if both:
            begin = 0 if kind == 0 else min(lag, taps) if kind == 1 else max(lag, taps)
            end = min(lag, taps) if kind == 0 else taps if kind == 1 else taps + lag
        for a in range(planes[COUNT] if both or kind == 0 else 0):
            seen = first_plane + a * planes[STEP]
            place = (planes[PLACE] + a) * sizes[8] + lines[PLACE]
            for b in range(begin, end):
                row = first_row + b * lines[STEP]
                if 0 <= seen < depth and 0 <= row < height:
                    rows[ROW * used] = ((image * depth + seen) * height + row) * sizes[3] * sizes[0]
                    rows[ROW * used + 1] = (place + b) * sizes[9]
                    rows[ROW * used + 2] = (place + b - lag) * sizes[9]
                    used += 1
        ends[kind] = used


@inline
def _list_taps(taps: Array, bounds: Array, rows: Array, ends: Array, phase: Array, run: int, line: int) -> None:
    """Entries (see `windows_tile`) for every run of taps in each row, with `line` numbers for each tap's weights."""
    used = 0
    for kind in range(3):
        for r in range(ends[kind - 1] if kind else 0, ends[kind]):
            for c in range(0, phase[COUNT], run):
                taps[ENTRY * used] = rows[ROW * r]
                for k in range(1, ROW):
                    taps[ENTRY * used + k] = (rows[ROW * r + k] + phase[PLACE] + c) * line
                taps[ENTRY * used + ROW] = phase[FIRST] + c * phase[STEP]
                used += 1
        bounds[kind] = used


@inline
def _first_of(pair: int, high: int, sizes: Array) -> int:
    """The first row of results of a pair; there is none if it is `high` or more."""
    number, down = pair % sizes[17], sizes[14]
    of_phases = min(down, high)
    first: int = number % of_phases + number // of_phases * 2 * down
    return first


@inline
def _end_of(pair: int, high: int, sizes: Array, phases: Array) -> tuple[int, int]:
    """The numbers in all images, and in all results, behind the last that a pair sees and makes."""
    plane, y, in_step, out_step = pair // sizes[17], _first_of(pair, high, sizes), sizes[10:13], sizes[13:16]
    y, z = min(y + out_step[1], high - 1), plane % sizes[4]
    planes, lines = phases[0, z % out_step[0]], phases[1, y % out_step[1]]
    seen = z // out_step[0] * in_step[0] + planes[FIRST] + (planes[COUNT] - 1) * planes[STEP]
    row = y // out_step[1] * in_step[1] + lines[FIRST] + (lines[COUNT] - 1) * lines[STEP]
    seen, row = max(0, min(seen, sizes[1] - 1)), max(0, min(row, sizes[2] - 1))
    behind = (plane // sizes[4] * sizes[1] + seen) * sizes[2] + row + 1
    return behind * sizes[3] * sizes[0], (plane * high + y + 1) * sizes[6] * sizes[0]


def _slide_of(members: int, run: int, ratio: int) -> Kernel:
    """The kernel for one of `FORMS`."""
    tile = windows_tile(members, run, ratio)

    @kernel(
        "T[::1], const T[::1], const T[::1], const T[::1], bool, float64, const int64[::1], const int64[:, :, ::1], "
        "const int64[::1]",
        T=("float32", "float64"),
    )
    def slide(
        begin: int, end: int, out: Array, x: Array, weight: Array, start: Array, by_row: bool, floor: float,
        sizes: Array, phases: Array, starts: Array,
    ) -> None:  # fmt: skip
        """Pairs of rows of results begin to end."""
        channels, width, high, along, line = sizes[0], sizes[3], sizes[5], sizes[6], lanes(x)
        in_step, down, out_step, in_plane, is_large = sizes[12], sizes[14], sizes[15], sizes[17], sizes[18] > 0
        of_tap = line * members
        of_vector, pitch, below = sizes[7] * sizes[8] * sizes[9] * of_tap, out_step * channels, down * along * channels
        lift_pitch, lift_below = (pitch, below) if by_row else (0, 0)
        rows = np.empty(2 * ROW * sizes[7] * sizes[8], np.int64)
        taps = np.empty(2 * ENTRY * sizes[7] * sizes[8] * sizes[9], np.int64)
        ends, bounds = np.empty(3, np.int64), np.empty(3, np.int64)
        tiles = (along - 1) // (WINDOWS * out_step) + 1  # of a phase's row
        of_line = CACHE_LINE // x.itemsize
        each = len(starts) * tiles * min(out_step, along) * of_line  # numbers of which every tile fetches a line
        for pair in range(begin, end):
            plane, y = pair // in_plane, _first_of(pair, high, sizes)
            if y >= high:
                continue
            both = y + down < high
            _list_rows(rows, ends, plane, y, both, sizes, phases)
            read, read_end, made, made_end = 0, 0, 0, 0
            if is_large and pair + 1 < end:
                read, made = _end_of(pair, high, sizes, phases)
                read_end, made_end = _end_of(pair + 1, high, sizes, phases)
            read_lines = (read_end - read) // each + 1 if read_end > read else 0
            made_lines = (made_end - made) // each + 1 if made_end > made else 0
            for phase in range(min(out_step, along)):
                _list_taps(taps, bounds, rows, ends, phases[2, phase], run, of_tap)
                windows = (along - phase + out_step - 1) // out_step
                row = ((plane * high + y) * along + phase) * channels
                for v in range(len(starts)):
                    at = row + starts[v]
                    tile(
                        out,
                        at,
                        below,
                        pitch,
                        start,
                        at if by_row else starts[v],
                        lift_below,
                        lift_pitch,
                        x,
                        starts[v],
                        channels,
                        in_step // ratio,
                        0,
                        width,
                        weight,
                        v * of_vector,
                        taps,
                        bounds[0],
                        bounds[1],
                        bounds[2],
                        1 + both,
                        windows,
                        floor,
                        read,
                        read_lines,
                        made,
                        made_lines,
                    )
                    read += read_lines * of_line * tiles
                    made += made_lines * of_line * tiles

    return slide


SLIDES = {form: _slide_of(*form) for form in FORMS}
