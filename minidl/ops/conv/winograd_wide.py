"""Winograd's gradient of the weights between many channels, one step after the other over a chunk of tiles.

From about 64 channels on the 36 matrices of sums leave the second-level cache, and every block of tiles would read and
write them all. Here a chunk of tiles (as many as the third-level cache holds, transformed) goes through one step at a
time: all patches, all tiles of the output gradient, then the 36 products, each of which keeps its own sums near and
reads its part of the chunk once. Threads share out tiles in the first step, positions and filters in the second.

The memory in between is written and read once: 36·(C + K) numbers for 36·C·K multiplications of a tile. By blocks of
tiles the same took, on one core of a Zen 3: 8 images of 256 channels, 16², 14.0 ms (11.6 here); 32 images of 512
channels, 7², 69.5 ms (45.5 here).
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.patches import patch_transform
from minidl.device.scratch import scratch
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product_turned
from minidl.ops.conv.winograd_tiles import G, fill_patches, fill_slopes, rounded
from minidl.ops.windows import Sizes

_weight_gradient = patch_transform(tuple(zip(*G, strict=True)), ((0, 2), (1,)))

CHUNK_BYTES = 16 << 20  # of transformed patches and tiles
FILL_TILES = 16  # that a thread transforms at a time
ROWS = 128  # filters of a product that a thread takes at a time


def weight_gradient(out: Array, x: Array, g: Array, padding: Sizes) -> None:
    """As `winograd_weights.weight_gradient`."""
    filters, channels = out.shape[:2]
    images, height, width = g.shape[:3]
    line = lanes_of(out.dtype)
    pitch, wide = rounded(channels, line), rounded(filters, line)
    tiles = images * -(-height // 4) * -(-width // 4)
    chunks = -(-tiles * 36 * (pitch + wide) * out.itemsize // CHUNK_BYTES)
    chunk = rounded(-(-tiles // chunks), FILL_TILES)
    slots = (chunk * pitch + 2 * line, chunk * wide + 2 * line, wide * pitch + 2 * line)
    parts = -(-wide // ROWS)
    room = scratch(4 * line + 36 * (slots[0] + slots[1]), out.dtype)
    with room as transformed, scratch(36 * slots[2], out.dtype) as sums:
        transformed[:line] = 0  # what stands for pixels outside
        for first in range(0, tiles, chunk):
            count = min(chunk, tiles - first)
            sizes = np.array((*x.shape, height, width, filters, *padding, first, count, parts, *slots), np.int64)
            parallel(_fill, -(-count // FILL_TILES), transformed, x.reshape(-1), g.reshape(-1), sizes, block=1)
            parallel(_multiply, 36 * parts, sums, transformed, sizes, block=1)
        parallel(_collect, filters, out.reshape(-1), sums, channels, slots[2], block=-(-filters // 32),
                 scratch_size=9 * pitch)  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=("float32", "float64"))
def _fill(begin: int, end: int, transformed: Array, x: Array, g: Array, sizes: Array) -> None:
    """Groups of tiles begin to end of a chunk: [36][tile][channel], then [36][tile][filter]."""
    channels, height, width, filters = sizes[3], sizes[4], sizes[5], sizes[6]
    first, count, slot, wide_slot = sizes[9], sizes[10], sizes[12], sizes[13]
    line = lanes(x)
    across, vectors = -(-width // 4), -(-filters // line)
    tiles, pitch, wide = -(-height // 4) * across, -(-channels // line) * line, vectors * line
    for group in range(begin, end):
        t = group * FILL_TILES
        share = min(FILL_TILES, count - t)
        fill_patches(transformed, 4 * line + t * pitch, slot, pitch, x, sizes, first + t, share, across, tiles)
        fill_slopes(transformed, 4 * line + 36 * slot + t * wide, wide_slot, wide, g, sizes, first + t, share, 0,
                    vectors, across, tiles)  # fmt: skip


@kernel("T[::1], T[::1], const int64[::1]", T=("float32", "float64"))
def _multiply(begin: int, end: int, sums: Array, transformed: Array, sizes: Array) -> None:
    """(Position, part of the filters) begin to end: sums += slopesᵀ · patches over the chunk."""
    channels, filters, first, count, parts = sizes[3], sizes[6], sizes[9], sizes[10], sizes[11]
    slot, wide_slot, sum_slot = sizes[12], sizes[13], sizes[14]
    line = lanes(sums)
    pitch, wide = -(-channels // line) * line, -(-filters // line) * line
    at = 4 * line
    for item in range(begin, end):
        p, row = item // parts, item % parts * ROWS
        rows = (min(ROWS, filters - row) + 3) // 4 * 4
        product_turned(sums, p * sum_slot + row * pitch, pitch, transformed, at + 36 * slot + p * wide_slot + row, wide,
                       transformed, at + p * slot, pitch, rows, pitch // line, count, first > 0)  # fmt: skip


@kernel("T[::1], const T[::1], intp, intp, T[::1]", T=("float32", "float64"))
def _collect(begin: int, end: int, out: Array, sums: Array, channels: int, slot: int, room: Array) -> None:
    """Gᵀ·sums·G of filters begin to end, turned to [filter][channel][tap]."""
    line = lanes(out)
    pitch = -(-channels // line) * line
    for f in range(begin, end):
        for c in range(0, pitch, line):
            _weight_gradient(room, c, 3 * pitch, pitch, sums, f * pitch + c, 6 * slot, slot, 0, 6, 0, 6, room)
        transpose(out, f * channels * 9, 9, room, 0, pitch, 9, channels)
