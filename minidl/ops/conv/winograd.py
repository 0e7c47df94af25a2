"""Convolution by Winograd's F(4×4, 3×3): a quarter of the multiplications of 3×3 windows, and less of others.

A 4×4 tile of the result depends on a 6×6 patch of the image. With the matrices of `winograd_tiles.py`,

    tile = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ patch B) ] A,

36 products for each pair of channels where the sum itself takes 144. Over all channels each of the 36 positions is a
matrix product, tiles × channels times channels × filters, which is where the time goes; the transforms cost about 170
additions for each patch and channel, which pays from 8 channels on. `winograd_form.py` has smaller forms of the same,
for windows of 2×2 and 1×3. The gradients are of the same kind: that of the
image has the weights turned; that of the weights is in `winograd_weights.py`. How larger windows, strides, dilations
and volumes are made of 3×3 windows says `winograd_way.py`; here they only mean more channels or more filters.

Images lie channels-last, so a vector holds some channels of one pixel, and the transforms read pixels and write results
where they lie. A block of tiles goes through all three steps in the second-level cache; the products of a position take
the place of the patches of the position before it, so that a block needs half the room. Where there are few blocks, the
filters are cut into parts, and each part transforms the patches for itself.

72·tiles·C·K operations in the products for each piece and phase (0.5·N·K·OH·OW·C·9 for 3×3), on N·C·H·W + N·K·OH·OW +
36·K·C numbers. The price is rounding: the transforms subtract numbers up to 10 times as large as the result, so errors
are about 1e-5 of the largest result (a plain sum: 1e-6), and a NaN or infinity reaches the whole tile.

Each step is a function of its own: in one kernel with all of them, LLVM kept vectors of the transforms in registers
during the products, whose loop then went by the stack (8 images of 64 channels, 32², one core of a Zen 3: 3.9 ms
instead of 2.4). Weights are gathered number by number into the transform: turning them in registers first took twice as
long.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, arXiv:1509.09308, section 4.3.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.core import Array, Run
from minidl.core.remember import Prepared
from minidl.device import Kernel, kernel
from minidl.device.dtypes import DType
from minidl.device.patches import gathered_transform
from minidl.device.scratch import give_back
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes, lanes_of
from minidl.device.whole_tiles import product, strip_width
from minidl.ops.conv import winograd_many
from minidl.ops.conv.epilogue import Epilogue, flat_residuals_of, lifts_of
from minidl.ops.conv.volumes import volumes
from minidl.ops.conv.winograd_form import FORMS, Form
from minidl.ops.conv.winograd_tiles import patches_of, room_for, rounded, writer_of
from minidl.ops.conv.winograd_way import (
    CHANNELS,
    CUT,
    FILTERS,
    PHASES,
    PIECES,
    Way,
    backward_way,
    forward_way,
)
from minidl.ops.windows import Sizes

BLOCK_BYTES = 200 << 10  # of transformed patches
FEWEST, MOST = 24, 96  # tiles of a block: fewer use each weight too seldom, more gain nothing
ITEMS = 16  # pieces for threads at least, if need be with part of the filters each
PART_VECTORS = 4  # of filters in a part, at least
STEP_PARTS = 4  # parts of the filters for each position, if the work goes by steps
BLOCKS = 32  # pieces of the work on weights
WEIGHTS = 256  # strips times channels in one, at least: 0.02 ms of work
SIZE, SHARE, PARTS, TOTAL = CUT, CUT + 2, CUT + 3, CUT + 4  # in the table of sizes


class Cut(NamedTuple):
    """How the work is cut; sizes alone decide, and results do not depend on it."""

    tiles: int  # of a block
    blocks: int
    share: int  # vectors of filters in a part
    parts: int
    by_steps: bool  # all tiles go through one step at a time (`winograd_many.py`)


def cut(total: int, positions: int, channels: int, vectors: int, phases: int, dtype: DType) -> Cut:
    """The cut for so many tiles from `channels` channels of all pieces to `vectors` vectors of filters of each phase.

    Step by step, patches and products are written to memory and read again; block by block, every block reads all
    weights. Whichever moves fewer numbers is taken.
    """
    line = lanes_of(dtype)
    filters = phases * vectors * line
    widest = max(rounded(channels, line), filters)
    room = max(FEWEST, min(MOST, BLOCK_BYTES // ((positions + 1) * widest * dtype.itemsize)))
    size = rounded(min(room, max(FEWEST, -(-total // ITEMS)), total), 4)
    blocks = -(-total // size)
    by_steps = blocks * channels * filters > 2 * total * (channels + filters) + channels * filters
    parts = max(1, min(STEP_PARTS if by_steps else ITEMS // blocks, phases * vectors // PART_VECTORS))
    share = part_of(vectors, parts) if phases == 1 else vectors * -(-phases // parts)
    return Cut(size, blocks, share, -(-phases * vectors // share), by_steps)


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

    way: Way
    work: Cut
    sizes: Array  # for the kernels
    weights: int  # numbers in the transformed weights
    steps: Array  # vectors in a part, and the numbers of the weight from filter to filter and from channel to channel
    room: int  # numbers that a thread needs for a block


@functools.lru_cache(maxsize=512)
def plan(
    is_back: bool, x: Sizes, out: Sizes, weight: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, dtype: DType
) -> Plan:
    """The plan for images x (N, *space, C), results `out` (N, *windows, K) and such a weight."""
    way = (backward_way if is_back else forward_way)(weight[2:], stride, padding, dilation)
    assert way is not None, "choice.py takes only what can be made"
    x, out = volumes(x), volumes(out)
    line, total = lanes_of(dtype), way.total(x[0], out[1:4])
    vectors, channels = -(-out[4] // line), len(way.pieces) * x[4]
    positions = way.form.positions
    work = cut(total, positions, channels, vectors, len(way.phases), dtype)
    all_vectors = len(way.phases) * vectors
    slot = work.tiles * max(room_for(x[4], len(way.pieces), line), min(work.share, all_vectors) * line) + 2 * line
    weights = positions * (all_vectors * line * channels + 2 * line)
    taps = math.prod(weight[2:])
    apart = weight[1] * taps, taps  # numbers from first dimension to first dimension, and from second to second
    steps = np.array((work.share, *(reversed(apart) if is_back else apart)), np.int64)
    return Plan(way, work, way.sizes(x, out, (*work[:-1], total)), weights, steps, (positions + 1) * slot + 4 * line)


def forward(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Run:
    """The convolution of x (N, *space, C) with weight (K, C, *kernel) to out (N, *windows, K), all C-contiguous."""
    return _bound(False, out, x, weight, epilogue, stride, padding, dilation)


def backward(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Run:
    """Its adjoint in the image: g (N, *windows, K) to out (N, *space, C)."""
    return _bound(True, out, g, weight, epilogue, stride, padding, dilation)


def _bound(
    is_back: bool, out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes,
    dilation: Sizes,
) -> Run:  # fmt: skip
    dtype, is_more, floor = out.dtype, epilogue.is_more, epilogue.floor
    way, work, sizes, count, steps, room = plan(
        is_back, x.shape, out.shape, weight.shape, stride, padding, dilation, dtype
    )
    weights = Prepared(("winograd", is_back, work.share, way), count, transformer(sizes, way, steps, dtype))
    lift, flat = lifts_of(rounded(out.shape[-1], lanes_of(dtype)), dtype), flat_residuals_of(dtype)
    if work.by_steps:
        convolve = winograd_many.bound(way.form, sizes, dtype)
    else:
        convolve = Blocks(_convolve_tiles[way.form], work.blocks * work.parts, size=out.nbytes + x.nbytes, block=1,
                          scratch_size=room)  # fmt: skip

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        transformed, lent = weights.of(weight)
        convolve(out.reshape(-1), x.reshape(-1), transformed, lift(bias), flat(residual), is_more, floor, sizes)
        give_back(lent)

    return run


def transformer(sizes: Array, way: Way, steps: Array, dtype: DType) -> Callable[[Array, Array], None]:
    """What writes G w Gᵀ of all pairs of channels as `product` wants it: [position][strip of filters][piece,
    channel][filter].

    `steps` are the vectors in a part, and the numbers of the weight from filter to filter and from channel to channel.
    """
    line, pairs = lanes_of(dtype), int(sizes[PIECES] * sizes[CHANNELS])
    strips = _strips(int(sizes[PHASES]) * -(-int(sizes[FILTERS]) // line), int(steps[0]))
    units, numbers = len(strips) * pairs, pairs * int(sizes[FILTERS]) * way.form.positions
    block = max(WEIGHTS, -(-units // BLOCKS))
    transform, taps = (
        Blocks(_transform_weights[way.form], units, size=numbers * dtype.itemsize, block=block),
        way.tap_table,
    )

    def fill(transformed: Array, weight: Array) -> None:
        transform(transformed, weight.reshape(-1), strips, sizes, taps, steps)

    return fill


@functools.lru_cache(maxsize=512)
def _strips(vectors: int, share: int) -> Array:
    """First vector and number of vectors of every strip that `product` takes of every part."""
    strips, first = [], 0
    while first < vectors:
        width = strip_width(min(share - first % share, vectors - first))
        strips.append((first, width))
        first += width
    return np.array(strips, np.int64)


def _transformer_of(form: Form) -> Kernel:
    """What transforms weights."""
    weight_patch = gathered_transform(form.down.g, form.along.g)
    columns, window = form.along.reach, form.window

    @kernel(
        "T[::1], const T[::1], const int64[:, ::1], const int64[::1], const int64[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def transform_weights(
        begin: int, end: int, out: Array, weight: Array, strips: Array, sizes: Array, taps: Array, steps: Array
    ) -> None:
        """(Strip of filters, piece, channel) begin to end."""
        filters, pieces, channels, line = sizes[FILTERS], sizes[PIECES], sizes[PIECES] * sizes[CHANNELS], lanes(out)
        vectors = -(-filters // line)  # of a phase
        position = (
            sizes[PHASES] * vectors * line * channels + 2 * line
        )  # no power of two: else all have one place in cache
        for unit in range(begin, end):
            strip, c = unit // channels, unit % channels
            vector, width = strips[strip, 0], strips[strip, 1]
            piece, source = c // sizes[CHANNELS], c % sizes[CHANNELS] * steps[2]
            for v in range(width):
                phase, f = (vector + v) // vectors, (vector + v) % vectors * line
                weight_patch(out, (vector * channels + c * width + v) * line, columns * position, position,
                             weight, source + f * steps[1], taps, (phase * pieces + piece) * window, steps[1],
                             min(line, filters - f))  # fmt: skip

    return transform_weights


def _convolver_of(form: Form) -> Kernel:
    """What convolves block by block."""
    fill_patches, write_tiles, positions = patches_of(form), writer_of(form), form.positions

    @kernel(
        "T[::1], const T[::1], const T[::1], const T[::1], const T[::1], bool, float64, const int64[::1], T[::1]",
        T=("float32", "float64"),
    )
    def convolve_tiles(
        begin: int, end: int, out: Array, x: Array, weight: Array, lift: Array, residual: Array, is_more: bool,
        floor: float, sizes: Array, room: Array,
    ) -> None:  # fmt: skip
        """(Block of tiles, part of the filters) begin to end."""
        channels, size, share, parts = sizes[PIECES] * sizes[CHANNELS], sizes[SIZE], sizes[SHARE], sizes[PARTS]
        line = lanes(x)
        vectors = sizes[PHASES] * -(-sizes[FILTERS] // line)
        pitch = -(-(channels + max(0, line - sizes[CHANNELS])) // line) * line
        out_pitch = min(share, vectors) * line
        slot, position = size * max(pitch, out_pitch) + 2 * line, vectors * line * channels + 2 * line
        room[: 2 * line] = 0  # zeros, and room for what falls outside
        at = 4 * line
        for item in range(begin, end):
            first, part = item // parts * size, item % parts * share
            count = min(size, sizes[TOTAL] - first)
            wide = min(share, vectors - part)
            fill_patches(room, at + slot, slot, pitch, x, sizes, first, count)
            for p in range(positions):
                product(room, at + p * slot, out_pitch, room, at + (p + 1) * slot, pitch, weight,
                        p * position + part * line * channels, (count + 3) // 4 * 4, wide, channels)  # fmt: skip
            write_tiles(out, room, at, slot, out_pitch, lift, residual, sizes, first, count, part, wide, is_more, floor,
                        room[: 2 * line])  # fmt: skip

    return convolve_tiles


_transform_weights = {form: _transformer_of(form) for form in FORMS}
_convolve_tiles = {form: _convolver_of(form) for form in FORMS}
