"""The activations behind a linear layer: applied to a product before it leaves the cache, and on the way back.

Going back, one pass over the gradient multiplies it with the slope of the activation and adds up the columns of the
product, which is the gradient of the bias.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import block_count, kernel
from minidl.device.dtypes import DType
from minidl.device.inline import separate
from minidl.device.scalar_math import sigmoid, tanh
from minidl.device.threads import Blocks
from minidl.ops.activation import _gelu as gelu
from minidl.ops.activation import _gelu_slope as gelu_slope
from minidl.ops.activation import _gelu_tanh as gelu_tanh
from minidl.ops.activation import _gelu_tanh_slope as gelu_tanh_slope
from minidl.ops.activation import _relu as relu
from minidl.ops.activation import _relu_slope as relu_slope
from minidl.ops.activation import _sigmoid_slope as sigmoid_slope
from minidl.ops.activation import _silu_slope as silu_slope
from minidl.ops.activation import _tanh_slope as tanh_slope

# By number, as kernels know them; the names are those of the ops.
ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")
BY_RESULT = ("relu", "sigmoid", "tanh")  # whose results tell their slopes
NONE, RELU, GELU, GELU_TANH, SILU, SIGMOID, TANH = range(len(ACTIVATIONS))


@separate
def finish_row(out: Any, to: int, kept: Any, at: int, count: int, activation: int, keeps: int) -> None:
    """`count` numbers from out[to] on go to `kept` if `keeps`, and are replaced by their activation."""
    if keeps:
        for j in range(count):
            kept[at + j] = out[to + j]
    if activation == RELU:
        for j in range(count):
            out[to + j] = relu(out[to + j])
    elif activation == GELU:
        for j in range(count):
            out[to + j] = gelu(out[to + j])
    elif activation == GELU_TANH:
        for j in range(count):
            out[to + j] = gelu_tanh(out[to + j])
    elif activation == SILU:
        for j in range(count):
            out[to + j] *= sigmoid(out[to + j])
    elif activation == SIGMOID:
        for j in range(count):
            out[to + j] = sigmoid(out[to + j])
    elif activation == TANH:
        for j in range(count):
            out[to + j] = tanh(out[to + j])


BLOCK_BYTES, MOST_BLOCKS = 65536, 64  # of the gradient in a unit of work; each has sums of its own
FLOATS = ("float32", "float64")


def bound_slopes(shape: tuple[int, int], dtype: DType, activation: int) -> Callable[[Array, Array, Array], Array]:
    """What writes g times the slope at `at` to out, and gives the sums of out's columns: slopes(out, g, at).

    All are (rows, columns) and C-contiguous.
    """
    rows, columns = shape
    size = max(1, columns * dtype.itemsize)
    block = max(1, BLOCK_BYTES // size, rows // MOST_BLOCKS)
    count = block_count(rows, block)
    call = Blocks(_slopes, count, size=(3 * rows + 2 * count) * size)

    def slopes(out: Array, g: Array, at: Array) -> Array:
        sums = np.empty((count, columns))
        call(out, sums, g, at, activation, block)
        return sums[0] if count == 1 else sums.sum(axis=0)

    return slopes


@kernel("T[:, ::1], float64[:, ::1], const T[:, ::1], const T[:, ::1], intp, intp", T=FLOATS)
def _slopes(begin: int, end: int, out: Array, sums: Array, g: Array, at: Array, activation: int, block: int) -> None:
    """One unit is a block of rows."""
    columns = out.shape[1]
    total = np.empty(columns, out.dtype)
    for unit in range(begin, end):
        total[:] = 0
        for r in range(unit * block, min(len(out), unit * block + block)):
            _slope_row(out[r], g[r], at[r], activation)
            row = out[r]
            for j in range(columns):
                total[j] += row[j]
        for j in range(columns):
            sums[unit, j] = total[j]


@separate
def _slope_row(out: Array, g: Array, at: Array, activation: int) -> None:
    if activation == RELU:
        for j in range(len(out)):
            out[j] = relu_slope(g[j], at[j])
    elif activation == GELU:
        for j in range(len(out)):
            out[j] = gelu_slope(g[j], at[j])
    elif activation == GELU_TANH:
        for j in range(len(out)):
            out[j] = gelu_tanh_slope(g[j], at[j])
    elif activation == SILU:
        for j in range(len(out)):
            out[j] = silu_slope(g[j], at[j])
    elif activation == SIGMOID:
        for j in range(len(out)):
            out[j] = sigmoid_slope(g[j], at[j])
    else:
        for j in range(len(out)):
            out[j] = tanh_slope(g[j], at[j])
