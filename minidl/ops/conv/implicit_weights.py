"""The gradient of the weights without im2col: for every tap, windows times the pixels under it.

gw[k, a, (b, c)] = the sum over all windows o of g[o, k]·x[o s - p + a d, (b, c)]: a matrix product over the windows,
and in channels-last memory the columns (b, c) of one row of taps lie side by side, so B is the image itself, read in
place `stride` pixels a step. One band of windows after the other is added to the same sums.

The sums of a block of filters fit the second-level cache. Where that leaves too few blocks for the threads, the bands
are cut into pieces with sums of their own, which are added up in order; all these cuts depend on sizes alone.

2·N·K·OH·OW·(C/groups)·k² operations on N·C·H·W + N·K·OH·OW + K·(C/groups)·k² numbers.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.microkernel import gemm_taps_transposed
from minidl.device.transpose import transpose
from minidl.device.vectors import aligned, lanes, lanes_of
from minidl.ops.conv.bands import BAND_BYTES, fill_band
from minidl.ops.windows import Sizes

SUM_BYTES = 256 << 10  # of the sums of one block of filters
PIECES = 16  # blocks times pieces, at least, where there is so much work


class Cut(NamedTuple):
    """How the work is cut: the kernel's sizes, and the counts that decide the shape of the partial sums."""

    sizes: Array
    items: int
    pieces: int


@functools.lru_cache(maxsize=256)
def cut(
    x: Sizes, g: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, dtype: DType
) -> Cut:
    """Cut filters into blocks, windows into bands, and bands into pieces."""
    channels, filters = x[1] // groups, g[1] // groups
    columns = (g[3] - 1) * stride[1] + (kernel[1] - 1) * dilation[1] + 1
    reach = (kernel[0] - 1) * dilation[0] + 1
    filter_bytes = kernel[0] * kernel[1] * channels * dtype.itemsize
    lines = lanes_of(dtype)
    room = max(2, SUM_BYTES // filter_bytes // lines) * lines
    blocks = -(-filters // room)
    share = min(filters, -(-filters // (blocks * lines)) * lines)
    blocks = -(-filters // share)
    row_bytes = dtype.itemsize * (columns * channels * stride[0] + g[3] * share)
    rows = max(1, min(g[2], (BAND_BYTES - columns * channels * reach * dtype.itemsize) // row_bytes))
    bands = -(-g[2] // rows)
    rows = -(-g[2] // bands)
    pieces = max(1, min(x[0] * bands, PIECES // (groups * blocks)))
    is_joined = dilation[1] == 1 or kernel[1] == 1
    sizes = (x[0], groups, channels, *x[2:], filters, *g[2:], *kernel, *stride, *padding, *dilation,
             blocks, share, rows, bands, columns, reach, pieces, int(is_joined))  # fmt: skip
    return Cut(np.array(sizes, np.int64), groups * blocks * pieces, pieces)


def weight_gradient(
    out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """out (K, C / groups, kH, kW) from x (N, C, H, W) and g (N, K, OH, OW)."""
    if not g.size:
        out[...] = 0
        return
    work = cut(x.shape, g.shape, out.shape[2:], stride, padding, dilation, groups, out.dtype)
    sums = np.zeros(work.pieces * out.size, out.dtype)
    parallel(_sum_windows, work.items, sums, x.reshape(-1), g.reshape(-1), work.sizes, block=1)
    taps = out.shape[2] * out.shape[3]
    parallel(_collect, len(out), out.reshape(-1), sums, work.pieces, out.shape[1], taps, block=-(-len(out) // 16))


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=("float32", "float64"))
def _sum_windows(begin: int, end: int, sums: Array, x: Array, g: Array, sizes: Array) -> None:
    """sums[piece, filter, tap, channel] for (group, block of filters, piece) begin to end."""
    images, groups, channels, height, width = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
    filters, g_height, g_width, down, along = sizes[5], sizes[6], sizes[7], sizes[8], sizes[9]
    stride_down, stride_along, pad_down, pad_along = sizes[10], sizes[11], sizes[12], sizes[13]
    step_down, step_along, blocks, share = sizes[14], sizes[15], sizes[16], sizes[17]
    rows, bands, columns, reach, pieces, is_joined = sizes[18], sizes[19], sizes[20], sizes[21], sizes[22], sizes[23]
    in_rows = (rows - 1) * stride_down + reach
    band = np.zeros(in_rows * columns * channels + lanes(x) * 2, x.dtype)  # the last vectors reach behind the end
    windows = np.empty(rows * g_width * share + lanes(x) * 4, x.dtype)
    at_windows = aligned(windows)
    per_filter = down * along * channels
    run, times = (along * channels, 1) if is_joined else (channels, along)
    for item in range(begin, end):
        group, block, piece = item // pieces // blocks, item // pieces % blocks, item % pieces
        first_filter = group * filters + block * share
        count = min(share, filters - block * share)
        at_sums = (piece * groups * filters + first_filter) * per_filter
        for unit in range(images * bands * piece // pieces, images * bands * (piece + 1) // pieces):
            image, first = unit // bands, unit % bands * rows
            lines = min(rows, g_height - first)
            fill_band(band, 0, channels, x, (image * groups + group) * channels * height * width, channels,
                      height, width, first * stride_down - pad_down, in_rows, -pad_along, columns)  # fmt: skip
            fill_band(windows, at_windows, share, g, (image * groups * filters + first_filter) * g_height * g_width,
                      count, g_height, g_width, first, lines, 0, g_width)  # fmt: skip
            for a in range(down):
                for b in range(times):
                    at_band = (a * step_down * columns + b * step_along) * channels
                    at = at_sums + (a * along + b) * channels
                    gemm_taps_transposed(
                        sums, at, per_filter, sums, at, per_filter, windows, at_windows, share,
                        band, at_band, 2 * lanes(x), stride_along * channels, count, run,
                        lines, g_width * share, stride_down * columns * channels, g_width,
                    )  # fmt: skip


@kernel("T[::1], const T[::1], intp, intp, intp", T=("float32", "float64"))
def _collect(begin: int, end: int, out: Array, sums: Array, pieces: int, channels: int, taps: int) -> None:
    """out[filter, channel, tap] = the sum over the pieces of sums[piece, filter, tap, channel]."""
    size = channels * taps
    total = np.empty(size, out.dtype)
    for f in range(begin, end):
        total[:] = sums[f * size : (f + 1) * size]
        for piece in range(1, pieces):
            at = piece * out.size + f * size
            for i in range(size):
                total[i] += sums[at + i]
        transpose(out, f * size, taps, total, 0, channels, taps, channels)
