"""Depthwise convolution: every channel with windows of its own, so there is no matrix product to make of it.

Groups of 2, 4 or 8 channels with as many filters are done alike: each channel of a group is spread over the lanes of
the group, and met by a vector of weights of its own (32 groups of 4 joined to matrices of 16 channels: four times the
operations).

Nine multiply-adds on each pixel that is read: memory sets the pace, if the sums keep up. In channels-last memory a
vector holds channels, so the result of a window is the sum over its taps of pixel times weight, both vectors
(`channel_tiles.py`). A call goes through rows of results; the rows of the image that one sees are listed, without
those above or below the image, and each is read in place.

The input gradient is the same, phase by phase (`regions.py`); in the weight gradient taps and windows change places.

The last vectors of a pixel begin early enough to end with it, and compute some channels twice. Images with fewer
channels than a vector are filled up, and several filters for a channel see a copy of it each.

2·N·K·OH·OW·k² operations on N·C·H·W + N·K·OH·OW numbers.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.core.remember import prepared
from minidl.device import CPU, empty, inline, kernel, parallel
from minidl.device.channel_tiles import (
    ENTRY,
    LONGEST_RUN,
    MEMBERS,
    RUN,
    WINDOWS,
    taps_tiles,
    tile_taps,
    vectors_of,
    windows_tiles,
)
from minidl.device.compile import Kernel
from minidl.device.dtypes import DType
from minidl.device.lines import clear_line
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.conv.regions import Way, backward_way, calls_for, forward_way
from minidl.ops.conv.volumes import in_three, space_of
from minidl.ops.windows import Sizes

COST = 4  # a product takes as long as so many operations of a matrix product
BLOCKS = 32  # pieces that threads share out
PIECES = 16  # of the weight gradient, each with sums of its own
FIRST, STEP, COUNT, PLACE = range(4)  # of a phase: its first tap's pixel, from tap to tap, taps, their first weight


class Plan(NamedTuple):
    """How one convolution is cut: sizes, phases and table for the kernels."""

    sizes: Array
    phases: Array  # [dimension, phase, `FIRST` to `PLACE`]
    starts: Array  # the first channel of each vector
    order: Array  # of the taps
    is_plain: bool  # whether that is their own order
    rows: int  # of results, in all images
    calls: int


@functools.lru_cache(maxsize=512)
def plan(
    is_back: bool, x: Sizes, out: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType,
    members: int = 1,
) -> Plan:  # fmt: skip
    """Sort out phases and vectors, and count the work."""
    kernel, *steps = in_three(kernel, stride, padding, dilation)
    way = (backward_way if is_back else forward_way)(kernel, *steps)
    pixels, results, channels = space_of(x), space_of(out), x[-1]
    sizes = (channels, *pixels, *results, *kernel, *way.in_step, *way.out_step)
    order = way.tap_order(kernel)
    line = lanes_of(dtype)
    starts = [max(0, min(first, channels - line)) for first in range(0, channels, line)]
    rows = x[0] * results[0] * results[1]
    calls = calls_for(2 * COST * rows * results[2] * channels * members * len(order) // math.prod(way.out_step), BLOCKS)
    return Plan(np.array(sizes, np.int64), phases_of(way), np.array(starts, np.int64), np.array(order, np.int64),
                order == [*range(len(order))], rows, calls)  # fmt: skip


def phases_of(way: Way) -> Array:
    """The phases as numbers: results `out_step` apart see taps of their own (see `Line`)."""
    phases = np.zeros((3, max(way.out_step), 4), np.int64)
    for dim, lines in enumerate(way.lines):
        place = 0
        for line in lines:
            phases[dim, line.start] = line.first, line.step, len(line.taps), place
            place += len(line.taps)
    return phases


def convolve(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    """x (N, *space, C) with weight (K, C / groups, *kernel) to out (N, *windows, K).

    A group has one channel and any number of filters, or as many filters as channels (`MEMBERS`).
    """
    share = len(weight) // x.shape[-1]
    _run(False, out, x if share == 1 else np.repeat(x, share, -1), weight, epilogue, (stride, padding, dilation))


def convolve_back(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    """The adjoint of `convolve` in its image."""
    share = len(weight) // out.shape[-1]
    if share == 1:
        _run(True, out, g, weight, epilogue, (stride, padding, dilation))
        return
    each = empty(CPU, (*out.shape[:-1], len(weight)), out.dtype)
    _run(True, each, g, weight, Epilogue(), (stride, padding, dilation))
    each.reshape(*out.shape, share).sum(-1, out=out)
    epilogue.apply(out)


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
    """The adjoint of `convolve` in its weight: out (K, C / groups, *kernel)."""
    if not g.size:
        out[...] = 0
        return
    share, line, members = len(out) // x.shape[-1], lanes_of(out.dtype), out.shape[1]
    x, g = _filled_up(x if share == 1 else np.repeat(x, share, -1)), _filled_up(g)
    cut = plan(False, x.shape, g.shape, out.shape[2:], stride, padding, dilation, out.dtype, members)
    pieces, taps = min(PIECES, cut.calls, cut.rows), len(cut.order)
    sums = empty(CPU, (pieces, len(cut.starts), taps, members, line), out.dtype)
    parallel(_DOTS[members], pieces, sums.reshape(-1), x.reshape(-1), g.reshape(-1), cut.sizes, cut.phases, cut.starts,
             cut.rows, block=1)  # fmt: skip
    taps_last = sums.sum(0).reshape(len(cut.starts), -1, line).swapaxes(1, 2)
    flat = out.reshape(len(out), -1) if members == 1 else empty(CPU, (len(out), taps * members), out.dtype)
    whole = len(out) // line
    flat[: whole * line].reshape(whole, line, flat.shape[1])[...] = taps_last[:whole]
    flat[max(0, len(out) - line) :] = taps_last[-1, : len(out)]
    if members > 1:
        _take_out_of_rings(out, flat)


def _take_out_of_rings(out: Array, flat: Array) -> None:
    """out[filter j + r of a group, channel j, tap] = flat[channel j, (tap, r)], as `taps_tiles` leaves its sums."""
    members = out.shape[1]
    by_group = out.reshape(-1, members, members, math.prod(out.shape[2:]))
    rings = flat.reshape(len(by_group), members, -1, members)
    channel, further = np.arange(members)[:, None], np.arange(members)
    by_group[:, (channel + further) % members, channel] = rings.transpose(0, 1, 3, 2)


def _run(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, steps: tuple[Sizes, Sizes, Sizes]
) -> None:
    if not out.size:
        return
    channels = x.shape[-1]
    if channels < lanes_of(x.dtype):
        wider = empty(CPU, (*out.shape[:-1], lanes_of(x.dtype)), out.dtype)
        residual = None if epilogue.residual is None else _filled_up(epilogue.residual)
        _run(is_back, wider, _filled_up(x), weight, epilogue._replace(residual=residual), steps)
        out[...] = wider[..., :channels]
        return
    members = weight.shape[1]
    cut = plan(is_back, x.shape, out.shape, weight.shape[2:], *steps, out.dtype, members)
    start = epilogue.lift(channels, out.dtype)
    if epilogue.residual is not None:
        start = epilogue.residual + start
    size = len(cut.starts) * lanes_of(weight.dtype) * len(cut.order) * members
    form = ("depthwise", is_back, cut.order.tobytes())
    with prepared(form, weight, size, lambda room: _pack(room[:size], cut, _by_lane(weight, is_back))) as w:
        parallel(_SLIDES[members], cut.rows, out.reshape(-1), x.reshape(-1), w, start.reshape(-1),
                 epilogue.residual is not None, epilogue.floor, cut.sizes, cut.phases, cut.starts,
                 block=-(-cut.rows // cut.calls))  # fmt: skip


def _by_lane(weight: Array, is_back: bool) -> Array:
    """(lane, member that it sees, tap): lanes are filters, on the way back channels."""
    members = weight.shape[1]
    by_group = weight.reshape(-1, members, members if members > 1 else 1, math.prod(weight.shape[2:]))
    return (by_group.swapaxes(1, 2) if is_back else by_group).reshape(len(weight), members, -1)


def _pack(packed: Array, cut: Plan, weight: Array) -> None:
    """Write the weights as [vector][tap][member][lane], taps in the order of their phases."""
    line = lanes_of(weight.dtype)
    flat = (weight if cut.is_plain else weight[..., cut.order]).swapaxes(1, 2).reshape(len(weight), -1)
    by_vector, whole = packed.reshape(len(cut.starts), -1, line), len(weight) // line
    by_vector[:whole] = flat[: whole * line].reshape(whole, line, flat.shape[1]).swapaxes(1, 2)
    by_vector[-1, :, : len(weight)] = flat[max(0, len(weight) - line) :].T


def _filled_up(images: Array) -> Array:
    """With zeros behind the channels, if they are fewer than a vector holds."""
    missing = lanes_of(images.dtype) - images.shape[-1]
    return images if missing <= 0 else np.pad(images, [(0, 0)] * (images.ndim - 1) + [(0, missing)])


@inline
def _list_rows(rows: Array, number: int, sizes: Array, phases: Array) -> int:
    """Pairs (first number, number of the first weight) of the image's rows that a row of results sees; their count."""
    depth, height, deep, high, in_step, out_step = sizes[1], sizes[2], sizes[4], sizes[5], sizes[10:13], sizes[13:16]
    image, z, y = number // high // deep, number // high % deep, number % high
    planes, lines = phases[0, z % out_step[0]], phases[1, y % out_step[1]]
    first_plane, first_row = z // out_step[0] * in_step[0] + planes[FIRST], y // out_step[1] * in_step[1] + lines[FIRST]
    count = 0
    for a in range(planes[COUNT]):
        plane = first_plane + a * planes[STEP]
        for b in range(lines[COUNT]):
            row = first_row + b * lines[STEP]
            if 0 <= plane < depth and 0 <= row < height:
                rows[2 * count] = ((image * depth + plane) * height + row) * sizes[3] * sizes[0]
                rows[2 * count + 1] = ((planes[PLACE] + a) * sizes[8] + lines[PLACE] + b) * sizes[9]
                count += 1
    return count


@inline
def _list_taps(
    taps: Array, used: int, rows: Array, count: int, phase: Array, first: int, last: int, by: int, line: int
) -> int:
    """Add entries for every `by`-th tap from first to last, in each row, to `used` that are there; their count then.

    An entry is the row, the place among weights with `line` numbers for each tap, and the first window's column.
    """
    for r in range(count):
        for c in range(first, last, by):
            taps[ENTRY * used] = rows[2 * r]
            taps[ENTRY * used + 1] = (rows[2 * r + 1] + phase[PLACE] + c) * line
            taps[ENTRY * used + 2] = phase[FIRST] + c * phase[STEP]
            used += 1
    return used


def _slide_of(members: int) -> Kernel:
    """The kernel for groups of so many channels."""
    tile = windows_tiles[members]

    @kernel(
        "T[::1], const T[::1], const T[::1], const T[::1], bool, float64, const int64[::1], const int64[:, :, ::1], "
        "const int64[::1]",
        T=("float32", "float64"),
    )
    def slide(
        begin: int, end: int, out: Array, x: Array, weight: Array, start: Array, by_row: bool, floor: float,
        sizes: Array, phases: Array, starts: Array,
    ) -> None:  # fmt: skip
        """Rows of results begin to end."""
        channels, width, along, kernel, line = sizes[0], sizes[3], sizes[6], sizes[7:10], lanes(x)
        in_step, out_step = sizes[12], sizes[15]
        pitch, of_vector = out_step * channels, kernel[0] * kernel[1] * kernel[2] * line * members
        rows = np.empty(2 * kernel[0] * kernel[1], np.int64)
        taps = np.empty(ENTRY * kernel[0] * kernel[1] * kernel[2], np.int64)
        for row in range(begin, end):
            seen = _list_rows(rows, row, sizes, phases)
            for number in range(min(out_step, along)):
                phase, windows = phases[2, number], (along - number + out_step - 1) // out_step
                in_runs = phase[COUNT] // RUN * RUN if phase[STEP] == in_step and members <= LONGEST_RUN else 0
                runs = _list_taps(taps, 0, rows, seen, phase, 0, in_runs, RUN, line * members)
                used = _list_taps(taps, runs, rows, seen, phase, in_runs, phase[COUNT], 1, line * members)
                for i in range(0, windows, WINDOWS):
                    first = (row * along + number) * channels + i * pitch
                    for v in range(len(starts)):
                        at = first + starts[v]
                        tile(out, at, pitch, start, at if by_row else starts[v], int(by_row) * pitch, x, starts[v],
                             channels, in_step, i * in_step, width, weight, v * of_vector, taps, runs, used,
                             windows - i, floor)  # fmt: skip

    return slide


def _dots_of(members: int) -> Kernel:
    """The kernel of the weight gradient for groups of so many channels."""
    tile, at_once, vectors = taps_tiles[members], tile_taps[members], vectors_of(members)

    @kernel(
        "T[::1], const T[::1], const T[::1], const int64[::1], const int64[:, :, ::1], const int64[::1], intp",
        T=("float32", "float64"),
    )
    def dots(
        begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, phases: Array, starts: Array, lines: int
    ) -> None:
        """sums[piece, vector, tap, channel] of pieces begin to end, each a share of the rows of windows."""
        channels, width, along, kernel, line = sizes[0], sizes[3], sizes[6], sizes[7:10], lanes(x)
        step, of_vector, phase = sizes[12], kernel[0] * kernel[1] * kernel[2] * line * members, phases[2, 0]
        share = len(starts) * of_vector
        pieces = len(sums) // share
        rows = np.empty(2 * kernel[0] * kernel[1], np.int64)
        taps = np.empty(ENTRY * kernel[0] * kernel[1] * kernel[2], np.int64)
        last = phase[FIRST] + (kernel[2] - 1) * phase[STEP]  # column of the first window's last tap
        inner = min(along, max(0, (step - 1 - phase[FIRST]) // step))
        outer = max(inner, min(along, (width - 1 - last) // step + 1))
        for piece in range(begin, end):
            clear_line(sums, piece * share, sums, 0, share)
            for row in range(lines * piece // pieces, lines * (piece + 1) // pieces):
                seen = _list_rows(rows, row, sizes, phases)
                used = _list_taps(taps, 0, rows, seen, phase, 0, kernel[2], 1, line * members)
                for v in range(0, len(starts), vectors):
                    more = min(v + vectors - 1, len(starts) - 1) - v  # whether there is another vector
                    for t in range(0, used, at_once()):
                        tile(sums, piece * share + v * of_vector, more * of_vector, x, starts[v], channels, step,
                             width, taps, t, used - t, g, row * along * channels + starts[v], channels,
                             starts[v + more] - starts[v], inner, outer, along)  # fmt: skip

    return dots


_SLIDES = {members: _slide_of(members) for members in MEMBERS}
_DOTS = {members: _dots_of(members) for members in MEMBERS}
