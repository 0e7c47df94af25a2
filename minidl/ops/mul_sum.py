"""mul_sum_to: the sum of a product to a smaller shape, which is the gradient of what a product has broadcast.

Nobody calls it: the way back of `mul` does, for a weight of each channel or a gate of each image. Two arrays are read
once, 2 operations for 8 bytes; the product on its own would be written and read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device import kernel
from minidl.device.column_tiles import VECTORS, column_products
from minidl.device.dtypes import accumulator
from minidl.device.row_sums import row_product
from minidl.device.vectors import lanes
from minidl.ops.elementwise import broadcast, common_dtype
from minidl.ops.reduce import SMALL, broadcast_dims, written
from minidl.ops.reduce_loops import BLOCK_ROWS, RUN, RUNS, Loops, can_reduce, columns_by, reduction, rows_by

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
    def bind(out: Array, x: Array, y: Array, *, shape: tuple[int, ...]) -> Run:
        return written(reduction(PRODUCTS, broadcast_dims(x.shape, shape), x, y), shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        return g * y, g * x


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


@kernel("float64[::1], const T[::1], const T[::1], intp, intp, intp", T=FLOATS)
def _products_of_columns(
    begin: int, end: int, parts: Array, x: Array, y: Array, rows: int, width: int, blocks: int
) -> None:  # fmt: skip
    for unit in range(begin, end):
        first = unit % blocks * BLOCK_ROWS
        at, count = (unit // blocks * rows + first) * width, min(BLOCK_ROWS, rows - first)
        for j in range(0, width, VECTORS * lanes(x)):
            column_products(parts, unit * width + j, x, y, at + j, width, count, width - j)


PRODUCTS = Loops(rows_by(_products_of_rows), columns_by(_products_of_columns), np.sum, np.float64)
