"""The compiled loops of pooling, for one to three dimensions, on images that lie channels-last.

A vector holds channels, so no window is too small and no border special. Backward gathers: each pixel asks the windows
that can see it, always in the same order, so threads never meet and every sum has one order.

`shape` has, three numbers each, D, H and W last: the image, the windows, kernel, stride, padding and dilation.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel
from minidl.device.window_vectors import window_max, window_mean, window_spread
from minidl.ops.windows import Sizes

FLOATS = ("float32", "float64")
PLACES = ("int32", "int64")


@functools.lru_cache(maxsize=256)
def geometry(*lengths: Sizes) -> Array:
    """`shape`, from image, windows, kernel, stride, padding and dilation of one to three dimensions; for reading."""
    fill = (1, 1, 1, 1, 0, 1)
    return np.array([(f,) * (3 - len(n)) + n for f, n in zip(fill, lengths, strict=True)], np.int64).reshape(-1)


@inline
def _first_tap(window: int, stride: int, padding: int, dilation: int) -> int:
    """The first pixel of a window that lies on the image."""
    start = window * stride - padding
    return 0 if start >= 0 else (-start + dilation - 1) // dilation


@inline
def _end_tap(window: int, stride: int, padding: int, dilation: int, taps: int, length: int) -> int:
    """One past the last."""
    start = window * stride - padding
    if start + (taps - 1) * dilation < length:  # without a division, which takes as long as ten additions
        return taps
    return max(0, (length - 1 - start) // dilation + 1)


@inline
def _first_window(pixel: int, stride: int, padding: int, span: int) -> int:
    """The first window that can see a pixel: it reaches `span` pixels beyond its own first one."""
    before = pixel + padding - span
    return 0 if before <= 0 else (before + stride - 1) // stride


@inline
def _end_window(pixel: int, stride: int, padding: int, windows: int) -> int:
    """One past the last."""
    return min(windows, (pixel + padding) // stride + 1)


@inline
def _windows(pixels: int, stride: int, padding: int, span: int, windows: int) -> tuple[Array, Array]:
    """For each pixel of a row the first window that can see it, and one past the last."""
    first, end = np.empty(pixels, np.int64), np.empty(pixels, np.int64)
    for j in range(pixels):
        first[j] = _first_window(j, stride, padding, span)
        end[j] = _end_window(j, stride, padding, windows)
    return first, end


@kernel("T[::1], P[::1], const T[::1], const int64[::1], intp", T=FLOATS, P=PLACES)
def max_of_windows(begin: int, end: int, best: Array, place: Array, x: Array, shape: Array, channels: int) -> None:
    """One unit is a row of windows; places are flat in the image."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    kd, kh, kw, sd, sh, sw = shape[6], shape[7], shape[8], shape[9], shape[10], shape[11]
    pd, ph, pw, dd, dh, dw = shape[12], shape[13], shape[14], shape[15], shape[16], shape[17]
    for unit in range(begin, end):
        r = unit % rows_h
        d = unit // rows_h % rows_d
        image = unit // (rows_h * rows_d) * depth * height * width
        first_d, end_d = _first_tap(d, sd, pd, dd), _end_tap(d, sd, pd, dd, kd, depth)
        first_h, end_h = _first_tap(r, sh, ph, dh), _end_tap(r, sh, ph, dh, kh, height)
        for q in range(rows_w):
            first_w, end_w = _first_tap(q, sw, pw, dw), _end_tap(q, sw, pw, dw, kw, width)
            at = (unit * rows_w + q) * channels
            pixel = (((d * sd - pd + first_d * dd) * height + r * sh - ph + first_h * dh) * width
                     + q * sw - pw + first_w * dw)  # fmt: skip
            counts = (end_d - first_d, end_h - first_h, end_w - first_w)
            window_max(best, place, at, x, image, pixel, counts, (dd * height * width, dh * width, dw), channels)


@kernel("T[::1], const T[::1], const P[::1], const int64[::1], intp", T=FLOATS, P=PLACES)
def spread_maxima(begin: int, end: int, gx: Array, g: Array, place: Array, shape: Array, channels: int) -> None:
    """One unit is a row of pixels."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    kd, kh, kw, sd, sh, sw = shape[6], shape[7], shape[8], shape[9], shape[10], shape[11]
    pd, ph, pw, dd, dh, dw = shape[12], shape[13], shape[14], shape[15], shape[16], shape[17]
    first_q, end_q = _windows(width, sw, pw, (kw - 1) * dw, rows_w)
    for unit in range(begin, end):
        i = unit % height
        z = unit // height % depth
        image = unit // (height * depth) * rows_d * rows_h * rows_w
        first_d, end_d = _first_window(z, sd, pd, (kd - 1) * dd), _end_window(z, sd, pd, rows_d)
        first_r, end_r = _first_window(i, sh, ph, (kh - 1) * dh), _end_window(i, sh, ph, rows_h)
        first_row = (first_d * rows_h + first_r) * rows_w
        for j in range(width):
            counts = (max(0, end_d - first_d), max(0, end_r - first_r), max(0, end_q[j] - first_q[j]))
            window_spread(
                gx, (unit * width + j) * channels, g, place, image, (z * height + i) * width + j,
                first_row + first_q[j], counts, (rows_h * rows_w, rows_w, 1), channels,
            )  # fmt: skip


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=FLOATS)
def mean_of_windows(begin: int, end: int, out: Array, x: Array, counts: Array, shape: Array, channels: int) -> None:
    """One unit is a row of windows; `counts` has what the sum of each window of an image is divided by."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    kd, kh, kw, sd, sh, sw = shape[6], shape[7], shape[8], shape[9], shape[10], shape[11]
    pd, ph, pw = shape[12], shape[13], shape[14]
    for unit in range(begin, end):
        r = unit % rows_h
        d = unit // rows_h % rows_d
        image = unit // (rows_h * rows_d) * depth * height * width
        first_d, end_d = _first_tap(d, sd, pd, 1), _end_tap(d, sd, pd, 1, kd, depth)
        first_h, end_h = _first_tap(r, sh, ph, 1), _end_tap(r, sh, ph, 1, kh, height)
        for q in range(rows_w):
            first_w, end_w = _first_tap(q, sw, pw, 1), _end_tap(q, sw, pw, 1, kw, width)
            at = (unit * rows_w + q) * channels
            pixel = (((d * sd - pd + first_d) * height + r * sh - ph + first_h) * width) + q * sw - pw + first_w
            taps = (end_d - first_d, end_h - first_h, end_w - first_w)
            count = counts[(d * rows_h + r) * rows_w + q]
            window_mean(out, at, x, image, pixel, taps, (height * width, width, 1), channels, count)


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=FLOATS)
def spread_means(begin: int, end: int, gx: Array, g: Array, counts: Array, shape: Array, channels: int) -> None:
    """One unit is a row of pixels."""
    depth, height, width, rows_d, rows_h, rows_w = shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]
    kd, kh, kw, sd, sh, sw = shape[6], shape[7], shape[8], shape[9], shape[10], shape[11]
    pd, ph, pw = shape[12], shape[13], shape[14]
    zero = g.dtype.type(0)
    first_q, end_q = _windows(width, sw, pw, kw - 1, rows_w)
    for unit in range(begin, end):
        i = unit % height
        z = unit // height % depth
        image = unit // (height * depth) * rows_d * rows_h * rows_w
        first_d, end_d = _first_window(z, sd, pd, kd - 1), _end_window(z, sd, pd, rows_d)
        first_r, end_r = _first_window(i, sh, ph, kh - 1), _end_window(i, sh, ph, rows_h)
        for j in range(width):
            at = (unit * width + j) * channels
            into = gx[at : at + channels]
            for c in range(channels):
                into[c] = zero
            for d in range(first_d, end_d):
                for r in range(first_r, end_r):
                    for q in range(first_q[j], end_q[j]):
                        window = (d * rows_h + r) * rows_w + q
                        gradient = g[(image + window) * channels : (image + window + 1) * channels]
                        count = counts[window]
                        for c in range(channels):
                            into[c] += gradient[c] / count
