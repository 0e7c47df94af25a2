"""What all three passes of Winograd's convolution share: its matrices, and the transforms of tiles where they lie.

Tiles are numbered along rows, down an image and over images. `sizes` begins with N, H, W and C of the image, height,
width and channels of the result, and the padding.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device.inline import separate
from minidl.device.patches import patch_transform, tile_transform
from minidl.device.vectors import lanes

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
_whole_tile = tile_transform(AT, ((0, 2), (1, 3)))
_careful_tile = tile_transform(AT, ((0, 2), (1, 3)), careful=True)


def widened(x: Array, channels: int) -> Array:
    """x (N, H, W, C), with zeros behind its channels."""
    wide = np.zeros((*x.shape[:3], channels), x.dtype)
    wide[..., : x.shape[3]] = x
    return wide


def rounded(number: int, step: int) -> int:
    """`number`, or the next multiple of `step`."""
    return -(-number // step) * step


@separate
def fill_patches(
    patches: Array, at: int, slot: int, pitch: int, x: Array, sizes: Array, first: int, count: int, across: int,
    tiles: int,
) -> None:  # fmt: skip
    """Bᵀ·patch·B of tiles first to first + count: patches[at + (6 r + q) slot + tile pitch + channel].

    An image is `tiles` tiles, `across` in a row. The last vector of channels overlaps the one before it, if need be.
    `patches` begins with a vector of zeros.
    """
    zeros = patches[: lanes(x)]
    height, width, channels, pad_down, pad_along = sizes[1], sizes[2], sizes[3], sizes[7], sizes[8]
    for t in range(count):
        image, tile = (first + t) // tiles, (first + t) % tiles
        row, column = 4 * (tile // across) - pad_down, 4 * (tile % across) - pad_along
        source, to = ((image * height + row) * width + column) * channels, at + t * pitch
        if row >= 0 and column >= 0 and row + 6 <= height and column + 6 <= width:
            for i in range(0, channels, lanes(x)):
                c = min(i, channels - lanes(x))
                _image_patch(patches, to + c, 6 * slot, slot, x, source + c, width * channels, channels,
                            0, 6, 0, 6, zeros)  # fmt: skip
        else:
            for i in range(0, channels, lanes(x)):
                c = min(i, channels - lanes(x))
                _border_patch(patches, to + c, 6 * slot, slot, x, source + c, width * channels, channels,
                             -row, height - row, -column, width - column, zeros)  # fmt: skip


@separate
def fill_slopes(
    slopes: Array, at: int, slot: int, pitch: int, g: Array, sizes: Array, first: int, count: int, block: int,
    wide: int, across: int, tiles: int,
) -> None:  # fmt: skip
    """A·tile·Aᵀ of vectors block to block + wide of the filters; `slopes` begins with a vector of zeros."""
    height, width, filters = sizes[4], sizes[5], sizes[6]
    line = lanes(g)
    zeros = slopes[:line]
    last = min(filters - line, (block + wide - 1) * line)
    for t in range(count):
        image, tile = (first + t) // tiles, (first + t) % tiles
        row, column = 4 * (tile // across), 4 * (tile % across)
        source, to = ((image * height + row) * width + column) * filters, at + t * pitch - block * line
        is_whole = row + 4 <= height and column + 4 <= width
        for k in range(block, block + wide):
            f = min(k * line, last)
            if is_whole:
                _slope_patch(slopes, to + f, 6 * slot, slot, g, source + f, width * filters, filters,
                             0, 4, 0, 4, zeros)  # fmt: skip
            else:
                _border_slope_patch(slopes, to + f, 6 * slot, slot, g, source + f, width * filters, filters,
                                    0, height - row, 0, width - column, zeros)  # fmt: skip


@separate
def write_tiles(
    out: Array, products: Array, at: int, slot: int, pitch: int, lift: Array, residual: Array, sizes: Array,
    first: int, count: int, part: int, wide: int, across: int, tiles: int, edge: Array,
) -> None:  # fmt: skip
    """Aᵀ·products·A, and the epilogue, for vectors part to part + wide of the filters of `count` tiles.

    `edge` has a vector of zeros, and room for another, where results outside of the image go.
    """
    height, width, filters, more = sizes[4], sizes[5], sizes[6], sizes[13] != 0
    line = lanes(out)
    floor = out.dtype.type(0 if sizes[14] else -np.inf)
    last = min(filters - line, (part + wide - 1) * line)
    zeros, spare = edge[:line], edge[line : 2 * line]
    others, added = (residual, 1) if residual.size else (zeros, 0)
    for t in range(count):
        image, tile = (first + t) // tiles, (first + t) % tiles
        row, column = 4 * (tile // across), 4 * (tile % across)
        target = ((image * height + row) * width + column) * filters
        is_plain = row + 4 <= height and column + 4 <= width and not more
        for k in range(part, part + wide):
            f = min(k * line, last)
            source = at + t * pitch + f - part * line
            if is_plain:
                _whole_tile(out, target + f, width * filters, filters, products, source, 6 * slot, slot, lift, f,
                            4, 4, zeros, 0, 0, 0, floor, spare)  # fmt: skip
            else:
                _careful_tile(out, target + f, width * filters, filters, products, source, 6 * slot, slot, lift, f,
                              height - row, width - column, others, added * (target + f),
                              added * width * filters, added * filters, floor, spare)  # fmt: skip
