"""Products of matrices on the micro-kernel, with the same bits whatever else is in the batch.

B is packed once in panels of two vectors of columns, so that the micro-kernel reads it in order; A is read where it
lies. The sums are cut into pieces of 256 steps: a panel of 256×16 numbers stays in the
first-level cache while 96 rows of A, which fit the second, pass by it (Goto and van de Geijn 2008, "Anatomy of
high-performance matrix multiplication"). Every number of C is summed in the order of k, and blocks of C are shared out
whole, so neither threads nor neighbours change a bit.

2·M·N·K operations on M·K + K·N + M·N numbers, and K·N once more to pack. On one core of a Zen 3 512³ run at 67 to 76
GFLOP/s, NumPy's OpenBLAS at 79 and MKL at 79, and small products lose more to packing (64³: 0.3 of BLAS). So BLAS keeps
the products, but for `use_deterministic("batch")`, which it cannot promise.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, inline, kernel, parallel
from minidl.device.inline import separate
from minidl.device.microkernel import gemm_taps, panel_columns, panel_count
from minidl.device.transpose import transpose
from minidl.device.vectors import lanes

STEPS = 256  # of a sum at once
ROWS, COLUMNS = 96, 256  # of C in a block
PACK = 32  # blocks of panels
FLOATS = ("float32", "float64")


def product(out: Array, x: Array, y: Array, bias: Array | None = None) -> None:
    """out (..., M, N) = x (..., M, K) times y (..., K, N), plus bias (N,); leading dimensions broadcast."""
    if not out.size:
        return
    batch, (rows, columns), steps = out.shape[:-2], out.shape[-2:], x.shape[-1]
    count, panels, width = math.prod(batch), panel_count(columns, out.dtype), panel_columns(out.dtype)
    x, (y, is_turned) = np.ascontiguousarray(np.broadcast_to(x, (*batch, rows, steps))), _laid(y, batch)
    target = out if out.flags.c_contiguous else empty(CPU, out.shape, out.dtype)
    shape = np.array((count, rows, columns, steps, is_turned), np.int64)
    packed, lift = empty(CPU, (count * panels * steps * width,), out.dtype), np.zeros(panels * width, out.dtype)
    if bias is not None:
        lift[:columns] = bias
    parallel(_pack, count * panels, packed, y.reshape(-1), shape, block=-(-count * panels // PACK))
    units = count * -(-rows // ROWS) * -(-columns // COLUMNS)
    parallel(_blocks, units, target.reshape(-1), x.reshape(-1), packed, lift, shape, block=max(1, units // 64))
    if target is not out:
        out[...] = target


def _laid(array: Array, batch: tuple[int, ...]) -> tuple[Array, bool]:
    """The matrices one behind the other in memory, and whether each of them lies transposed."""
    if array.shape[:-2] == batch and array.mT.flags.c_contiguous:
        return array.mT, True
    return np.ascontiguousarray(np.broadcast_to(array, (*batch, *array.shape[-2:]))), False


@kernel("T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _pack(begin: int, end: int, packed: Array, y: Array, shape: Array) -> None:
    """(Matrix, panel) begin to end: [matrix][panel][step][column], filled up with zeros."""
    columns, steps, is_turned = shape[2], shape[3], shape[4]
    width = 2 * lanes(packed)
    panels = -(-columns // width)
    for unit in range(begin, end):
        matrix, first = unit // panels * columns * steps, unit % panels * width
        seen, at = min(width, columns - first), unit * steps * width
        if seen < width:
            packed[at : at + steps * width] = 0
        if is_turned:
            transpose(packed, at, width, y, matrix + first * steps, steps, seen, steps)
        elif seen == width:
            for k in range(steps):
                target, source = at + k * width, matrix + k * columns + first
                for j in range(width):
                    packed[target + j] = y[source + j]
        else:
            for k in range(steps):
                for j in range(seen):
                    packed[at + k * width + j] = y[matrix + k * columns + first + j]


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _blocks(begin: int, end: int, out: Array, x: Array, packed: Array, start: Array, shape: Array) -> None:
    """(Matrix, block of columns, block of rows) begin to end."""
    rows, columns, steps = shape[1], shape[2], shape[3]
    width = 2 * lanes(out)
    panels, down, across = -(-columns // width), -(-rows // ROWS), -(-columns // COLUMNS)
    for unit in range(begin, end):
        matrix, first, row = unit // (down * across), unit // down % across * COLUMNS, unit % down * ROWS
        height, wide = min(ROWS, rows - row), min(COLUMNS, columns - first)
        to = (matrix * rows + row) * columns + first
        if steps == 0:
            _fill(out, to, columns, start, first, height, wide)
        for k in range(0, steps, STEPS):
            run = min(STEPS, steps - k)
            b = ((matrix * panels + first // width) * steps + k) * width
            before, at_before, step_before = out, to, columns
            if k == 0:
                before, at_before, step_before = start, first, 0
            _piece(out, to, before, at_before, step_before, x, (matrix * rows + row) * steps + k, steps,
                   packed, b, steps * width, columns, height, wide, run)  # fmt: skip


@separate
def _piece(
    out: Array, to: int, before: Array, at_before: int, step_before: int, x: Array, at: int, lda: int,
    packed: Array, b: int, panel: int, columns: int, height: int, wide: int, run: int,
) -> None:  # fmt: skip
    gemm_taps(out, to, columns, before, at_before, step_before, x, at, lda, packed, b, panel, 2 * lanes(out),
              height, wide, 1, 0, 0, run)  # fmt: skip


@inline
def _fill(out: Array, to: int, step: int, start: Array, first: int, rows: int, columns: int) -> None:
    """Sums of nothing."""
    for i in range(rows):
        for j in range(columns):
            out[to + i * step + j] = start[first + j]
