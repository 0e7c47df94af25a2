"""Winograd's convolution between many channels, one step after the other over a chunk of tiles.

With many channels the transformed weights fill the caches, 2.4 MB for 128 channels and 37.7 MB for 512, and every block
of tiles would read all of them again. Here a chunk of tiles goes through one step at a time: all patches, the 36
products, all tiles of the result. Patches and products are written and read once, 72·(C + K) numbers for a tile, and
the weights once for a chunk. Threads share out tiles in the first and last step, positions and filters in the second.

The same for the gradient of the weights: `winograd_wide.py`.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.scratch import scratch
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product
from minidl.ops.conv.winograd_tiles import fill_patches, rounded, write_tiles

CHUNK_BYTES = 24 << 20  # of patches and products
GROUP = 8  # tiles that a thread transforms at a time


def convolve(out: Array, x: Array, weight: Array, lift: Array, residual: Array, sizes: Array) -> None:
    """As `winograd._convolve_tiles`, all of it: flat arrays, with transformed weights."""
    images, channels, height, width, filters = (int(sizes[i]) for i in (0, 3, 4, 5, 6))
    share, parts = int(sizes[11]), int(sizes[12])
    line = lanes_of(out.dtype)
    pitch, wide = rounded(channels, line), rounded(filters, line)
    total = images * -(-height // 4) * -(-width // 4)
    chunks = -(-total * 36 * (pitch + wide) * out.itemsize // CHUNK_BYTES)
    chunk = rounded(-(-total // chunks), GROUP)
    slot, wide_slot = chunk * pitch + 2 * line, chunk * wide + 2 * line
    room = scratch(4 * line + 36 * slot, out.dtype)
    with room as patches, scratch(36 * wide_slot, out.dtype) as products:
        patches[:line] = 0  # what stands for pixels outside
        for first in range(0, total, chunk):
            count = min(chunk, total - first)
            cut = np.array((first, count, slot, wide_slot, share, parts), np.int64)
            groups = -(-count // GROUP)
            parallel(_fill, groups, patches, x, sizes, cut, block=1)
            parallel(_multiply, 36 * parts, products, patches, weight, sizes, cut, block=1)
            parallel(_write, groups, out, products, lift, residual, sizes, cut, block=1, scratch_size=2 * line)


@kernel("T[::1], const T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
def _fill(begin: int, end: int, patches: Array, x: Array, sizes: Array, cut: Array) -> None:
    """Groups of tiles begin to end: patches[36][tile][channel]."""
    channels, across = sizes[3], -(-sizes[5] // 4)
    line = lanes(x)
    pitch, tiles = -(-channels // line) * line, -(-sizes[4] // 4) * across
    for group in range(begin, end):
        t = group * GROUP
        fill_patches(patches, 4 * line + t * pitch, cut[2], pitch, x, sizes, cut[0] + t, min(GROUP, cut[1] - t),
                     across, tiles)  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
def _multiply(begin: int, end: int, products: Array, patches: Array, weight: Array, sizes: Array, cut: Array) -> None:
    """(Position, part of the filters) begin to end: products[36][tile][filter]."""
    channels, filters, share, parts = sizes[3], sizes[6], cut[4], cut[5]
    line = lanes(patches)
    vectors = -(-filters // line)
    pitch, position = -(-channels // line) * line, vectors * line * channels + 2 * line
    for item in range(begin, end):
        p, part = item // parts, item % parts * share
        product(products, p * cut[3] + part * line, vectors * line, patches, 4 * line + p * cut[2], pitch,
                weight, p * position + part * line * channels, (cut[1] + 3) // 4 * 4, min(share, vectors - part),
                channels)  # fmt: skip


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const int64[::1], const int64[::1], T[::1]",
    T=("float32", "float64"),
)
def _write(
    begin: int, end: int, out: Array, products: Array, lift: Array, residual: Array, sizes: Array, cut: Array,
    edge: Array,
) -> None:  # fmt: skip
    """Groups of tiles begin to end of the result."""
    across, line = -(-sizes[5] // 4), lanes(out)
    vectors, tiles = -(-sizes[6] // line), -(-sizes[4] // 4) * across
    for j in range(line):
        edge[j] = 0
    for group in range(begin, end):
        t = group * GROUP
        write_tiles(out, products, t * vectors * line, cut[3], vectors * line, lift, residual, sizes, cut[0] + t,
                    min(GROUP, cut[1] - t), 0, vectors, across, tiles, edge)  # fmt: skip
