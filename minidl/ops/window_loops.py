"""The compiled loops of pooling, for one to three dimensions, on images that lie channels-last.

A vector holds channels, so no window is too small and no border special. Backward gathers: each pixel asks the windows
that can see it, always in the same order, so threads never meet and every sum has one order.

Which pixels a window has, and which windows a pixel, stands in a table with a line for each place along D, then H, then
W: the first one, and how many. So windows may slide, or share an image out evenly. `shape` has three numbers each, D, H
and W: lengths of the image, numbers of windows, and steps between the pixels of a window.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np

from minidl.core import Array
from minidl.device import kernel
from minidl.device.window_vectors import window_max, window_mean, window_share, window_spread
from minidl.ops.windows import Sizes

FLOATS = ("float32", "float64")
PLACES = ("int32", "int64")


@functools.lru_cache(maxsize=256)
def geometry(image: Sizes, windows: Sizes, steps: Sizes | None = None) -> Array:
    """`shape`, of one to three dimensions; for reading."""
    lengths = [(1,) * (3 - len(image)) + n for n in (image, windows, steps or (1,) * len(image))]
    return np.array(lengths, np.int64).reshape(-1)


@functools.lru_cache(maxsize=256)
def pixels_seen(
    image: Sizes, windows: Sizes, kernel: Sizes = (), stride: Sizes = (), padding: Sizes = (), dilation: Sizes = ()
) -> Array:
    """The pixels of each window: the table for reading images. Without a kernel windows share the image out evenly."""
    lines = [np.array([(0, 1)])] * (3 - len(image))
    for dim, (n, count) in enumerate(zip(image, windows, strict=True)):
        w = np.arange(count)
        if not kernel:
            first, end = w * n // count, -(-(w + 1) * n // count)
        else:
            k, s, p, d = kernel[dim], stride[dim], padding[dim], dilation[dim]
            start = w * s - p
            skipped = np.maximum(0, -(start // d))
            first = start + skipped * d
            end = first + np.maximum(0, np.minimum(k, (n - 1 - start) // d + 1) - skipped)
        lines.append(np.stack([first, end - first], 1))
    return np.concatenate(lines)


@functools.lru_cache(maxsize=256)
def windows_seeing(
    image: Sizes, windows: Sizes, kernel: Sizes = (), stride: Sizes = (), padding: Sizes = (), dilation: Sizes = ()
) -> Array:
    """The windows that can see each pixel: the table for the way back."""
    lines = [np.array([(0, 1)])] * (3 - len(image))
    for dim, (n, count) in enumerate(zip(image, windows, strict=True)):
        j = np.arange(n)
        if not kernel:
            first, end = j * count // n, -(-(j + 1) * count // n)
        else:
            s, p, span = stride[dim], padding[dim], (kernel[dim] - 1) * dilation[dim]
            first, end = np.maximum(0, -((span - p - j) // s)), np.minimum(count, (j + p) // s + 1)
        lines.append(np.stack([first, np.maximum(0, end - first)], 1))
    return np.concatenate(lines)


def shares(image: Sizes, windows: Sizes) -> Iterator[tuple[Sizes, tuple[slice, ...]]]:
    """Each of the windows that share an image out evenly, and its pixels."""
    lines = np.split(pixels_seen(image, windows)[3 - len(image) :], np.cumsum(windows)[:-1])
    for window in np.ndindex(windows):
        yield window, tuple([slice(line[w, 0], line[w].sum()) for line, w in zip(lines, window, strict=True)])


@kernel("T[::1], P[::1], const T[::1], const int64[:, ::1], const int64[::1], intp", T=FLOATS, P=PLACES)
def max_of_windows(
    begin: int, end: int, best: Array, place: Array, x: Array, seen: Array, shape: Array, channels: int
) -> None:
    """One unit is a row of windows; places are flat in the image."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    steps = (shape[6] * height * width, shape[7] * width, shape[8])
    for unit in range(begin, end):
        r, d = rows_d + unit % rows_h, unit // rows_h % rows_d
        image = unit // (rows_h * rows_d) * depth * height * width
        row = (seen[d, 0] * height + seen[r, 0]) * width
        for q in range(rows_w):
            w = rows_d + rows_h + q
            counts = (seen[d, 1], seen[r, 1], seen[w, 1])
            window_max(best, place, (unit * rows_w + q) * channels, x, image, row + seen[w, 0], counts, steps, channels)


@kernel("T[::1], const T[::1], const P[::1], const int64[:, ::1], const int64[::1], intp", T=FLOATS, P=PLACES)
def spread_maxima(
    begin: int, end: int, gx: Array, g: Array, place: Array, seeing: Array, shape: Array, channels: int
) -> None:
    """One unit is a row of pixels."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    for unit in range(begin, end):
        i, z = depth + unit % height, unit // height % depth
        image = unit // (height * depth) * rows_d * rows_h * rows_w
        row, first = unit % (height * depth) * width, (seeing[z, 0] * rows_h + seeing[i, 0]) * rows_w
        for j in range(width):
            w = depth + height + j
            counts = (seeing[z, 1], seeing[i, 1], seeing[w, 1])
            window_spread(
                gx, (unit * width + j) * channels, g, place, image, row + j, first + seeing[w, 0], counts,
                (rows_h * rows_w, rows_w, 1), channels,
            )  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[:, ::1], const int64[::1], intp", T=FLOATS)
def mean_of_windows(
    begin: int, end: int, out: Array, x: Array, sizes: Array, seen: Array, shape: Array, channels: int
) -> None:
    """One unit is a row of windows; `sizes` has what the sum of each window of an image is divided by."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    for unit in range(begin, end):
        r, d = rows_d + unit % rows_h, unit // rows_h % rows_d
        image = unit // (rows_h * rows_d) * depth * height * width
        row, of_row = (seen[d, 0] * height + seen[r, 0]) * width, unit % (rows_h * rows_d) * rows_w
        for q in range(rows_w):
            w = rows_d + rows_h + q
            counts = (seen[d, 1], seen[r, 1], seen[w, 1])
            window_mean(
                out, (unit * rows_w + q) * channels, x, image, row + seen[w, 0], counts, (height * width, width, 1),
                channels, sizes[of_row + q],
            )  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[:, ::1], const int64[::1], intp", T=FLOATS)
def spread_means(
    begin: int, end: int, gx: Array, g: Array, sizes: Array, seeing: Array, shape: Array, channels: int
) -> None:
    """One unit is a row of pixels."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    for unit in range(begin, end):
        i, z = depth + unit % height, unit // height % depth
        image = unit // (height * depth) * rows_d * rows_h * rows_w
        first = (seeing[z, 0] * rows_h + seeing[i, 0]) * rows_w
        for j in range(width):
            w = depth + height + j
            counts = (seeing[z, 1], seeing[i, 1], seeing[w, 1])
            window_share(
                gx, (unit * width + j) * channels, g, sizes, image, first + seeing[w, 0], counts,
                (rows_h * rows_w, rows_w, 1), channels,
            )  # fmt: skip
