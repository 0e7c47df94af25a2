"""The reference of convolution: every window laid out as a column of a matrix (im2col), and the sums left to BLAS.

2·N·K·L·C·k² operations for N images, C to K channels, L windows of k² taps. The columns hold each pixel k² times, so
they are made in blocks that stay in the caches: a few images at a time, or a band of rows of one (8 images of 32
channels, 128², 3×3, one core of a Zen 3: 57 ms with whole images, 46 ms in blocks of 2 MB; 2 and 4 MB are alike, 0.5 MB
is slower).

Source: Chellapilla et al., "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device.dtypes import DType
from minidl.ops.windows import Sizes, taps

COLUMN_BYTES = 2 << 20  # of a block on the CPU
GPU_COLUMN_BYTES = 256 << 20  # a GPU has no use for caches here, but each block costs it a dozen launches


def convolve(
    xp: Any, out: Array, x: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """Images (N, C, *image) and a weight (K, C / groups, *kernel) to windows (N, K, *windows)."""
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    scratch = Scratch(xp, out.dtype)
    for block, columns in _columns(xp, x, weight, out.shape[2:], stride, padding, dilation):
        target = block.of(out)
        products = scratch.of_shape(*matrix.shape[:2], columns.shape[-1])
        xp.matmul(matrix, columns.reshape(groups, -1, columns.shape[-1]), out=products)
        target[...] = products.reshape(target.shape)


def convolve_back(
    xp: Any, out: Array, g: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """The adjoint of `convolve` in its image."""
    spans = tuple(d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True))
    around = tuple(span - p for span, p in zip(spans, padding, strict=True))
    if max(stride) == 1 and min(around) >= 0 and weight.shape[0] <= 2 * out.shape[1]:
        # A convolution with the flipped kernel: 46 ms instead of 70 for 8 images of 32 channels, 128². It copies
        # columns of K channels where `_spread` adds up columns of C, so with K > 2 C the other way is the shorter.
        convolve(xp, out, g, _flipped(xp, weight, groups), stride, around, dilation, groups)
    else:
        _spread(xp, out, g, weight, stride, padding, dilation, groups)


def weight_gradient(
    xp: Any, out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """The adjoint of `convolve` in its weight."""
    total = xp.zeros((groups, out.shape[0] // groups, math.prod(out.shape[1:])), out.dtype)  # out may lie otherwise
    scratch = Scratch(xp, g.dtype)
    for block, columns in _columns(xp, x, out, g.shape[2:], stride, padding, dilation):
        rows = scratch.copy_of(block.of(g)).reshape(groups, total.shape[1], -1)
        total += xp.matmul(rows, columns.reshape(groups, total.shape[2], -1).swapaxes(1, 2))
    out[...] = total.reshape(out.shape)


def _spread(
    xp: Any, out: Array, g: Array, weight: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """Make the columns by a matrix product, and add each of their rows, one for each tap, to the pixels under it."""
    image, kernel = out.shape[2:], weight.shape[2:]
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
    scratch, columns = Scratch(xp, g.dtype), Scratch(xp, out.dtype)
    out[...] = 0
    for block in _blocks(xp, len(g), g.shape[2:], out.shape[1] * math.prod(kernel) * out.itemsize, weight.nbytes):
        rows = scratch.copy_of(block.of(g))
        products = columns.of_shape(out.shape[1], *kernel, *rows.shape[1:])
        flat = products.reshape(groups, matrix.shape[1], -1)
        xp.matmul(matrix, rows.reshape(groups, matrix.shape[2], -1), out=flat)
        pixels = out[block.images].swapaxes(0, 1)
        before = (padding[0] - block.rows.start * stride[0], *padding[1:])
        for tap in taps(image, rows.shape[2:], kernel, stride, before, dilation):
            pixels[(..., *tap.pixels)] += products[(slice(None), *tap.offset, slice(None), *tap.windows)]


def _flipped(xp: Any, weight: Array, groups: int) -> Array:
    """(K, C / groups, *kernel) as (C, K / groups, *kernel), turned about."""
    parts = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:]).swapaxes(1, 2)
    turned = xp.flip(parts, tuple(range(3, parts.ndim))).reshape(-1, *parts.shape[2:])
    return xp.ascontiguousarray(turned)  # BLAS takes no negative strides


class Block(NamedTuple):
    """A share of the windows: all those of some images, or some rows of those of one image."""

    images: slice
    rows: slice

    def of(self, windows: Array) -> Array:
        """Its part of (N, K, *windows), channels first: (K, n, *windows)."""
        return windows[self.images, :, self.rows].swapaxes(0, 1)


class Scratch:
    """Memory that is lent out again and again: fresh memory costs a page fault for every 4 KB."""

    def __init__(self, xp: Any, dtype: DType) -> None:
        self.xp, self.memory = xp, xp.empty(0, dtype)

    def of_shape(self, *shape: int) -> Array:
        size = math.prod(shape)
        if self.memory.size < size:
            self.memory = self.xp.empty(size, self.memory.dtype)
        return self.memory[:size].reshape(shape)

    def copy_of(self, array: Array) -> Array:
        copy = self.of_shape(*array.shape)
        copy[...] = array
        return copy


def _blocks(xp: Any, images: int, windows: Sizes, bytes_each: int, weight_bytes: int) -> Iterator[Block]:
    """Blocks whose columns, `bytes_each` a window, stay in the caches; on a GPU, as large as its memory allows.

    They are no smaller than the weights, which every block reads once. Their cut depends on sizes alone, so sums always
    run in one order.
    """
    room = max(COLUMN_BYTES if xp is np else GPU_COLUMN_BYTES, weight_bytes)
    row_bytes = max(1, bytes_each * math.prod(windows[1:]))
    bands = -(-windows[0] // max(1, room // row_bytes))
    rows = -(-windows[0] // bands)
    step = max(1, room // (row_bytes * windows[0]))
    for image in range(0, images, step):
        for row in range(0, windows[0], rows):
            yield Block(slice(image, min(image + step, images)), slice(row, min(row + rows, windows[0])))


def _columns(
    xp: Any, x: Array, weight: Array, windows: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Iterator[tuple[Block, Array]]:
    """Block by block, the columns of its windows, (C, taps, windows), in memory that the next block takes over."""
    channels, kernel = x.shape[1], weight.shape[2:]
    none = (0,) * len(kernel)
    borders, scratch = Scratch(xp, x.dtype), Scratch(xp, x.dtype)
    for block in _blocks(xp, len(x), windows, channels * math.prod(kernel) * x.itemsize, weight.nbytes):
        share = (block.rows.stop - block.rows.start, *windows[1:])
        seen = tuple((w - 1) * s + d * (k - 1) + 1 for w, s, d, k in zip(share, stride, dilation, kernel, strict=True))
        before = (padding[0] - block.rows.start * stride[0], *padding[1:])
        image = _bordered(borders, x[block.images].swapaxes(0, 1), before, seen)
        columns = scratch.of_shape(channels, *kernel, image.shape[1], *share)
        for tap in taps(seen, share, kernel, stride, none, dilation):
            columns[(slice(None), *tap.offset)] = image[(..., *tap.pixels)]
        yield block, columns.reshape(channels, math.prod(kernel), -1)


def _bordered(scratch: Scratch, x: Array, before: Sizes, lengths: Sizes) -> Array:
    """`lengths` of x, from `before` its first pixel on (behind it, if negative), with zeros where there is no x."""
    first = [max(0, -b) for b in before]
    last = [max(f, min(n, le - b)) for f, n, le, b in zip(first, x.shape[2:], lengths, before, strict=True)]
    part = x[(..., *map(slice, first, last))]
    if part.shape[2:] == lengths:
        return part
    image = scratch.of_shape(*x.shape[:2], *lengths)
    image[...] = 0
    image[(..., *[slice(f + b, la + b) for f, la, b in zip(first, last, before, strict=True)])] = part
    return image
