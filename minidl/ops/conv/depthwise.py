"""Depthwise convolution: every channel with windows of its own, so there is no matrix product to make of it.

Nine multiply-adds on each pixel that is read. Each row of the result is the sum of k² rows of the image, shifted and
scaled, added up in the first-level cache; LLVM turns the loop along a row into vectors. The weight gradient keeps a row
of sums for each tap and adds that row up last, so that its loop runs along rows as well, in a fixed order.

2·N·K·OH·OW·k² operations on N·C·H·W + N·K·OH·OW numbers.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel, parallel
from minidl.ops.windows import Sizes


def convolve(
    out: Array, x: Array, weight: Array, bias: Array | None, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    """x (N, C, H, W) with weight (K, 1, kH, kW), where filter k sees channel k // (K / C)."""
    start = np.zeros(len(weight), out.dtype) if bias is None else bias
    parallel(
        _rows, *_planes(out, x), weight.reshape(-1, *weight.shape[2:]), start, x.shape[1], *stride, *padding, *dilation
    )


def convolve_back(out: Array, g: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
    """The adjoint of `convolve` in its image."""
    parallel(
        _rows_back, *_planes(out, g), weight.reshape(-1, *weight.shape[2:]), out.shape[1], *stride, *padding, *dilation
    )


def weight_gradient(out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes) -> None:
    """The adjoint of `convolve` in its weight."""
    parallel(_dots, len(out), out.reshape(-1, *out.shape[2:]), x, g, *stride, *padding, *dilation, block=1)


def _planes(out: Array, x: Array) -> tuple[int, Array, Array]:
    planes = out.shape[0] * out.shape[1]
    return planes, out.reshape(planes, *out.shape[2:]), x.reshape(-1, *x.shape[2:])


@inline
def _overlap(length: int, windows: int, stride: int, shift: int) -> tuple[int, int]:
    """The windows w, first and one past the last, with 0 <= w stride + shift < length."""
    first = (-shift + stride - 1) // stride if shift < 0 else 0
    last = (length - 1 - shift) // stride + 1 if shift < length else 0
    return first, max(first, min(windows, last))


@kernel(
    "T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[::1], intp, intp, intp, intp, intp, intp, intp",
    T=("float32", "float64"),
)
def _rows(
    begin: int, end: int, out: Array, x: Array, weight: Array, start: Array, channels: int,
    down: int, along: int, pad_down: int, pad_along: int, step_down: int, step_along: int,
) -> None:  # fmt: skip
    filters, height = len(weight), x.shape[1]
    for plane in range(begin, end):
        image, f = plane // filters, plane % filters
        source = image * channels + f * channels // filters
        for r in range(out.shape[1]):
            row = out[plane, r]
            row[:] = start[f]
            for a in range(weight.shape[1]):
                i = r * down - pad_down + a * step_down
                if i < 0 or i >= height:
                    continue
                pixels = x[source, i]
                for b in range(weight.shape[2]):
                    shift, factor = b * step_along - pad_along, weight[f, a, b]
                    first, last = _overlap(len(pixels), len(row), along, shift)
                    seen = pixels[first * along + shift :]
                    part = row[first:last]
                    if along == 1:
                        for q in range(len(part)):
                            part[q] += factor * seen[q]
                    else:
                        for q in range(len(part)):
                            part[q] += factor * seen[q * along]


@kernel(
    "T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], intp, intp, intp, intp, intp, intp, intp",
    T=("float32", "float64"),
)
def _rows_back(
    begin: int, end: int, out: Array, g: Array, weight: Array, channels: int,
    down: int, along: int, pad_down: int, pad_along: int, step_down: int, step_along: int,
) -> None:  # fmt: skip
    filters, windows = len(weight), g.shape[1]
    share = filters // channels
    for plane in range(begin, end):
        image, channel = plane // channels, plane % channels
        for i in range(out.shape[1]):
            row = out[plane, i]
            row[:] = 0
            for a in range(weight.shape[1]):
                r = i + pad_down - a * step_down
                if r < 0 or r % down or r // down >= windows:
                    continue
                for f in range(channel * share, (channel + 1) * share):
                    slopes = g[image * filters + f, r // down]
                    for b in range(weight.shape[2]):
                        shift, factor = b * step_along - pad_along, weight[f, a, b]
                        first, last = _overlap(len(row), len(slopes), along, shift)
                        seen = slopes[first:last]
                        part = row[first * along + shift :]
                        if along == 1:
                            for q in range(len(seen)):
                                part[q] += factor * seen[q]
                        else:
                            for q in range(len(seen)):
                                part[q * along] += factor * seen[q]


@kernel(
    "T[:, :, ::1], const T[:, :, :, ::1], const T[:, :, :, ::1], intp, intp, intp, intp, intp, intp",
    T=("float32", "float64"),
)
def _dots(
    begin: int, end: int, out: Array, x: Array, g: Array,
    down: int, along: int, pad_down: int, pad_along: int, step_down: int, step_along: int,
) -> None:  # fmt: skip
    share, taps = len(out) // x.shape[1], out.shape[2]
    sums = np.empty((taps, g.shape[3]), x.dtype)
    for f in range(begin, end):
        for a in range(out.shape[1]):
            sums[:] = 0
            for n in range(len(x)):
                for r in range(g.shape[2]):
                    i = r * down - pad_down + a * step_down
                    if i < 0 or i >= x.shape[2]:
                        continue
                    pixels, slopes = x[n, f // share, i], g[n, f, r]
                    for b in range(taps):
                        shift = b * step_along - pad_along
                        first, last = _overlap(len(pixels), len(slopes), along, shift)
                        seen, given = pixels[first * along + shift :], slopes[first:last]
                        part = sums[b, first:last]
                        if along == 1:
                            for q in range(len(part)):
                                part[q] += given[q] * seen[q]
                        else:
                            for q in range(len(part)):
                                part[q] += given[q] * seen[q * along]
            for b in range(taps):
                out[f, a, b] = sums[b].sum()
