"""Windows of one pixel, one after the other: a plain product of pixels and filters, made as such (`ops/matmul/cpu.py`).

With a stride the general kernels are faster: to copy the pixels that are seen side by side first, or to spread them
afterwards, takes a fifth of the time (128 to 256 channels, 24², stride 2, two threads: 0.53 ms, 0.42 without).

2·N·K·OH·OW·C operations on N·C·OH·OW + N·K·OH·OW + K·C numbers.
"""

from __future__ import annotations

import functools
import math

from minidl.core import Array, Run
from minidl.device import CPU, empty
from minidl.device.microkernel import panel_columns
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.matmul.cpu import bound_product
from minidl.ops.matmul.finish import NONE, RELU
from minidl.ops.windows import Sizes

MOST_ROOM = 1.5  # columns of panels for each column of a product


@functools.lru_cache(maxsize=1024)
def is_pointwise(weight: Sizes, stride: Sizes, padding: Sizes, groups: int) -> bool:
    """Whether windows are the pixels of the image, each with all channels."""
    return groups == 1 and math.prod(weight[2:]) == 1 and max(stride) == 1 and not any(padding)


def forward(out: Array, x: Array, weight: Array, epilogue: Epilogue) -> Run:
    """x (N, *space, C) with weight (K, C, 1, ...) to out (N, *space, K)."""
    return _bound(out, x, weight.reshape(weight.shape[:2]).T, epilogue)


def backward(out: Array, g: Array, weight: Array, epilogue: Epilogue) -> Run:
    """The adjoint of `forward` in its image: out (N, *space, C)."""
    return _bound(out, g, weight.reshape(weight.shape[:2]), epilogue)


def _bound(out: Array, x: Array, y: Array, epilogue: Epilogue) -> Run:
    activation, has_residual = RELU if epilogue.activation == "relu" else NONE, epilogue.has_residual
    multiply = bound_product(out.reshape(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), y, activation=activation,
                             is_added=has_residual)  # fmt: skip
    if not has_residual:
        return multiply

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        multiply(out, x, weight, bias, None, residual)

    return run


def weight_gradient(out: Array, x: Array, g: Array) -> Run:
    """The adjoint of `forward` in its weight: out (K, C, 1, ...).

    Columns come in panels: whichever of filters and channels fills them better is taken for the columns (24 to 96
    channels, 16 images of 24²: 1.1 to 0.5 ms).
    """
    filters, channels = out.shape[:2]
    pixels, slopes = x.reshape(-1, channels), g.reshape(-1, filters)
    if _room_for(filters, out) >= _room_for(channels, out):
        multiply = bound_product(out.reshape(filters, channels), slopes.T, pixels)
        return lambda out, x, g: multiply(out, g, x)
    multiply = bound_product(empty(CPU, (channels, filters), out.dtype), pixels.T, slopes)

    def run(out: Array, x: Array, g: Array) -> None:
        turned = empty(CPU, (channels, filters), out.dtype)
        multiply(turned, x, g)
        out.reshape(filters, channels)[...] = turned.T

    return run


def fills_panels(weight: Array) -> bool:
    """Whether filters or channels fill most of their panels; 16 to 16 channels fill half of one (0.45 of the speed)."""
    return min(_room_for(n, weight) for n in weight.shape[:2]) <= MOST_ROOM


def _room_for(columns: int, array: Array) -> float:
    """Columns of whole panels for each of so many columns."""
    panel = panel_columns(array.dtype)
    return -(-columns // panel) * panel / columns
