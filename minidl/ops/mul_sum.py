"""mul_sum_to: the sum of a product to a smaller shape, which is the gradient of what a product has broadcast.

Nobody calls it: the way back of `mul` does, for a weight of each channel or a gate of each image. Two arrays are read
once, 2 operations for 8 bytes; the product on its own would be written and read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import block_count, kernel, parallel
from minidl.device.dtypes import accumulator
from minidl.device.layout import dense_order
from minidl.device.row_sums import row_product
from minidl.device.turn import contiguous
from minidl.ops.elementwise import broadcast, common_dtype
from minidl.ops.reduce import SMALL, broadcast_dims
from minidl.ops.reduce_loops import BLOCK_ROWS, RUN, RUNS, Loops, can_reduce, folded, reduced

__all__: list[str] = []
FLOATS = ("float32", "float64")


class MulSumTo(Op):
    """sum_to(x * y, shape)."""

    name = "mul_sum_to"
    saves = ("x", "y")
    strided = True

    @staticmethod
    def infer(x: Spec, y: Spec, *, shape: tuple[int, ...]) -> Spec:
        broadcast("mul_sum_to", x, y)
        return Spec(shape, common_dtype(x, y))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array, *, shape: tuple[int, ...]) -> None:
        product = xp.multiply(x, y, dtype=out.dtype)
        dims = broadcast_dims(product.shape, shape)
        out[...] = xp.sum(product, axis=dims, dtype=accumulator(out.dtype)).reshape(shape)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, y = arrays
        if x.size < SMALL or x.shape != y.shape or x.dtype != y.dtype or not super().cpu_takes(arrays, params):
            return False
        dims = broadcast_dims(x.shape, params["shape"])
        return any(x.shape[d] > 1 for d in dims) and can_reduce(x, dims)

    @staticmethod
    def cpu(out: Array, x: Array, y: Array, *, shape: tuple[int, ...]) -> None:
        flat = contiguous(y.transpose(dense_order(x))).reshape(-1)
        loops = Loops(partial(row_products, flat), partial(column_products, flat), np.sum, np.float64)
        out[...] = reduced(loops, x, broadcast_dims(x.shape, shape)).reshape(shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g * y, g * x


def row_products(y: Array, x: Array, rows: int) -> Array:
    """The sum of products along each of so many rows."""
    length = len(x) // rows
    pieces = block_count(length, RUNS * RUN)
    parts = np.empty((rows, pieces))
    parallel(_products_of_rows, rows * pieces, parts.reshape(-1), x, y, length, pieces)
    return parts[:, 0] if pieces == 1 else parts.sum(axis=1)


def column_products(y: Array, x: Array, outer: int, rows: int, columns: int) -> Array:
    """The sums of products along the middle of (outer, rows, columns)."""
    fold = folded(rows, columns)
    blocks = block_count(rows // fold, BLOCK_ROWS)
    parts = np.empty((outer, blocks, columns * fold))
    parallel(_products_of_columns, outer * blocks, parts.reshape(-1, columns * fold), x, y, rows // fold, blocks)
    return parts if blocks * fold == 1 else parts.reshape(outer, blocks * fold, columns).sum(axis=1)


@kernel("float64[::1], const T[::1], const T[::1], intp, intp", T=FLOATS)
def _products_of_rows(begin: int, end: int, parts: Array, x: Array, y: Array, length: int, pieces: int) -> None:
    zero = x.dtype.type(0)
    for unit in range(begin, end):
        first = unit % pieces * RUNS * RUN
        last = min(first + RUNS * RUN, length)
        total = 0.0
        for start in range(first, last, RUN):
            at = unit // pieces * length + start
            total += row_product(x, at, zero, y, at, zero, min(RUN, last - start))
        parts[unit] = total


@kernel("float64[:, ::1], const T[::1], const T[::1], intp, intp", T=FLOATS)
def _products_of_columns(begin: int, end: int, parts: Array, x: Array, y: Array, rows: int, blocks: int) -> None:
    width = parts.shape[1]
    for unit in range(begin, end):
        top, first = unit // blocks * rows, unit % blocks * BLOCK_ROWS
        last = min(first + BLOCK_ROWS, rows)
        total = np.zeros(width, x.dtype)
        even = first + (last - first) // 2 * 2
        for r in range(first, even, 2):
            at = (top + r) * width
            a, b = x[at : at + width], x[at + width : at + 2 * width]
            p, q = y[at : at + width], y[at + width : at + 2 * width]
            for i in range(width):
                total[i] += a[i] * p[i] + b[i] * q[i]
        for r in range(even, last):
            at = (top + r) * width
            a, p = x[at : at + width], y[at : at + width]
            for i in range(width):
                total[i] += a[i] * p[i]
        for i in range(width):
            parts[unit, i] = total[i]
