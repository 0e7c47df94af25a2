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

from minidl.core import Array, Run
from minidl.device import Kernel, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.patches import patch_transform
from minidl.device.scratch import scratch
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product_turned
from minidl.ops.conv.winograd_form import FORMS, Form, alternating, turned
from minidl.ops.conv.winograd_tiles import patches_of, rounded, slopes_of, write_taps
from minidl.ops.conv.winograd_way import CHANNELS, FILTERS, PIECES

CHUNK_BYTES = 16 << 20  # of transformed patches and tiles
FILL_TILES = 16  # that a thread transforms at a time
ROWS = 128  # filters of a product that a thread takes at a time


def weight_gradient(form: Form, sizes: Array, taps: Array, pitch: int, total: int, dtype: DType) -> Run:
    """As `winograd_weights.weight_gradient`: a tile's patches in `pitch` numbers, `total` tiles."""
    filters, channels, line = int(sizes[FILTERS]), int(sizes[CHANNELS]), lanes_of(dtype)
    wide, positions = rounded(filters, line), form.positions
    chunks = -(-total * positions * (pitch + wide) * dtype.itemsize // CHUNK_BYTES)
    chunk = rounded(-(-total // chunks), FILL_TILES)
    slots = (chunk * pitch + 2 * line, chunk * wide + 2 * line, wide * pitch + 2 * line)
    parts = -(-wide // ROWS)
    at_slopes = 4 * line + positions * slots[0]
    cuts = [np.array((first, min(chunk, total - first), parts, pitch, *slots, at_slopes), np.int64)
            for first in range(0, total, chunk)]  # fmt: skip

    def run(out: Array, x: Array, g: Array) -> None:
        room = scratch(at_slopes + positions * slots[1], dtype)
        with room as transformed, scratch(positions * slots[2], dtype) as sums:
            transformed[:line] = 0  # what stands for pixels outside
            for cut in cuts:
                tiles = -(-int(cut[1]) // FILL_TILES)
                parallel(_fill[form], tiles, transformed, x.reshape(-1), g.reshape(-1), sizes, cut, block=1)
                parallel(_multiply, positions * parts, sums, transformed, sizes, cut, block=1)
            parallel(_collect[form], filters, out.reshape(-1), sums, sizes, taps, pitch, slots[2],
                     out.size // (filters * channels), block=-(-filters // 32),
                     scratch_size=form.window * pitch)  # fmt: skip

    return run


def _filler_of(form: Form) -> Kernel:
    """The first step."""
    fill_patches, fill_slopes = patches_of(form), slopes_of(form)

    @kernel("T[::1], const T[::1], const T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
    def fill(begin: int, end: int, transformed: Array, x: Array, g: Array, sizes: Array, cut: Array) -> None:
        """Groups of tiles begin to end of a chunk: [position][tile][piece, channel], then [position][tile][filter]."""
        first, count, pitch, slot, wide_slot, line = cut[0], cut[1], cut[3], cut[4], cut[5], lanes(x)
        vectors = -(-sizes[FILTERS] // line)
        for group in range(begin, end):
            t = group * FILL_TILES
            share = min(FILL_TILES, count - t)
            fill_patches(transformed, 4 * line + t * pitch, slot, pitch, x, sizes, first + t, share)
            fill_slopes(transformed, cut[7] + t * vectors * line, wide_slot, vectors * line, g, sizes, first + t,
                        share, 0, vectors)  # fmt: skip

    return fill


@kernel("T[::1], T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
def _multiply(begin: int, end: int, sums: Array, transformed: Array, sizes: Array, cut: Array) -> None:
    """(Position, part of the filters) begin to end: sums += slopesᵀ · patches over the chunk."""
    first, count, parts, pitch, slot, wide_slot, sum_slot = cut[0], cut[1], cut[2], cut[3], cut[4], cut[5], cut[6]
    filters, line = sizes[FILTERS], lanes(sums)
    wide, at = -(-filters // line) * line, 4 * line
    for item in range(begin, end):
        p, row = item // parts, item % parts * ROWS
        rows = (min(ROWS, filters - row) + 3) // 4 * 4
        product_turned(sums, p * sum_slot + row * pitch, pitch, transformed, cut[7] + p * wide_slot + row, wide,
                       transformed, at + p * slot, pitch, rows, pitch // line, count, first > 0)  # fmt: skip


def _collector_of(form: Form) -> Kernel:
    """The last step."""
    gradient = patch_transform(turned(form.down.g), turned(form.along.g), alternating(form.down.taps))
    rows, columns, beside, window = form.down.reach, form.along.reach, form.along.taps, form.window

    @kernel(
        "T[::1], const T[::1], const int64[::1], const int64[::1], intp, intp, intp, T[::1]", T=("float32", "float64")
    )
    def collect(
        begin: int, end: int, out: Array, sums: Array, sizes: Array, taps: Array, pitch: int, slot: int, size: int,
        room: Array,
    ) -> None:  # fmt: skip
        """Gᵀ·sums·G of filters begin to end, turned to [filter][channel][tap]; a weight has `size` taps."""
        line = lanes(out)
        for f in range(begin, end):
            for c in range(0, pitch, line):
                gradient(room, c, beside * pitch, pitch, sums, f * pitch + c, columns * slot, slot, 0, rows, 0, columns,
                         room, line)  # fmt: skip
            write_taps(out, f, sizes[CHANNELS], size, room, 0, pitch, taps, sizes[PIECES], window)

    return collect


_fill = {form: _filler_of(form) for form in FORMS}
_collect = {form: _collector_of(form) for form in FORMS}
