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

from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.patches import patch_transform
from minidl.device.scratch import scratch
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product_turned
from minidl.ops.conv import winograd_wide
from minidl.ops.conv.winograd import part_of
from minidl.ops.conv.winograd_tiles import G, fill_patches, fill_slopes, rounded, widened
from minidl.ops.windows import Sizes

_weight_gradient = patch_transform(tuple(zip(*G, strict=True)), ((0, 2), (1,)))

SUM_BYTES = 640 << 10  # of the sums of one block of filters
BLOCK_BYTES = 640 << 10  # of transformed patches and tiles
TILES = (32, 96)
WIDE_BYTES, WIDE_TILES = SUM_BYTES, 24  # from so many of sums, and of tiles, the steps go one after the other
ITEMS = 16  # blocks times pieces, at least
PIECE_TILES = 64  # of a piece, at least: its end costs as much as ten tiles
BLOCKS = 32


class Cut(NamedTuple):
    """How the work is cut; sizes alone decide."""

    tiles: int  # of a block
    units: int  # blocks of tiles
    share: int  # vectors of filters in a block
    blocks: int  # of filters
    pieces: int


def cut(images: int, tiles: int, channels: int, vectors: int, dtype: DType) -> Cut:
    """The cut for so many images with so many tiles each, between `channels` channels and `vectors` of filters."""
    total, line = images * tiles, lanes_of(dtype)
    pitch = rounded(channels, line)
    share = part_of(vectors, max(1, 36 * pitch * vectors * line * dtype.itemsize // SUM_BYTES))
    room = max(TILES[0], min(TILES[1], BLOCK_BYTES // (36 * (pitch + share * line) * dtype.itemsize)))
    size = min(room, total)
    units, blocks = -(-total // size), -(-vectors // share)
    pieces = max(1, min(-(-ITEMS // blocks), total // PIECE_TILES))
    return Cut(size, units, share, blocks, min(pieces, units))


def weight_gradient(out: Array, x: Array, g: Array, padding: Sizes) -> None:
    """The adjoint of a convolution in its weight: out (K, C, 3, 3) from x (N, H, W, C) and g (N, OH, OW, K)."""
    filters, channels = out.shape[:2]
    if not g.size:
        out[...] = 0
        return
    line = lanes_of(out.dtype)
    if min(filters, channels) < line:
        larger = np.empty((max(filters, line), max(channels, line), 3, 3), out.dtype)
        weight_gradient(larger, widened(x, larger.shape[1]), widened(g, larger.shape[0]), padding)
        out[...] = larger[:filters, :channels]
        return
    images, height, width = g.shape[:3]
    tiles = -(-height // 4) * -(-width // 4)
    if 36 * filters * channels * out.itemsize > WIDE_BYTES and images * tiles >= WIDE_TILES:
        winograd_wide.weight_gradient(out, x, g, padding)
        return
    pitch, vectors = rounded(channels, line), -(-filters // line)
    work = cut(images, tiles, channels, vectors, out.dtype)
    sizes = np.array((*x.shape, height, width, filters, *padding, *work), np.int64)
    wide = min(work.share, vectors) * line
    room = 36 * (work.tiles * (pitch + wide) + wide * pitch + 6 * line) + 4 * line
    with scratch(work.pieces * 9 * filters * pitch, out.dtype) as sums:
        parallel(
            _sum_tiles, work.blocks * work.pieces, sums, x.reshape(-1), g.reshape(-1), sizes, block=1, scratch_size=room
        )
        parallel(_collect, filters, out.reshape(-1), sums, work.pieces, channels, block=-(-filters // BLOCKS))


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], T[::1]", T=("float32", "float64"))
def _sum_tiles(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array, room: Array) -> None:
    """sums[piece][tap][filter][channel] of (block of filters, piece) begin to end."""
    images, channels, height, width, filters = sizes[0], sizes[3], sizes[4], sizes[5], sizes[6]
    size, units, share, pieces = sizes[9], sizes[10], sizes[11], sizes[13]
    line = lanes(x)
    across, vectors = -(-width // 4), -(-filters // line)
    tiles = -(-height // 4) * across
    pitch, wide_pitch = -(-channels // line) * line, min(share, vectors) * line
    slot, wide_slot, sum_slot = size * pitch + 2 * line, size * wide_pitch + 2 * line, wide_pitch * pitch + 2 * line
    room[:line] = 0
    zeros = room[:line]
    at = 4 * line
    at_slopes = at + 36 * slot
    at_sums = at_slopes + 36 * wide_slot
    for item in range(begin, end):
        block, piece = item // pieces * share, item % pieces
        wide = min(share, vectors - block)
        made = min(wide * line, filters - block * line)
        first_unit = units * piece // pieces
        for unit in range(first_unit, units * (piece + 1) // pieces):
            first = unit * size
            count = min(size, images * tiles - first)
            fill_patches(room, at, slot, pitch, x, sizes, first, count, across, tiles)
            fill_slopes(room, at_slopes, wide_slot, wide_pitch, g, sizes, first, count, block, wide, across, tiles)
            for p in range(36):
                product_turned(room, at_sums + p * sum_slot, pitch, room, at_slopes + p * wide_slot, wide_pitch,
                               room, at + p * slot, pitch, (made + 3) // 4 * 4, pitch // line, count,
                               unit > first_unit)  # fmt: skip
        for f in range(made):
            to = (piece * 9 * filters + block * line + f) * pitch
            for c in range(0, pitch, line):
                _weight_gradient(sums, to + c, 3 * filters * pitch, filters * pitch, room, at_sums + f * pitch + c,
                                 6 * sum_slot, sum_slot, 0, 6, 0, 6, zeros)  # fmt: skip


@kernel("T[::1], T[::1], intp, intp", T=("float32", "float64"))
def _collect(begin: int, end: int, out: Array, sums: Array, pieces: int, channels: int) -> None:
    """The sum over pieces, turned to [filter][channel][tap], for filters begin to end."""
    pitch = -(-channels // lanes(out)) * lanes(out)
    filters = out.size // (9 * channels)
    for f in range(begin, end):
        for piece in range(1, pieces):
            for tap in range(9):
                to = (tap * filters + f) * pitch
                source = to + piece * 9 * filters * pitch
                for c in range(pitch):
                    sums[to + c] += sums[source + c]
        transpose(out, f * channels * 9, 9, sums, f * pitch, filters * pitch, 9, channels)
