"""What all three passes of Winograd's convolution share: its matrices, and the transforms of tiles where they lie.

Tiles are numbered along rows, down an image and over images, where each plane and each lattice counts as an image of
its own. `sizes` is `winograd_way.Way.sizes`.

Where there are fewer channels than a vector has lanes, the lanes behind them hold whatever comes next in memory. They
are never read: the next piece overwrites them, or they lie behind the last channel. Only at borders, where there may
be nothing behind, loads and stores are masked.
"""

from __future__ import annotations

from minidl.core import Array
from minidl.device.inline import inline, separate
from minidl.device.lines import clear_line
from minidl.device.patches import patch_transform, tile_transform
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes
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
    WINDOW,
)

BT = (
    (4.0, 0.0, -5.0, 0.0, 1.0, 0.0),
    (0.0, -4.0, -4.0, 1.0, 1.0, 0.0),
    (0.0, 4.0, -4.0, -1.0, 1.0, 0.0),
    (0.0, -2.0, -1.0, 2.0, 1.0, 0.0),
    (0.0, 2.0, -1.0, -2.0, 1.0, 0.0),
    (0.0, 4.0, 0.0, -5.0, 0.0, 1.0),
)
G = (
    (1 / 4, 0.0, 0.0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0.0, 0.0, 1.0),
)
AT = (
    (1.0, 1.0, 1.0, 1.0, 1.0, 0.0),
    (0.0, 1.0, -1.0, 2.0, -2.0, 0.0),
    (0.0, 1.0, 1.0, 4.0, 4.0, 0.0),
    (0.0, 1.0, -1.0, 8.0, -8.0, 1.0),
)
PAIRS = ((0, 5), (1, 2), (3, 4))  # rows of BT and G that share sums
_image_patch = patch_transform(BT, PAIRS)
_border_patch = patch_transform(BT, PAIRS, bounded=True)
_A = tuple(zip(*AT, strict=True))
_slope_patch = patch_transform(_A, PAIRS)
_border_slope_patch = patch_transform(_A, PAIRS, bounded=True)
_ROWS = ((0, 2), (1, 3))  # of AT that share sums
_whole_tile = tile_transform(AT, _ROWS)
_careful_tile = tile_transform(AT, _ROWS, careful=True)
_narrow_tile = tile_transform(AT, _ROWS, careful=True, narrow=True)


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


@separate
def fill_patches(
    patches: Array, at: int, slot: int, pitch: int, x: Array, sizes: Array, first: int, count: int
) -> None:
    """Bᵀ·patch·B of all pieces of tiles first to first + count.

    Position (r, q) goes to patches[at + (6 r + q) slot + tile pitch + piece channels + channel]. The last vector of
    channels overlaps the one before it, if need be. `patches` begins with a vector of zeros.
    """
    line, depth, height, width, channels = lanes(x), sizes[DEPTH], sizes[HEIGHT], sizes[WIDTH], sizes[CHANNELS]
    down, along, across = sizes[DOWN], sizes[ALONG], sizes[ACROSS]
    row_pitch, pixel_pitch, zeros = down * width * channels, along * channels, patches[:line]
    image, plane, top, left = _place_of(first // sizes[TILES], sizes)
    i, j = first % sizes[TILES] // across, first % sizes[TILES] % across
    for t in range(count):
        for piece in range(sizes[PIECES]):
            z = plane * sizes[DEEP] + sizes[TABLE + 3 * piece]
            row = 4 * i * down + top + sizes[TABLE + 3 * piece + 1]
            column = 4 * j * along + left + sizes[TABLE + 3 * piece + 2]
            source = (((image * depth + z) * height + row) * width + column) * channels
            to = at + t * pitch + piece * channels
            is_inside = row >= 0 and column >= 0 and row + 5 * down < height and column + 5 * along < width
            if channels < line:
                is_inside = is_inside and source + 5 * (row_pitch + pixel_pitch) + line <= x.size
            if z < 0 or z >= depth:
                for position in range(36):
                    clear_line(patches, to + position * slot, patches, 0, channels)
            elif is_inside:
                for k in range(0, channels, line):
                    c = max(0, min(k, channels - line))
                    _image_patch(patches, to + c, 6 * slot, slot, x, source + c, row_pitch, pixel_pitch,
                                 0, 6, 0, 6, zeros, line)  # fmt: skip
            else:
                bottom, right = -((row - height) // down), -((column - width) // along)
                for k in range(0, channels, line):
                    c = max(0, min(k, channels - line))
                    _border_patch(patches, to + c, 6 * slot, slot, x, source + c, row_pitch, pixel_pitch,
                                  -(row // down), bottom, -(column // along), right, zeros, channels - c)  # fmt: skip
        j += 1
        if j == across:
            i, j = i + 1, 0
            if i * across == sizes[TILES]:
                i = 0
                image, plane, top, left = _place_of((first + t + 1) // sizes[TILES], sizes)


@separate
def fill_slopes(
    slopes: Array, at: int, slot: int, pitch: int, g: Array, sizes: Array, first: int, count: int, block: int, wide: int
) -> None:
    """A·tile·Aᵀ of vectors block to block + wide of the filters; `slopes` begins with a vector of zeros."""
    line, height, width, filters = lanes(g), sizes[OUT_HEIGHT], sizes[OUT_WIDTH], sizes[FILTERS]
    down, along, across = sizes[OUT_DOWN], sizes[OUT_ALONG], sizes[ACROSS]
    row_pitch, pixel_pitch, zeros = down * width * filters, along * filters, slopes[:line]
    last = max(0, min(filters - line, (block + wide - 1) * line))
    for t in range(count):
        tile = (first + t) % sizes[TILES]
        image, plane, top, left = _place_of((first + t) // sizes[TILES], sizes)
        row, column = 4 * (tile // across) * down + top, 4 * (tile % across) * along + left
        source = (((image * sizes[OUT_DEPTH] + plane) * height + row) * width + column) * filters
        to = at + t * pitch - block * line
        is_whole = row + 3 * down < height and column + 3 * along < width
        if filters < line:
            is_whole = is_whole and source + 3 * (row_pitch + pixel_pitch) + line <= g.size
        for k in range(block, block + wide):
            f = min(k * line, last)
            if is_whole:
                _slope_patch(slopes, to + f, 6 * slot, slot, g, source + f, row_pitch, pixel_pitch,
                             0, 4, 0, 4, zeros, line)  # fmt: skip
            else:
                bottom, right = -((row - height) // down), -((column - width) // along)
                _border_slope_patch(slopes, to + f, 6 * slot, slot, g, source + f, row_pitch, pixel_pitch,
                                    0, bottom, 0, right, zeros, filters - f)  # fmt: skip


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
            row = 4 * (tile // across) * down + top + sizes[phases + 2 * phase]
            column = 4 * (tile % across) * along + left + sizes[phases + 2 * phase + 1]
            f = min(k % vectors * line, last)
            target = (((image * sizes[OUT_DEPTH] + plane) * height + row) * width + column) * filters + f
            source = at + t * pitch + (phase * vectors - part) * line + f
            if filters >= line and not is_more and row + 3 * down < height and column + 3 * along < width:
                _whole_tile(out, target, row_pitch, pixel_pitch, products, source, 6 * slot, slot, lift, f,
                            4, 4, zeros, 0, 0, 0, least, spare, line)  # fmt: skip
                continue
            bottom, right = -((row - height) // down), -((column - width) // along)
            if filters >= line:
                _careful_tile(out, target, row_pitch, pixel_pitch, products, source, 6 * slot, slot, lift, f,
                              bottom, right, others, added * target, added * row_pitch, added * pixel_pitch,
                              least, spare, line)  # fmt: skip
            else:
                _narrow_tile(out, target, row_pitch, pixel_pitch, products, source, 6 * slot, slot, lift, f,
                             bottom, right, others, added * target, added * row_pitch, added * pixel_pitch,
                             least, spare, filters)  # fmt: skip


@inline
def write_taps(
    weight: Array, f: int, channels: int, size: int, source: Array, at: int, apart: int, taps: Array, pieces: int
) -> None:
    """weight[f, channel, tap] of `size` taps from source[at + window place apart + piece channels + channel]."""
    for piece in range(pieces):
        first, is_row = taps[WINDOW * piece], True
        for place in range(WINDOW):
            is_row = is_row and taps[WINDOW * piece + place] == first + place
        begin = at + piece * channels
        if is_row:
            transpose(weight, f * channels * size + first, size, source, begin, apart, WINDOW, channels)
            continue
        for place in range(WINDOW):
            tap = taps[WINDOW * piece + place]
            if tap >= 0:
                for c in range(channels):
                    weight[(f * channels + c) * size + tap] = source[begin + place * apart + c]
