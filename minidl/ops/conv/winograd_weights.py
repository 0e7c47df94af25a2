"""The gradient of the weights by Winograd's F(4×4, 3×3): Gᵀ [ Σ over tiles of (A g Aᵀ) ⊙ (Bᵀ patch B) ] G.

Patches of the image are transformed as in `winograd.py`, 4×4 tiles of the output gradient by the transposed output
transform; then each of the 36 positions is a matrix product, filters × tiles times tiles × channels, summed over all
tiles: a quarter of the multiplications of the plain sum.

The 36 matrices of sums stay in the second-level cache while block after block of tiles is added to them. To that end
the filters are cut into blocks, and to have work for all threads the tiles are cut into pieces with sums of their own.
A piece ends with Gᵀ·sums·G, which leaves 9 numbers of 36; those of all pieces are added up in order. All cuts depend on
sizes alone.
"""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

from minidl.core import Array, Run
from minidl.device import Kernel, kernel
from minidl.device.dtypes import DType
from minidl.device.patches import patch_transform
from minidl.device.scratch import give_back, lend
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product_turned
from minidl.ops.conv import winograd_wide
from minidl.ops.conv.volumes import volumes
from minidl.ops.conv.winograd import part_of
from minidl.ops.conv.winograd_form import FORMS, Form, alternating, turned
from minidl.ops.conv.winograd_tiles import patches_of, room_for, slopes_of, write_taps
from minidl.ops.conv.winograd_way import CHANNELS, CUT, FILTERS, PIECES, Way, forward_way
from minidl.ops.windows import Sizes

SUM_BYTES = 640 << 10  # of the sums of one block of filters
BLOCK_BYTES = 280 << 10  # of transformed patches and tiles
FEWEST, MOST = 32, 96  # tiles of a block
WIDE_BYTES, WIDE_TILES = SUM_BYTES, 24  # from so many of sums, and of tiles, the steps go one after the other
ITEMS = 16  # blocks times pieces, at least
PART_TILES = 64  # of a part, at least: its end costs as much as ten tiles
BLOCKS = 32
SIZE, UNITS, SHARE, PARTS, TOTAL = CUT, CUT + 1, CUT + 2, CUT + 4, CUT + 5  # in the table of sizes


class Cut(NamedTuple):
    """How the work is cut; sizes alone decide."""

    tiles: int  # of a block
    units: int  # blocks of tiles
    share: int  # vectors of filters in a block
    blocks: int  # of filters
    parts: int  # of the tiles, with sums of their own


def cut(total: int, positions: int, pitch: int, vectors: int, dtype: DType) -> Cut:
    """The cut for so many tiles, between `pitch` channels of all pieces and `vectors` of filters."""
    line = lanes_of(dtype)
    share = part_of(vectors, max(1, positions * pitch * vectors * line * dtype.itemsize // SUM_BYTES))
    room = max(FEWEST, min(MOST, BLOCK_BYTES // (positions * (pitch + share * line) * dtype.itemsize)))
    size = min(room, total)
    units, blocks = -(-total // size), -(-vectors // share)
    parts = max(1, min(-(-ITEMS // blocks), total // PART_TILES))
    return Cut(size, units, share, blocks, min(parts, units))


class Plan(NamedTuple):
    """All that sizes decide about one gradient."""

    way: Way
    total: int  # tiles
    pitch: int  # numbers of a tile's patches at one position
    work: Cut
    sizes: Array  # for the kernels


@functools.lru_cache(maxsize=512)
def plan(x: Sizes, g: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType) -> Plan:
    """The plan for images x (N, *space, C) and slopes g (N, *windows, K)."""
    x, g = volumes(x), volumes(g)
    way, line = forward_way(kernel, stride, padding, dilation), lanes_of(dtype)
    assert way is not None, "choice.py takes only what can be made"
    total, pitch = way.total(g[0], g[1:4]), room_for(x[4], len(way.pieces), line)
    work = cut(total, way.form.positions, pitch, -(-g[4] // line), dtype)
    return Plan(way, total, pitch, work, way.sizes(x, g, (*work, total)))


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> Run:
    """The adjoint of a convolution in its weight: out (K, C, *kernel) from x (N, *space, C) and g (N, *windows, K)."""
    dtype, line, filters = out.dtype, lanes_of(out.dtype), len(out)
    way, total, pitch, work, sizes = plan(x.shape, g.shape, out.shape[2:], stride, padding, dilation, dtype)
    form, taps = way.form, way.tap_table
    if form.positions * filters * pitch * dtype.itemsize > WIDE_BYTES and total >= WIDE_TILES:
        return winograd_wide.weight_gradient(form, sizes, taps, pitch, total, dtype)
    wide = min(work.share, -(-filters // line)) * line
    room = form.positions * (work.tiles * (pitch + wide) + wide * pitch + 6 * line) + 4 * line
    count, area, window = work.parts * form.window * filters * pitch, math.prod(out.shape[2:]), form.window
    add_up = Blocks(_sum_tiles[form], work.blocks * work.parts, size=x.nbytes + g.nbytes, block=1, scratch_size=room)
    collect = Blocks(_collect, filters, size=count * dtype.itemsize, block=-(-filters // BLOCKS))

    def run(out: Array, x: Array, g: Array) -> None:
        lent, sums = lend(count, dtype)
        add_up(sums, x.reshape(-1), g.reshape(-1), sizes, pitch)
        collect(out.reshape(-1), sums, sizes, taps, pitch, area, window)
        give_back(lent)

    return run


def _summer_of(form: Form) -> Kernel:
    """What sums tiles."""
    fill_patches, fill_slopes = patches_of(form), slopes_of(form)
    gradient = patch_transform(turned(form.down.g), turned(form.along.g), alternating(form.down.taps))
    rows, columns, taps = form.down.reach, form.along.reach, form.along.taps
    positions, window = form.positions, form.window

    @kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp, T[::1]", T=("float32", "float64"))
    def sum_tiles(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, pitch: int, room: Array) -> None:
        """sums[part][place in the window][filter][piece, channel] of (block of filters, part) begin to end."""
        size, units, share, parts, filters = sizes[SIZE], sizes[UNITS], sizes[SHARE], sizes[PARTS], sizes[FILTERS]
        line = lanes(x)
        vectors = -(-filters // line)
        wide_pitch = min(share, vectors) * line
        slot, wide_slot, sum_slot = size * pitch + 2 * line, size * wide_pitch + 2 * line, wide_pitch * pitch + 2 * line
        room[:line] = 0
        zeros = room[:line]
        at = 4 * line
        at_slopes = at + positions * slot
        at_sums = at_slopes + positions * wide_slot
        for item in range(begin, end):
            block, part = item // parts * share, item % parts
            wide = min(share, vectors - block)
            made = min(wide * line, filters - block * line)
            first_unit = units * part // parts
            for unit in range(first_unit, units * (part + 1) // parts):
                first = unit * size
                count = min(size, sizes[TOTAL] - first)
                fill_patches(room, at, slot, pitch, x, sizes, first, count)
                fill_slopes(room, at_slopes, wide_slot, wide_pitch, g, sizes, first, count, block, wide)
                for p in range(positions):
                    product_turned(room, at_sums + p * sum_slot, pitch, room, at_slopes + p * wide_slot, wide_pitch,
                                   room, at + p * slot, pitch, (made + 3) // 4 * 4, pitch // line, count,
                                   unit > first_unit)  # fmt: skip
            for f in range(made):
                to = (part * window * filters + block * line + f) * pitch
                for c in range(0, pitch, line):
                    gradient(sums, to + c, taps * filters * pitch, filters * pitch, room, at_sums + f * pitch + c,
                             columns * sum_slot, sum_slot, 0, rows, 0, columns, zeros, line)  # fmt: skip

    return sum_tiles


_sum_tiles = {form: _summer_of(form) for form in FORMS}


@kernel("T[::1], T[::1], const int64[::1], const int64[::1], intp, intp, intp", T=("float32", "float64"))
def _collect(
    begin: int, end: int, out: Array, sums: Array, sizes: Array, taps: Array, pitch: int, size: int, window: int
) -> None:
    """The sum over parts, turned to [filter][channel][tap], for filters begin to end.

    A weight has `size` taps, a piece `window`.
    """
    filters, parts = sizes[FILTERS], sizes[PARTS]
    for f in range(begin, end):
        for part in range(1, parts):
            for place in range(window):
                to = (place * filters + f) * pitch
                source = to + part * window * filters * pitch
                for c in range(pitch):
                    sums[to + c] += sums[source + c]
        write_taps(out, f, sizes[CHANNELS], size, sums, f * pitch, filters * pitch, taps, sizes[PIECES], window)
