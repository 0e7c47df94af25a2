"""Bands: some rows of an image, copied between channels-first memory and the channels-last form that kernels work on.

Every kernel of this room takes a band that fits the second-level cache, turns it, works on it, and turns the result
back while it is still there. Turning costs 0.08 to 0.17 ns a number (one core of a Xeon with AVX-512) and no traffic to
memory of its own. So arrays stay channels-first everywhere else.
"""

from __future__ import annotations

from minidl.core import Array
from minidl.device import inline
from minidl.device.transpose import transpose

BAND_BYTES = 192 << 10  # of a band and its result


@inline
def fill_band(
    band: Array, at: int, pitch: int, x: Array, image: int, channels: int, height: int, width: int,
    first_row: int, rows: int, first_column: int, columns: int,
) -> None:  # fmt: skip
    """band[at + (r columns + q) pitch + c] = pixel (first_row + r, first_column + q) of channel c, zero outside.

    `image` is the index of the first channel's first pixel in the flat array x.
    """
    left = min(max(0, -first_column), columns)
    stop = max(left, min(columns, width - first_column))
    for r in range(rows):
        row, begin = first_row + r, at + r * columns * pitch
        if row < 0 or row >= height:
            band[begin : begin + columns * pitch] = 0
            continue
        band[begin : begin + left * pitch] = 0
        band[begin + stop * pitch : begin + columns * pitch] = 0
        source = image + row * width + first_column + left
        transpose(band, begin + left * pitch, pitch, x, source, height * width, channels, stop - left)


@inline
def drain_band(
    out: Array, image: int, channels: int, height: int, width: int, band: Array, at: int, pitch: int, columns: int,
    first_row: int, rows: int,
) -> None:  # fmt: skip
    """Copy a band of `rows` x `columns` pixels to the rows of `out` from `first_row` on, as far as they exist."""
    for r in range(min(rows, height - first_row)):
        target = image + (first_row + r) * width
        transpose(out, target, height * width, band, at + r * columns * pitch, pitch, width, channels)
