"""The Numba kernels that normalise rows: contiguous stretches of memory with statistics of their own.

A row is read from memory once; it stays in the first cache for the passes that follow. Weights go with elements (layer
norm: `inner` is 1) or with stretches of `inner` elements (group norm: the pixels of one channel).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel
from minidl.device.row_sums import row_product, row_sum

RUN = 4096  # numbers that are summed in the type of the array; the sums of runs are added up in float64
SOME_ROWS = 16  # short ones, for which each number is found in turn: a row by itself waits for its own sums
FLOATS = ("float32", "float64")
BLOCK_BYTES = 65536
MOST_BLOCKS = 64  # each has sums of its own for the gradient of the weights


def block_rows(rows: int, length: int, itemsize: int) -> int:
    """How many rows a block has whose sums are kept apart."""
    return max(1, BLOCK_BYTES // (length * itemsize), rows // MOST_BLOCKS)


@inline
def long_sum(a: Any, i: int, n: int) -> float:
    total = 0.0
    for at in range(0, n, RUN):
        total += row_sum(a, i + at, min(RUN, n - at))
    return total


@inline
def long_product(a: Any, i: int, shift_a: Any, b: Any, j: int, shift_b: Any, n: int) -> float:
    total = 0.0
    for at in range(0, n, RUN):
        total += row_product(a, i + at, shift_a, b, j + at, shift_b, min(RUN, n - at))
    return total


@kernel("T[::1], T[::1], T[::1], const T[::1], const T[::1], const T[::1], intp, intp, float64", T=FLOATS)
def normalize_rows(
    begin: int, end: int, y: Array, mean: Array, rstd: Array, weight: Array, bias: Array, x: Array, groups: int,
    inner: int, eps: float,
) -> None:  # fmt: skip
    segments = len(weight) // groups
    length = segments * inner
    share, one = 1 / length, x.dtype.type(1)
    some = max(1, min(SOME_ROWS, RUN // length))
    for top in range(begin, end, some):
        bottom = min(top + some, end)
        for r in range(top, bottom):
            mean[r] = x.dtype.type(long_sum(x, r * length, length) * share)
        for r in range(top, bottom):
            rstd[r] = x.dtype.type(long_product(x, r * length, mean[r], x, r * length, mean[r], length) * share + eps)
        for r in range(top, bottom):
            rstd[r] = one / np.sqrt(rstd[r])
        for r in range(top, bottom):
            centre, scale, first = mean[r], rstd[r], r % groups * segments
            a, into = x[r * length : (r + 1) * length], y[r * length : (r + 1) * length]
            w, b = weight[first : first + segments], bias[first : first + segments]
            if inner == 1:
                for j in range(length):
                    into[j] = (a[j] - centre) * scale * w[j] + b[j]
            else:
                for s in range(segments):
                    factor, lift = scale * w[s], b[s]
                    part, target = a[s * inner : (s + 1) * inner], into[s * inner : (s + 1) * inner]
                    for j in range(inner):
                        target[j] = (part[j] - centre) * factor + lift


@kernel(
    "T[::1], float64[:, :, ::1], const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], intp",
    T=FLOATS,
)
def layer_gradients(
    begin: int, end: int, gx: Array, parts: Array, weight: Array, mean: Array, rstd: Array, g: Array, x: Array,
    rows: int,
) -> None:  # fmt: skip
    """One unit is a block of rows: gx, and what the block adds to the gradients of weight and bias."""
    length, share, zero = len(weight), 1 / len(weight), x.dtype.type(0)
    for block in range(begin, end):
        along, plain = np.zeros(length, x.dtype), np.zeros(length, x.dtype)
        for r in range(block * rows, min(block * rows + rows, len(mean))):
            centre, scale = mean[r], rstd[r]
            first = r * length
            a, ga, into = x[first : first + length], g[first : first + length], gx[first : first + length]
            for j in range(length):
                along[j] += ga[j] * (a[j] - centre) * scale
                plain[j] += ga[j]
                into[j] = ga[j] * weight[j]
            average = x.dtype.type(long_sum(gx, first, length) * share)
            slope = long_product(gx, first, zero, x, first, centre, length) * share
            tilt = x.dtype.type(slope * scale * scale)
            for j in range(length):
                into[j] = (into[j] - average - (a[j] - centre) * tilt) * scale
        for j in range(length):
            parts[block, 0, j], parts[block, 1, j] = along[j], plain[j]


@kernel(
    "T[::1], float64[:, :, ::1], const T[::1], const T[::1], const T[::1], const T[::1], const T[::1], intp, intp",
    T=FLOATS,
)
def group_gradients(
    begin: int, end: int, gx: Array, parts: Array, weight: Array, mean: Array, rstd: Array, g: Array, x: Array,
    groups: int, inner: int,
) -> None:  # fmt: skip
    """One unit is a row: gx, and what each channel of it adds to the gradients of weight and bias."""
    segments, zero = parts.shape[2], x.dtype.type(0)
    length = segments * inner
    for r in range(begin, end):
        centre, scale = mean[r], rstd[r]
        first = r % groups * segments
        plain, along = 0.0, 0.0
        for s in range(segments):
            at = r * length + s * inner
            parts[r, 1, s] = long_sum(g, at, inner)
            parts[r, 0, s] = long_product(g, at, zero, x, at, centre, inner) * scale
            plain += parts[r, 1, s] * weight[first + s]
            along += parts[r, 0, s] * weight[first + s]
        lift = x.dtype.type(-plain / length * scale)
        slope = x.dtype.type(-along / length * scale * scale)
        for s in range(segments):
            factor, at = weight[first + s] * scale, r * length + s * inner
            a, ga, into = x[at : at + inner], g[at : at + inner], gx[at : at + inner]
            for j in range(inner):
                into[j] = ga[j] * factor + (a[j] - centre) * slope + lift


@kernel("T[::1], T[::1], const float64[:, :, ::1], intp", T=FLOATS)
def add_parts(begin: int, end: int, gw: Array, gb: Array, parts: Array, groups: int) -> None:
    """The gradients of weight and bias: the sums over all parts of a group, in their order; group begin to end."""
    segments = parts.shape[2]
    for group in range(begin, end):
        along, plain = np.zeros(segments), np.zeros(segments)
        for r in range(group, len(parts), groups):
            for s in range(segments):
                along[s] += parts[r, 0, s]
                plain[s] += parts[r, 1, s]
        for s in range(segments):
            gw[group * segments + s], gb[group * segments + s] = along[s], plain[s]
