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
from minidl.ops.matmul.cpu import product
from minidl.ops.matmul.finish import NONE, RELU
from minidl.ops.windows import Sizes

MOST_ROOM = 1.5  # columns of panels for each column of a product


@functools.lru_cache(maxsize=1024)
def is_pointwise(weight: Sizes, stride: Sizes, padding: Sizes, groups: int) -> bool:
    """Whether windows are the pixels of the image, each with all channels."""
    return groups == 1 and math.prod(weight[2:]) == 1 and max(stride) == 1 and not any(padding)


def forward(out: Array, x: Array, weight: Array, epilogue: Epilogue) -> Run:
    """x (N, *space, C) with weight (K, C, 1, ...) to out (N, *space, K)."""
    activation = RELU if epilogue.activation == "relu" else NONE

    def run(out: Array, x: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        _multiply(out, x, weight.reshape(weight.shape[:2]).T, bias, activation, residual)

    return run


def backward(out: Array, g: Array, weight: Array, epilogue: Epilogue) -> Run:
    """The adjoint of `forward` in its image: out (N, *space, C)."""
    activation = RELU if epilogue.activation == "relu" else NONE

    def run(out: Array, g: Array, weight: Array, bias: Array | None = None, residual: Array | None = None) -> None:
        _multiply(out, g, weight.reshape(weight.shape[:2]), bias, activation, residual)

    return run


def weight_gradient(out: Array, x: Array, g: Array) -> Run:
    """The adjoint of `forward` in its weight: out (K, C, 1, ...).

    Columns come in panels: whichever of filters and channels fills them better is taken for the columns (24 to 96
    channels, 16 images of 24²: 1.1 to 0.5 ms).
    """
    (filters, channels), is_turned = out.shape[:2], _room_for(len(out), out) < _room_for(x.shape[-1], out)

    def run(out: Array, x: Array, g: Array) -> None:
        pixels, slopes, gradient = x.reshape(-1, channels), g.reshape(-1, filters), out.reshape(filters, channels)
        if is_turned:
            turned = empty(CPU, (channels, filters), out.dtype)
            product(turned, pixels.T, slopes)
            gradient[...] = turned.T
        else:
            product(gradient, slopes.T, pixels)

    return run


def fills_panels(weight: Array) -> bool:
    """Whether filters or channels fill most of their panels; 16 to 16 channels fill half of one (0.45 of the speed)."""
    return min(_room_for(n, weight) for n in weight.shape[:2]) <= MOST_ROOM


def _room_for(columns: int, array: Array) -> float:
    """Columns of whole panels for each of so many columns."""
    panel = panel_columns(array.dtype)
    return -(-columns // panel) * panel / columns


def _multiply(out: Array, x: Array, y: Array, bias: Array | None, activation: int, residual: Array | None) -> None:
    added = None if residual is None else residual.reshape(-1, out.shape[-1])
    product(out.reshape(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), y, bias, activation, added=added)
