"""3×3 convolution with stride 1 by Winograd's F(4×4, 3×3): a quarter of the multiplications.

A 4×4 tile of the result depends on a 6×6 patch of the image. With the matrices below,

    tile = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ patch B) ] A,

36 products for each pair of channels where the sum itself takes 144. Over all channels each of the 36 positions is a
matrix product, tiles × channels times channels × filters, which is where the time goes; the transforms cost about 170
additions for each patch and channel, which pays from 16 channels on. The gradients are of the same kind: that of the
image has the weights turned; that of the weights is Gᵀ [ Σ over tiles of (A g Aᵀ) ⊙ (Bᵀ patch B) ] G.

A block of tiles is carried through all steps in the second-level cache: band, patches, products, tiles, band.

0.5·N·K·OH·OW·C·9 operations in the products, on N·C·H·W + N·K·OH·OW + 36·K·C numbers. The price is rounding: the
transforms subtract numbers up to 10 times as large as the result, so errors are about 1e-5 of the largest result (a
plain sum: 1e-6), and a NaN or infinity reaches the whole tile.

Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016, arXiv:1509.09308, section 4.3.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel, parallel
from minidl.device.microkernel import gemm_taps, gemm_taps_transposed, panel_columns, panel_count
from minidl.device.patches import patch_transform
from minidl.device.transpose import transpose
from minidl.device.vectors import aligned, aligned_empty, lanes, lanes_of
from minidl.ops.conv.bands import drain_band, fill_band
from minidl.ops.windows import Sizes

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
A = ((1.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0), (1.0, -1.0, 1.0, -1.0), (1.0, 2.0, 4.0, 8.0), (1.0, -2.0, 4.0, -8.0),
     (0.0, 0.0, 0.0, 1.0))  # fmt: skip
_image_patch = patch_transform(BT)
_weight_patch = patch_transform(G)
_result_tile = patch_transform(tuple(zip(*A, strict=True)), lifted=True)
_gradient_patch = patch_transform(A)
_weight_gradient = patch_transform(tuple(zip(*G, strict=True)))

STEPS = 256  # of a product at once: more of a panel would not stay in the first-level cache
BLOCK_BYTES = 1 << 19  # of transformed patches and products; 0.25 and 1 MiB are a few per cent slower
SUM_BYTES = 1 << 19  # of one block of filters in the weight gradient
PIECES = 16  # sums of their own in the weight gradient, fewer if they take more than
PIECES_BYTES = 4 << 20
BLOCKS = 32  # pieces that threads share out
PARTS = 8  # pieces at least, if need be with part of the filters each


def convolve(out: Array, x: Array, weight: Array, bias: Array | None, padding: Sizes) -> None:
    """The convolution of x (N, C, H, W) with weight (K, C, 3, 3), plus bias."""
    channels = x.shape[1]
    _run(out, x, weight, bias, padding, 9 * channels, 9, is_turned=False)


def convolve_back(out: Array, g: Array, weight: Array, padding: Sizes) -> None:
    """Its adjoint in the image: g (N, K, OH, OW) to (N, C, H, W)."""
    channels = out.shape[1]
    _run(out, g, weight, None, (2 - padding[0], 2 - padding[1]), 9, 9 * channels, is_turned=True)


def weight_gradient(out: Array, x: Array, g: Array, padding: Sizes) -> None:
    """Its adjoint in the weight: out (K, C, 3, 3) from x (N, C, H, W) and g (N, K, OH, OW)."""
    filters, channels = out.shape[:2]
    if not g.size:
        out[...] = 0
        return
    lines = lanes_of(out.dtype)
    wide = _rounded(channels, lines)
    room = max(24, SUM_BYTES // (36 * wide * out.itemsize) // 8 * 8)
    blocks = -(-filters // room)
    share = _rounded(-(-filters // blocks), min(lines, 8))
    blocks = -(-filters // share)
    rows = _tile_rows(g, wide + share)
    units = -(-g.shape[0] * _tiles(g.shape[2]) // rows)
    pieces = max(1, min(units, PIECES // blocks, max(4, PIECES_BYTES // (36 * filters * wide * out.itemsize))))
    sums = aligned_empty(pieces * 36 * filters * wide, out.dtype)
    sizes = np.array((*x.shape, filters, *g.shape[2:], *padding, blocks, share, rows, units, pieces), np.int64)
    parallel(_sum_tiles, blocks * pieces, sums, x.reshape(-1), g.reshape(-1), sizes, block=1)
    parallel(_collect, filters, out.reshape(-1), sums, pieces, channels, block=-(-filters // BLOCKS))


def _run(
    out: Array, x: Array, weight: Array, bias: Array | None, padding: Sizes, filter_step: int, channel_step: int,
    *, is_turned: bool,
) -> None:  # fmt: skip
    if not out.size:
        return
    channels, filters, panel = x.shape[1], out.shape[1], panel_columns(out.dtype)
    panels = panel_count(filters, out.dtype)
    transformed = aligned_empty(36 * panels * channels * panel, out.dtype)
    parallel(
        _transform_weights, panels * channels, transformed, weight.reshape(-1), channels, filters, filter_step,
        channel_step, is_turned, block=-(-panels * channels // BLOCKS),
    )  # fmt: skip
    lift = np.zeros(panels * panel, out.dtype)
    if bias is not None:
        lift[:filters] = bias
    rows = _tile_rows(out, channels + filters)
    units = -(-out.shape[0] * _tiles(out.shape[2]) // rows)
    share = -(-panels // min(panels, -(-PARTS // units)))
    parts = -(-panels // share)
    sizes = np.array((*x.shape, *out.shape[1:], *padding, rows, parts, share * panel), np.int64)
    block = -(-units * parts // BLOCKS)
    parallel(_convolve_tiles, units * parts, out.reshape(-1), x.reshape(-1), transformed, lift, sizes, block=block)


def _tiles(length: int) -> int:
    return -(-length // 4)


def _rounded(number: int, step: int) -> int:
    return -(-number // step) * step


def _tile_rows(out: Array, channels: int) -> int:
    """How many rows of tiles make a block: enough tiles to use the weights well, as far as they fit the cache."""
    tiles = min(96, max(24, BLOCK_BYTES // (36 * channels * out.dtype.itemsize)))
    return int(max(1, tiles // _tiles(out.shape[3])))


@kernel("T[::1], const T[::1], intp, intp, intp, intp, bool", T=("float32", "float64"))
def _transform_weights(
    begin: int, end: int, out: Array, weight: Array, channels: int, filters: int, filter_step: int, channel_step: int,
    is_turned: bool,
) -> None:  # fmt: skip
    """G w Gᵀ for (panel, channel) begin to end, as [36][panel][channel][column]."""
    panel = 2 * lanes(out)
    panels = -(-filters // panel)
    taps = np.zeros(9 * panel, out.dtype)
    first, step = (8 * panel, -panel) if is_turned else (0, panel)
    for unit in range(begin, end):
        p, c = unit // channels, unit % channels
        count = min(panel, filters - p * panel)
        taps[:] = 0
        transpose(taps, 0, panel, weight, p * panel * filter_step + c * channel_step, filter_step, count, 9)
        for q in range(0, panel, lanes(out)):
            position = panels * channels * panel
            _weight_patch(out, (p * channels + c) * panel + q, 6 * position, position, taps, first + q, 3 * step, step,
                          taps, 0)  # fmt: skip


@inline
def _fill_patches(
    patches: Array, at: int, position: int, band: Array, at_band: int, x: Array, channels: int, height: int, width: int,
    pad_down: int, pad_along: int, tile_rows: int, tiles: int, first: int, count: int,
) -> None:  # fmt: skip
    """Bᵀ·patch·B for `count` rows of tiles from `first` on, as [36][tile][channel], by way of a band."""
    pitch = -(-channels // lanes(x)) * lanes(x)
    columns = 4 * tiles + 2
    origin = at_band - 6 * columns * pitch
    for row in range(count):
        image, down = (first + row) // tile_rows, (first + row) % tile_rows
        is_new = row == 0 or down == 0
        origin += (6 if is_new else 4) * columns * pitch  # the last two lines of a row of patches are the next one's
        begin = 0 if is_new else 2
        fill_band(band, origin + begin * columns * pitch, pitch, x, image * channels * height * width, channels,
                  height, width, 4 * down - pad_down + begin, 6 - begin, -pad_along, columns)  # fmt: skip
        for tile in range(tiles):
            for c in range(0, pitch, lanes(x)):
                _image_patch(patches, at + (row * tiles + tile) * pitch + c, 6 * position, position,
                             band, origin + 4 * tile * pitch + c, columns * pitch, pitch, band, 0)  # fmt: skip


@kernel("T[::1], const T[::1], T[::1], T[::1], const int64[::1]", T=("float32", "float64"))
def _convolve_tiles(begin: int, end: int, out: Array, x: Array, weight: Array, lift: Array, sizes: Array) -> None:
    """(Block of rows of tiles, part of the filters) begin to end."""
    images, channels, height, width = sizes[0], sizes[1], sizes[2], sizes[3]
    filters, out_height, out_width, pad_down, pad_along, rows = (
        sizes[4],
        sizes[5],
        sizes[6],
        sizes[7],
        sizes[8],
        sizes[9],
    )
    parts, share = sizes[10], sizes[11]
    tile_rows, tiles = -(-out_height // 4), -(-out_width // 4)
    line, panel = lanes(x), 2 * lanes(x)
    pitch, out_pitch = -(-channels // line) * line, -(-min(share, filters) // line) * line
    # One line more between positions: a power of two would put all 36 into the same few places of the cache.
    position, out_position = rows * tiles * pitch + line, rows * tiles * out_pitch + line
    panels = -(-filters // panel)
    band = np.zeros(rows * 6 * (4 * tiles + 2) * pitch + 4 * line, x.dtype)
    patches = np.empty(36 * position + 4 * line, x.dtype)
    products = np.empty(36 * out_position + 4 * line, x.dtype)
    result = np.empty(16 * tiles * out_pitch + 4 * line, x.dtype)
    at_band, at, at_products, at_result = aligned(band), aligned(patches), aligned(products), aligned(result)
    zeros = np.zeros(out_pitch, x.dtype)
    for item in range(begin, end):
        first, first_filter = item // parts * rows, item % parts * share
        count, made = min(rows, images * tile_rows - first), min(share, filters - first_filter)
        _fill_patches(patches, at, position, band, at_band, x, channels, height, width, pad_down, pad_along,
                      tile_rows, tiles, first, count)  # fmt: skip
        for p in range(36):
            to = at_products + p * out_position
            for k in range(0, channels, STEPS):
                before, at_before, step_before = products, to, out_pitch
                if k == 0:
                    before, at_before, step_before = zeros, 0, 0
                at_weight = ((p * panels + first_filter // panel) * channels + k) * panel
                gemm_taps(products, to, out_pitch, before, at_before, step_before, patches, at + p * position + k,
                          pitch, weight, at_weight, channels * panel, panel,
                          count * tiles, -(-made // line) * line, 1, 0, 0, min(STEPS, channels - k))  # fmt: skip
        for row in range(count):
            image, down = (first + row) // tile_rows, (first + row) % tile_rows
            for tile in range(tiles):
                for c in range(0, made, line):
                    _result_tile(result, at_result + 4 * tile * out_pitch + c, 4 * tiles * out_pitch, out_pitch,
                                 products, at_products + (row * tiles + tile) * out_pitch + c,
                                 6 * out_position, out_position, lift, first_filter + c)  # fmt: skip
            target = (image * filters + first_filter) * out_height * out_width
            drain_band(out, target, made, out_height, out_width, result, at_result, out_pitch, 4 * tiles, 4 * down, 4)


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=("float32", "float64"))
def _sum_tiles(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array) -> None:
    """sums[piece][36][filter][channel] of (block of filters, piece) begin to end."""
    images, channels, height, width = sizes[0], sizes[1], sizes[2], sizes[3]
    filters, out_height, out_width, pad_down, pad_along = sizes[4], sizes[5], sizes[6], sizes[7], sizes[8]
    share, rows, units, pieces = sizes[10], sizes[11], sizes[12], sizes[13]
    tile_rows, tiles = -(-out_height // 4), -(-out_width // 4)
    line = lanes(x)
    pitch, out_pitch = -(-channels // line) * line, -(-share // line) * line
    position, out_position = rows * tiles * pitch + line, rows * tiles * out_pitch + line
    band = np.zeros(rows * 6 * (4 * tiles + 2) * pitch + 4 * line, x.dtype)
    windows = np.zeros(16 * tiles * out_pitch + 4 * line, x.dtype)
    patches = np.empty(36 * position + 4 * line, x.dtype)
    slopes = np.empty(36 * out_position + 4 * line, x.dtype)
    at_band, at_windows, at, at_slopes = aligned(band), aligned(windows), aligned(patches), aligned(slopes)
    zeros = np.zeros(pitch, x.dtype)
    for item in range(begin, end):
        block, piece = item // pieces, item % pieces
        count_filters = min(share, filters - block * share)
        for unit in range(units * piece // pieces, units * (piece + 1) // pieces):
            first = unit * rows
            count = min(rows, images * tile_rows - first)
            _fill_patches(patches, at, position, band, at_band, x, channels, height, width, pad_down, pad_along,
                          tile_rows, tiles, first, count)  # fmt: skip
            for row in range(count):
                image, down = (first + row) // tile_rows, (first + row) % tile_rows
                source = (image * filters + block * share) * out_height * out_width
                fill_band(windows, at_windows, out_pitch, g, source, count_filters, out_height, out_width,
                          4 * down, 4, 0, 4 * tiles)  # fmt: skip
                for tile in range(tiles):
                    for c in range(0, out_pitch, line):
                        _gradient_patch(slopes, at_slopes + (row * tiles + tile) * out_pitch + c, 6 * out_position,
                                        out_position, windows, at_windows + 4 * tile * out_pitch + c,
                                        4 * tiles * out_pitch, out_pitch, windows, 0)  # fmt: skip
            for p in range(36):
                to = ((piece * 36 + p) * filters + block * share) * pitch
                before, at_before, step_before = sums, to, pitch
                if unit == units * piece // pieces:
                    before, at_before, step_before = zeros, 0, 0
                gemm_taps_transposed(sums, to, pitch, before, at_before, step_before, slopes,
                                     at_slopes + p * out_position, out_pitch, patches, at + p * position, 2 * line,
                                     pitch, count_filters, pitch, 1, 0, 0, count * tiles)  # fmt: skip


@kernel("T[::1], T[::1], intp, intp", T=("float32", "float64"))
def _collect(begin: int, end: int, out: Array, sums: Array, pieces: int, channels: int) -> None:
    """Gᵀ·(the sum over pieces)·G for filters begin to end."""
    pitch = -(-channels // lanes(out)) * lanes(out)
    filters = out.size // (9 * channels)
    position = filters * pitch
    taps = np.empty(9 * pitch, out.dtype)
    for f in range(begin, end):
        for piece in range(1, pieces):
            for p in range(36):
                to = p * position + f * pitch
                source = to + piece * 36 * position
                for c in range(pitch):
                    sums[to + c] += sums[source + c]
        for c in range(0, pitch, lanes(out)):
            _weight_gradient(taps, c, 3 * pitch, pitch, sums, f * pitch + c, 6 * position, position, sums, 0)
        transpose(out, f * channels * 9, 9, taps, 0, pitch, 9, channels)
