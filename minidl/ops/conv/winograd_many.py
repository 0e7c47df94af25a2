"""Winograd's convolution between many channels, one step after the other over a chunk of tiles.

With many channels the transformed weights fill the caches, 2.4 MB for 128 channels and 37.7 MB for 512, and every block
of tiles would read all of them again. Here a chunk of tiles goes through one step at a time: all patches, the 36
products, all tiles of the result. Patches and products are written and read once, 72·(C + K) numbers for a tile, and
the weights once for a chunk. Threads share out tiles in the first and last step, positions and filters in the second.

The same for the gradient of the weights: `winograd_wide.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minidl.core import Array
from minidl.device import Kernel, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.scratch import scratch
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product
from minidl.ops.conv.winograd_form import FORMS, Form
from minidl.ops.conv.winograd_tiles import patches_of, room_for, rounded, writer_of
from minidl.ops.conv.winograd_way import CHANNELS, CUT, FILTERS, PHASES, PIECES

CHUNK_BYTES = 24 << 20  # of patches and products
GROUP = 8  # tiles that a thread transforms at a time


def bound(form: Form, sizes: Array, dtype: DType) -> Callable[..., None]:
    """As `winograd.convolve_tiles`, all of it: what is called with flat arrays, with transformed weights."""
    channels, filters, pieces, phases = (int(sizes[i]) for i in (CHANNELS, FILTERS, PIECES, PHASES))
    share, parts, total = (int(n) for n in sizes[CUT + 2 : CUT + 5])
    line, positions = lanes_of(dtype), form.positions
    pitch, wide = room_for(channels, pieces, line), phases * rounded(filters, line)
    chunks = -(-total * positions * (pitch + wide) * dtype.itemsize // CHUNK_BYTES)
    chunk = rounded(-(-total // chunks), GROUP)
    slot, wide_slot = chunk * pitch + 2 * line, chunk * wide + 2 * line
    cuts = [np.array((first, min(chunk, total - first), slot, wide_slot, share, parts, pitch, wide), np.int64)
            for first in range(0, total, chunk)]  # fmt: skip

    def convolve(
        out: Array, x: Array, weight: Array, lift: Array, residual: Array, is_more: bool, floor: float, sizes: Array
    ) -> None:
        room = scratch(4 * line + positions * slot, dtype)
        with room as patches, scratch(positions * wide_slot, dtype) as products:
            patches[:line] = 0  # what stands for pixels outside
            for cut in cuts:
                groups = -(-int(cut[1]) // GROUP)
                parallel(_fill[form], groups, patches, x, sizes, cut, block=1)
                parallel(_multiply, positions * parts, products, patches, weight, sizes, cut, block=1)
                parallel(_write[form], groups, out, products, lift, residual, is_more, floor, sizes, cut, block=1,
                         scratch_size=2 * line)  # fmt: skip

    return convolve


def _filler_of(form: Form) -> Kernel:
    """The first step."""
    fill_patches = patches_of(form)

    @kernel("T[::1], const T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
    def fill(begin: int, end: int, patches: Array, x: Array, sizes: Array, cut: Array) -> None:
        """Groups of tiles begin to end: patches[position][tile][piece, channel]."""
        for group in range(begin, end):
            t = group * GROUP
            fill_patches(
                patches, 4 * lanes(x) + t * cut[6], cut[2], cut[6], x, sizes, cut[0] + t, min(GROUP, cut[1] - t)
            )

    return fill


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], const int64[::1]", T=("float32", "float64"))
def _multiply(begin: int, end: int, products: Array, patches: Array, weight: Array, sizes: Array, cut: Array) -> None:
    """(Position, part of the filters) begin to end: products[position][tile][phase, filter]."""
    channels, share, parts, pitch, wide = sizes[PIECES] * sizes[CHANNELS], cut[4], cut[5], cut[6], cut[7]
    line = lanes(patches)
    vectors, position = wide // line, wide * channels + 2 * line
    for item in range(begin, end):
        p, part = item // parts, item % parts * share
        product(products, p * cut[3] + part * line, wide, patches, 4 * line + p * cut[2], pitch,
                weight, p * position + part * line * channels, (cut[1] + 3) // 4 * 4, min(share, vectors - part),
                channels)  # fmt: skip


def _writer_of(form: Form) -> Kernel:
    """The last step."""
    write_tiles = writer_of(form)

    @kernel(
        "T[::1], const T[::1], const T[::1], const T[::1], bool, float64, const int64[::1], const int64[::1], T[::1]",
        T=("float32", "float64"),
    )
    def write(
        begin: int, end: int, out: Array, products: Array, lift: Array, residual: Array, is_more: bool, floor: float,
        sizes: Array, cut: Array, edge: Array,
    ) -> None:  # fmt: skip
        """Groups of tiles begin to end of the result."""
        wide, line = cut[7], lanes(out)
        for j in range(line):
            edge[j] = 0
        for group in range(begin, end):
            t = group * GROUP
            count = min(GROUP, cut[1] - t)
            write_tiles(out, products, t * wide, cut[3], wide, lift, residual, sizes, cut[0] + t, count, 0,
                        wide // line, is_more, floor, edge)  # fmt: skip

    return write


_fill = {form: _filler_of(form) for form in FORMS}
_write = {form: _writer_of(form) for form in FORMS}
