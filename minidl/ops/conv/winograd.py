"""3×3 convolution with stride 1 by Winograd's F(4×4, 3×3): a quarter of the multiplications.

A 4×4 tile of the result depends on a 6×6 patch of the image. With the matrices below,

    tile = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ patch B) ] A,

36 products for each pair of channels where the sum itself takes 144. Over all channels each of the 36 positions is a
matrix product, tiles × channels times channels × filters, which is where the time goes; the transforms cost about 170
additions for each patch and channel, which pays from 8 channels on. The gradients are of the same kind: that of the
image has the weights turned; that of the weights is in `winograd_weights.py`.

Images lie channels-last, so a vector holds some channels of one pixel, and the transforms read pixels and write results
where they lie. A block of tiles goes through all three steps in the second-level cache; the products of a position take
the place of the patches of the position before it, so that a block needs half the room. Where there are few blocks, the
filters are cut into parts, and each part transforms the patches for itself.

0.5·N·K·OH·OW·C·9 operations in the products, on N·C·H·W + N·K·OH·OW + 36·K·C numbers. The price is rounding: the
transforms subtract numbers up to 10 times as large as the result, so errors are about 1e-5 of the largest result (a
plain sum: 1e-6), and a NaN or infinity reaches the whole tile.

Each step is a function of its own: in one kernel with all of them, LLVM kept vectors of the transforms in registers
during the products, whose loop then went by the stack (8 images of 64 channels, 32², one core of a Zen 3: 3.9 ms
instead of 2.4). Weights are gathered number by number into the transform: turning them in registers first took twice as
long.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, arXiv:1509.09308, section 4.3.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.core.remember import prepared
from minidl.device import kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.patches import gathered_transform
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product, strip_width
from minidl.ops.conv import winograd_many
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.conv.winograd_tiles import G, fill_patches, rounded, widened, write_tiles
from minidl.ops.windows import Sizes

_weight_patch = gathered_transform(G)

BLOCK_BYTES = 1 << 19  # of transformed patches
TILES = (24, 96)  # of a block: fewer use each weight too seldom, more gain nothing
ITEMS = 16  # pieces for threads at least, if need be with part of the filters each
PART_VECTORS = 4  # of filters in a part, at least
STEP_PARTS = 4  # parts of the filters for each of 36 positions, if the work goes by steps
BLOCKS = 32  # pieces of the work on weights
WEIGHTS = 256  # strips times channels in one, at least: 0.02 ms of work


def convolve(out: Array, x: Array, weight: Array, epilogue: Epilogue, padding: Sizes) -> None:
    """The convolution of x (N, H, W, C) with weight (K, C, 3, 3) to out (N, OH, OW, K), all C-contiguous."""
    _run(out, x, weight, epilogue, padding, is_turned=False)


def convolve_back(out: Array, g: Array, weight: Array, epilogue: Epilogue, padding: Sizes) -> None:
    """Its adjoint in the image: g (N, OH, OW, K) to out (N, H, W, C)."""
    _run(out, g, weight, epilogue, (2 - padding[0], 2 - padding[1]), is_turned=True)


class Cut(NamedTuple):
    """How the work is cut; sizes alone decide, and results do not depend on it."""

    tiles: int  # of a block
    blocks: int
    share: int  # vectors of filters in a part
    parts: int
    by_steps: bool  # all tiles go through one step at a time (`winograd_many.py`)


def cut(images: int, tiles: int, channels: int, vectors: int, dtype: DType) -> Cut:
    """The cut for so many images with so many tiles each, from `channels` channels to `vectors` vectors of filters.

    Step by step, patches and products are written to memory and read again; block by block, every block reads all
    weights. Whichever moves fewer numbers is taken.
    """
    total, line = images * tiles, lanes_of(dtype)
    filters = vectors * line
    widest = max(rounded(channels, line), filters)
    room = max(TILES[0], min(TILES[1], BLOCK_BYTES // (37 * widest * dtype.itemsize)))
    size = rounded(min(room, max(TILES[0], -(-total // ITEMS)), total), 4)
    blocks = -(-total // size)
    by_steps = blocks * channels * filters > 2 * total * (channels + filters) + channels * filters
    parts = STEP_PARTS if by_steps else ITEMS // blocks
    share = part_of(vectors, max(1, min(parts, vectors // PART_VECTORS)))
    return Cut(size, blocks, share, -(-vectors // share), by_steps)


def part_of(vectors: int, parts: int) -> int:
    """Vectors of filters in each of about so many parts.

    An even number, and the last part has two at least: its last vector may have to overlap the one before it.
    """
    share = rounded(-(-vectors // parts), 2)
    while vectors > share and vectors % share == 1:
        share += 2
    return share


class Plan(NamedTuple):
    """All that sizes decide about one convolution."""

    work: Cut
    sizes: Array  # for the kernels
    weights: int  # numbers in the transformed weights
    room: int  # numbers that a thread needs for a block


@functools.lru_cache(maxsize=512)
def plan(x: Sizes, out: Sizes, padding: Sizes, dtype: DType, is_more: bool, has_relu: bool) -> Plan:
    """The plan for images x (N, H, W, C) and results (N, OH, OW, K)."""
    (images, height, width, filters), line = out, lanes_of(dtype)
    vectors, tiles = -(-filters // line), -(-height // 4) * -(-width // 4)
    work = cut(images, tiles, x[3], vectors, dtype)
    slot = work.tiles * max(rounded(x[3], line), min(work.share, vectors) * line) + 2 * line
    sizes = np.array((*x, height, width, filters, *padding, *work[:-1], is_more, has_relu), np.int64)
    return Plan(work, sizes, 36 * (vectors * line * x[3] + 2 * line), 37 * slot + 4 * line)


def _run(out: Array, x: Array, weight: Array, epilogue: Epilogue, padding: Sizes, *, is_turned: bool) -> None:
    if not out.size:
        return
    line = lanes_of(out.dtype)
    if min(x.shape[3], out.shape[3]) < line:
        _run_widened(out, x, weight, epilogue, padding, line, is_turned=is_turned)
        return
    made = plan(x.shape, out.shape, padding, out.dtype, epilogue.is_more, epilogue.activation == "relu")
    work, lift = made.work, epilogue.lift(rounded(out.shape[3], line), out.dtype)
    with prepared(
        ("winograd", work.share, is_turned), weight, made.weights,
        lambda transformed: transform_weights(transformed, weight, work.share, is_turned=is_turned),
    ) as transformed:  # fmt: skip
        given = (out.reshape(-1), x.reshape(-1), transformed, lift, epilogue.added(out.dtype), made.sizes)
        if work.by_steps:
            winograd_many.convolve(*given)
        else:
            parallel(_convolve_tiles, work.blocks * work.parts, *given, block=1, scratch_size=made.room)


def _run_widened(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, padding: Sizes, line: int, *, is_turned: bool
) -> None:
    """With fewer channels than a vector holds, which is never fast: fill up with zeros."""
    wide = np.zeros((max(line, weight.shape[0]), max(line, weight.shape[1]), 3, 3), weight.dtype)
    wide[: weight.shape[0], : weight.shape[1]] = weight
    filters = wide.shape[1 if is_turned else 0]
    residual = epilogue.residual if epilogue.residual is None else widened(epilogue.residual, filters)
    result = np.empty((*out.shape[:3], filters), out.dtype)
    _run(result, widened(x, wide.shape[0 if is_turned else 1]), wide, epilogue._replace(residual=residual), padding,
         is_turned=is_turned)  # fmt: skip
    out[...] = result[..., : out.shape[3]]


def transform_weights(transformed: Array, weight: Array, share: int, *, is_turned: bool) -> None:
    """G w Gᵀ of all pairs of channels, as `product` wants it: [36][strip of filters][channel][filter]."""
    filters, channels = weight.shape[:2]
    filter_step, channel_step = 9 * channels, 9
    if is_turned:
        filters, channels, filter_step, channel_step = channels, filters, channel_step, filter_step
    line = lanes_of(weight.dtype)
    vectors = -(-filters // line)
    position = vectors * line * channels + 2 * line  # not a power of two: else 36 places of the cache would be one
    strips = np.array(_strips(vectors, share), np.int64)
    sizes = np.array((channels, filters, filter_step, channel_step, position, is_turned), np.int64)
    units = len(strips) * channels
    block = max(WEIGHTS, -(-units // BLOCKS))
    parallel(_transform_weights, units, transformed, weight.reshape(-1), strips, sizes, block=block)


def _strips(vectors: int, share: int) -> list[tuple[int, int]]:
    """First vector and number of vectors of every strip that `product` takes of every part."""
    strips, first = [], 0
    while first < vectors:
        width = strip_width(min(share - first % share, vectors - first))
        strips.append((first, width))
        first += width
    return strips


@kernel("T[::1], const T[::1], const int64[:, ::1], const int64[::1]", T=("float32", "float64"))
def _transform_weights(begin: int, end: int, out: Array, weight: Array, strips: Array, sizes: Array) -> None:
    """(Strip of filters, channel) begin to end."""
    channels, filters, filter_step, channel_step, position, is_turned = (
        sizes[0],
        sizes[1],
        sizes[2],
        sizes[3],
        sizes[4],
        sizes[5],
    )
    line = lanes(out)
    first, step = (8, -1) if is_turned else (0, 1)
    for unit in range(begin, end):
        strip, c = unit // channels, unit % channels
        vector, width = strips[strip, 0], strips[strip, 1]
        for v in range(width):
            f = (vector + v) * line
            _weight_patch(out, (vector * channels + c * width + v) * line, 6 * position, position,
                          weight, f * filter_step + c * channel_step + first, 3 * step, step,
                          filter_step, min(line, filters - f))  # fmt: skip


@kernel(
    "T[::1], const T[::1], const T[::1], const T[::1], const T[::1], const int64[::1], T[::1]",
    T=("float32", "float64"),
)
def _convolve_tiles(
    begin: int, end: int, out: Array, x: Array, weight: Array, lift: Array, residual: Array, sizes: Array,
    room: Array,
) -> None:  # fmt: skip
    """(Block of tiles, part of the filters) begin to end."""
    images, channels, height, width, filters = sizes[0], sizes[3], sizes[4], sizes[5], sizes[6]
    size, share, parts = sizes[9], sizes[11], sizes[12]
    line = lanes(x)
    across, vectors = -(-width // 4), -(-filters // line)
    tiles = -(-height // 4) * across
    pitch, out_pitch = -(-channels // line) * line, min(share, vectors) * line
    slot, position = size * max(pitch, out_pitch) + 2 * line, vectors * line * channels + 2 * line
    room[: 2 * line] = 0  # zeros, and room for what falls outside
    at = 4 * line
    for item in range(begin, end):
        first, part = item // parts * size, item % parts * share
        count = min(size, images * tiles - first)
        wide = min(share, vectors - part)
        fill_patches(room, at + slot, slot, pitch, x, sizes, first, count, across, tiles)
        for p in range(36):
            product(room, at + p * slot, out_pitch, room, at + (p + 1) * slot, pitch,
                    weight, p * position + part * line * channels, (count + 3) // 4 * 4, wide, channels)  # fmt: skip
        write_tiles(out, room, at, slot, out_pitch, lift, residual, sizes, first, count, part, wide, across, tiles,
                    room[: 2 * line])  # fmt: skip
