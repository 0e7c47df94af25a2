"""What all three passes of Winograd's convolution share: the transforms of tiles of a form, where they lie.

Tiles are numbered along rows, down an image and over images, where each plane and each lattice counts as an image of
its own. `sizes` is `winograd_way.Way.sizes`.

Where there are fewer channels than a vector has lanes, the lanes behind them hold whatever comes next in memory. They
are never read: the next piece overwrites them, or they lie behind the last channel. Only at borders, where there may
be nothing behind, loads and stores are masked.
"""

from __future__ import annotations

import functools

from minidl.core import Array
from minidl.device.inline import Separate, inline, separate
from minidl.device.lines import clear_line
from minidl.device.patches import patch_transform, tile_transform
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes
from minidl.ops.conv.winograd_form import Form, alternating, turned
from minidl.ops.conv.winograd_way import (
    ACROSS,
    ALONG,
    CHANNELS,
    DEEP,
    DEPTH,
    DOWN,
    FILTERS,
    HEIGHT,
    LATTICES_ALONG,
    LATTICES_DOWN,
    OUT_ALONG,
    OUT_DEPTH,
    OUT_DOWN,
    OUT_HEIGHT,
    OUT_WIDTH,
    PIECES,
    TABLE,
    TILES,
    WIDTH,
)


def rounded(number: int, step: int) -> int:
    """`number`, or the next multiple of `step`."""
    return -(-number // step) * step


def room_for(channels: int, pieces: int, line: int) -> int:
    """Numbers of a tile's patches at one position: of all pieces, with room for a last vector that is not full."""
    return rounded(pieces * channels + max(0, line - channels), line)


@inline
def _place_of(number: int, sizes: Array) -> tuple[int, int, int, int]:
    """Image, plane of the result, and first row and column of a lattice, of one image of tiles."""
    along, down, depth = sizes[LATTICES_ALONG], sizes[LATTICES_DOWN], sizes[OUT_DEPTH]
    return number // (along * down * depth), number // (along * down) % depth, number // along % down, number % along


@functools.cache
def patches_of(form: Form) -> Separate:
    """What transforms the patches of an image."""
    (tile_rows, rows), (tile_columns, columns) = ((side.tile, side.reach) for side in form)
    inner, border = (
        patch_transform(form.down.bt, form.along.bt, form.down.pairs, bounded=bounded) for bounded in (False, True)
    )

    @separate
    def fill_patches(
        patches: Array, at: int, slot: int, pitch: int, x: Array, sizes: Array, first: int, count: int
    ) -> None:
        """Bᵀ·patch·B of all pieces of tiles first to first + count.

        Position (r, q) goes to patches[at + (columns r + q) slot + tile pitch + piece channels + channel]. The last
        vector of channels overlaps the one before it, if need be. `patches` begins with a vector of zeros.
        """
        line, depth, height, width, channels = lanes(x), sizes[DEPTH], sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
        down, along, across = sizes[DOWN], sizes[ALONG], sizes[ACROSS]
        row_pitch, pixel_pitch, zeros = down * width * channels, along * channels, patches[:line]
        end_row, end = rows - 1, columns - 1
        image, plane, top, left = _place_of(first // sizes[TILES], sizes)
        i, j = first % sizes[TILES] // across, first % sizes[TILES] % across
        for t in range(count):
            for piece in range(sizes[PIECES]):
                z = plane * sizes[DEEP] + sizes[TABLE + 3 * piece]
                row = tile_rows * i * down + top + sizes[TABLE + 3 * piece + 1]
                column = tile_columns * j * along + left + sizes[TABLE + 3 * piece + 2]
                source = (((image * depth + z) * height + row) * width + column) * channels
                to = at + t * pitch + piece * channels
                is_inside = min(row, column) >= 0 and row + end_row * down < height and column + end * along < width
                if channels < line:
                    is_inside = is_inside and source + end_row * row_pitch + end * pixel_pitch + line <= x.size
                if z < 0 or z >= depth:
                    for position in range(rows * columns):
                        clear_line(patches, to + position * slot, patches, 0, channels)
                elif is_inside:
                    for k in range(0, channels, line):
                        c = max(0, min(k, channels - line))
                        inner(patches, to + c, columns * slot, slot, x, source + c, row_pitch, pixel_pitch,
                              0, rows, 0, columns, zeros, line)  # fmt: skip
                else:
                    bottom, right = -((row - height) // down), -((column - width) // along)
                    for k in range(0, channels, line):
                        c = max(0, min(k, channels - line))
                        border(patches, to + c, columns * slot, slot, x, source + c, row_pitch, pixel_pitch,
                               -(row // down), bottom, -(column // along), right, zeros, channels - c)  # fmt: skip
            j += 1
            if j == across:
                i, j = i + 1, 0
                if i * across == sizes[TILES]:
                    i = 0
                    image, plane, top, left = _place_of((first + t + 1) // sizes[TILES], sizes)

    return fill_patches


@functools.cache
def slopes_of(form: Form) -> Separate:
    """What transforms the tiles of an output gradient."""
    rows, columns, reach = form.down.tile, form.along.tile, form.along.reach
    inner, border = (
        patch_transform(turned(form.down.at), turned(form.along.at), form.down.pairs, bounded=bounded)
        for bounded in (False, True)
    )

    @separate
    def fill_slopes(
        slopes: Array, at: int, slot: int, pitch: int, g: Array, sizes: Array, first: int, count: int, block: int,
        wide: int,
    ) -> None:  # fmt: skip
        """A·tile·Aᵀ of vectors block to block + wide of the filters; `slopes` begins with a vector of zeros."""
        line, height, width, filters = lanes(g), sizes[OUT_HEIGHT], sizes[OUT_WIDTH], sizes[FILTERS]
        down, along, across = sizes[OUT_DOWN], sizes[OUT_ALONG], sizes[ACROSS]
        row_pitch, pixel_pitch, zeros = down * width * filters, along * filters, slopes[:line]
        last = max(0, min(filters - line, (block + wide - 1) * line))
        for t in range(count):
            tile = (first + t) % sizes[TILES]
            image, plane, top, left = _place_of((first + t) // sizes[TILES], sizes)
            row, column = rows * (tile // across) * down + top, columns * (tile % across) * along + left
            source = (((image * sizes[OUT_DEPTH] + plane) * height + row) * width + column) * filters
            to = at + t * pitch - block * line
            is_whole = row + (rows - 1) * down < height and column + (columns - 1) * along < width
            if filters < line:
                is_whole = is_whole and source + (rows - 1) * row_pitch + (columns - 1) * pixel_pitch + line <= g.size
            for k in range(block, block + wide):
                f = min(k * line, last)
                if is_whole:
                    inner(slopes, to + f, reach * slot, slot, g, source + f, row_pitch, pixel_pitch,
                          0, rows, 0, columns, zeros, line)  # fmt: skip
                else:
                    bottom, right = -((row - height) // down), -((column - width) // along)
                    border(slopes, to + f, reach * slot, slot, g, source + f, row_pitch, pixel_pitch,
                           0, bottom, 0, right, zeros, filters - f)  # fmt: skip

    return fill_slopes


@functools.cache
def writer_of(form: Form) -> Separate:
    """What turns products to results."""
    rows, columns, reach = form.down.tile, form.along.tile, form.along.reach
    given = form.down.at, form.along.at, alternating(rows)
    whole = tile_transform(*given)
    careful, narrow = (tile_transform(*given, careful=True, narrow=is_narrow) for is_narrow in (False, True))

    @separate
    def write_tiles(
        out: Array, products: Array, at: int, slot: int, pitch: int, lift: Array, residual: Array, sizes: Array,
        first: int, count: int, part: int, wide: int, is_more: bool, floor: float, edge: Array,
    ) -> None:  # fmt: skip
        """Aᵀ·products·A, and the epilogue, for vectors part to part + wide of the filters of all phases.

        `edge` has a vector of zeros, and room for another, where results outside of the image go.
        """
        line, height, width, filters = lanes(out), sizes[OUT_HEIGHT], sizes[OUT_WIDTH], sizes[FILTERS]
        down, along, across, phases = sizes[OUT_DOWN], sizes[OUT_ALONG], sizes[ACROSS], TABLE + 3 * sizes[PIECES]
        row_pitch, pixel_pitch, vectors = down * width * filters, along * filters, -(-filters // line)
        least, last = out.dtype.type(floor), max(0, filters - line)
        zeros, spare = edge[:line], edge[line : 2 * line]
        others, added = (residual, 1) if residual.size else (zeros, 0)
        for t in range(count):
            tile = (first + t) % sizes[TILES]
            image, plane, top, left = _place_of((first + t) // sizes[TILES], sizes)
            for k in range(part, part + wide):
                phase = k // vectors
                row = rows * (tile // across) * down + top + sizes[phases + 2 * phase]
                column = columns * (tile % across) * along + left + sizes[phases + 2 * phase + 1]
                f = min(k % vectors * line, last)
                target = (((image * sizes[OUT_DEPTH] + plane) * height + row) * width + column) * filters + f
                source = at + t * pitch + (phase * vectors - part) * line + f
                is_whole = row + (rows - 1) * down < height and column + (columns - 1) * along < width
                if filters >= line and not is_more and is_whole:
                    whole(out, target, row_pitch, pixel_pitch, products, source, reach * slot, slot, lift, f,
                          rows, columns, zeros, 0, 0, 0, least, spare, line)  # fmt: skip
                    continue
                bottom, right = -((row - height) // down), -((column - width) // along)
                if filters >= line:
                    careful(out, target, row_pitch, pixel_pitch, products, source, reach * slot, slot, lift, f,
                             bottom, right, others, added * target, added * row_pitch, added * pixel_pitch,
                             least, spare, line)  # fmt: skip
                else:
                    narrow(out, target, row_pitch, pixel_pitch, products, source, reach * slot, slot, lift, f,
                           bottom, right, others, added * target, added * row_pitch, added * pixel_pitch,
                           least, spare, filters)  # fmt: skip

    return write_tiles


@inline
def write_taps(
    weight: Array, f: int, channels: int, size: int, source: Array, at: int, apart: int, taps: Array, pieces: int,
    places: int,
) -> None:  # fmt: skip
    """weight[f, channel, tap] from source[at + place apart + piece channels + channel].

    The weight has `size` taps, a piece `places`.
    """
    for piece in range(pieces):
        first, is_row = taps[places * piece], True
        for place in range(places):
            is_row = is_row and taps[places * piece + place] == first + place
        begin = at + piece * channels
        if is_row:
            transpose(weight, f * channels * size + first, size, source, begin, apart, places, channels)
            continue
        for place in range(places):
            tap = taps[places * piece + place]
            if tap >= 0:
                for c in range(channels):
                    weight[(f * channels + c) * size + tap] = source[begin + place * apart + c]
