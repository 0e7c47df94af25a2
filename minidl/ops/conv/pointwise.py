"""Windows of one pixel, one after the other: a plain product of pixels and filters, made as such (`ops/matmul/cpu.py`).

With a stride the general kernels are faster: to copy the pixels that are seen side by side first, or to spread them
afterwards, takes a fifth of the time (128 to 256 channels, 24², stride 2, two threads: 0.53 ms, 0.42 without).

2·N·K·OH·OW·C operations on N·C·OH·OW + N·K·OH·OW + K·C numbers.
"""

from __future__ import annotations

import functools
import math

from minidl.core import Array
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


def convolve(out: Array, x: Array, weight: Array, epilogue: Epilogue) -> None:
    """x (N, *space, C) with weight (K, C, 1, ...) to out (N, *space, K)."""
    _multiply(out, x, weight.reshape(weight.shape[:2]).T, epilogue)


def convolve_back(out: Array, g: Array, weight: Array, epilogue: Epilogue) -> None:
    """The adjoint of `convolve` in its image: out (N, *space, C)."""
    _multiply(out, g, weight.reshape(weight.shape[:2]), epilogue)


def weight_gradient(out: Array, x: Array, g: Array) -> None:
    """The adjoint of `convolve` in its weight: out (K, C, 1, ...).

    Columns come in panels: whichever of filters and channels fills them better is taken for the columns (24 to 96
    channels, 16 images of 24²: 1.1 to 0.5 ms).
    """
    pixels, slopes, gradient = x.reshape(-1, x.shape[-1]), g.reshape(-1, g.shape[-1]), out.reshape(out.shape[:2])
    if _room_for(len(out), out) < _room_for(x.shape[-1], out):
        turned = empty(CPU, gradient.T.shape, out.dtype)
        product(turned, pixels.T, slopes)
        gradient[...] = turned.T
    else:
        product(gradient, slopes.T, pixels)


def fills_panels(weight: Array) -> bool:
    """Whether filters or channels fill most of their panels; 16 to 16 channels fill half of one (0.45 of the speed)."""
    return min(_room_for(n, weight) for n in weight.shape[:2]) <= MOST_ROOM


def _room_for(columns: int, array: Array) -> float:
    """Columns of whole panels for each of so many columns."""
    panel = panel_columns(array.dtype)
    return -(-columns // panel) * panel / columns


def _multiply(out: Array, x: Array, y: Array, epilogue: Epilogue) -> None:
    added = None if epilogue.residual is None else epilogue.residual.reshape(-1, out.shape[-1])
    activation = RELU if epilogue.activation == "relu" else NONE
    product(out.reshape(-1, out.shape[-1]), x.reshape(-1, x.shape[-1]), y, epilogue.bias, activation, added=added)
