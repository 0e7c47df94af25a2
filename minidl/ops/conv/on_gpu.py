"""Convolution by the CUDA kernels of `conv.cuh`: how many tiles they cut a result into, and the sizes they are given.

2·N·K·L·C·k² operations. Tiles are wider than high where there are few filters, and of the same area in any case. What
has few tiles is cut along the depth of its sums as well: as many parts as make PART_BLOCKS blocks, which depends on
sizes alone.
Channels that do not meet have kernels of their own (`depthwise.cuh`).
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import CudaKernels, device_of
from minidl.device.cuda import BLOCK
from minidl.ops.windows import Sizes

CUDA = CudaKernels(__file__, "conv.cuh")
DEPTHWISE = CudaKernels(__file__, "depthwise.cuh")
PART_BLOCKS = 256  # twice as many as a large GPU has multiprocessors
LEAST_DEPTH, STEP = 64, 16  # of a part: what it has at least, and a multiple of what conv.cuh takes at a time
SLICES = 8  # of many parts, when they are added
_LENGTHS = ("image", "windows", "kernel", "stride", "padding", "dilation")
_COUNTS = ("samples", "groups", "filters", "channels")
_GEOMETRY = np.dtype([*[(name, np.int32, 3) for name in _LENGTHS], *[(name, np.int32) for name in _COUNTS]])


class Epilogue(NamedTuple):
    """What follows the sum before it is written: (K,), like the result, or None; and whether the ReLU does."""

    bias: Array | None = None
    residual: Array | None = None
    relu: bool = False


def convolve(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """Images (N, C, *image) to windows (N, K, *windows)."""
    filters, windows = len(weight) // groups, out.shape[2:]
    geometry = _geometry(x.shape, windows, weight.shape, stride, padding, dilation, groups)
    if _is_depthwise(weight, groups):
        DEPTHWISE.launch("depthwise_forward", out.size, out, x, weight, *_last(epilogue), geometry)
        return
    rows, columns = _tile(filters, out.itemsize)
    tiles = -(-filters // rows) * groups * -(-len(x) * math.prod(windows) // columns)
    _in_parts("convolve_forward", tiles, weight[0].size, out, x, weight, epilogue, rows, geometry)


def convolve_back(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:
    """The adjoint of `convolve` in its image; bias and residual are added here too."""
    channels, image = weight.shape[1], out.shape[2:]
    geometry = _geometry(out.shape, g.shape[2:], weight.shape, stride, padding, dilation, groups)
    if _is_depthwise(weight, groups):
        DEPTHWISE.launch("depthwise_back", out.size, out, g, weight, *_last(epilogue), geometry)
        return
    rows, columns = _tile(channels, out.itemsize)
    pixels = len(out) * math.prod([-(-n // s) for n, s in zip(image, stride, strict=True)])  # of each class
    tiles = -(-channels // rows) * groups * math.prod(stride) * -(-pixels // columns)
    taps = [-(-k // (s // math.gcd(s, d))) for k, s, d in zip(weight.shape[2:], stride, dilation, strict=True)]
    depth = len(weight) // groups * math.prod(taps)  # at most
    _in_parts("convolve_back", tiles, depth, out, g, weight, epilogue, rows, geometry)


def weight_gradient(
    out: Array, x: Array, g: Array, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> None:  # fmt: skip
    """The adjoint of `convolve` in its weight."""
    geometry = _geometry(x.shape, g.shape[2:], out.shape, stride, padding, dilation, groups)
    if _is_depthwise(out, groups):
        DEPTHWISE.launch_blocks("depthwise_weight", out.size, out, x, g, geometry)
        return
    filters, depth = len(out) // groups, len(g) * math.prod(g.shape[2:])
    rows, columns = _tile(filters, out.itemsize)
    tiles = -(-filters // rows) * groups * -(-math.prod(out.shape[1:]) // columns)
    parts, size = _parts(tiles, depth)
    sums = out if parts == 1 else device_of(out).xp.empty((parts, *out.shape), out.dtype)
    CUDA.launch_blocks("weight_gradient", tiles * parts, sums, x, g, size, rows, geometry)
    if parts > 1:
        _add_parts(out, sums, parts, Epilogue())


def _in_parts(
    name: str, tiles: int, depth: int, out: Array, source: Array, weight: Array, epilogue: Epilogue, rows: int,
    geometry: bytes,
) -> None:  # fmt: skip
    """Run a pass over images."""
    parts, size = _parts(tiles, depth)
    if parts == 1:
        CUDA.launch_blocks(name, tiles, out, source, weight, *_last(epilogue), 1, size, rows, geometry)
        return
    sums = device_of(out).xp.empty((parts, *out.shape), out.dtype)
    last = _last(Epilogue())
    CUDA.launch_blocks(name, tiles * parts, sums, source, weight, *last, parts, size, rows, geometry)
    _add_parts(out, sums, parts, epilogue)


def _parts(tiles: int, depth: int) -> tuple[int, int]:
    """Into how many parts the depth is cut, and how long they are."""
    wanted = max(1, min(PART_BLOCKS // max(tiles, 1), depth // LEAST_DEPTH))
    size = max(-(-depth // (wanted * STEP)) * STEP, 1)
    return max(1, -(-depth // size)), size


def _add_parts(out: Array, sums: Array, parts: int, epilogue: Epilogue) -> None:
    slices = SLICES if parts > SLICES else 1
    blocks = -(-out.size * slices // BLOCK)
    sizes = parts, slices, out.size, out.shape[1], math.prod(out.shape[2:])
    CUDA.launch_blocks("add_parts", blocks, out, sums, *_last(epilogue), *sizes)


def _is_depthwise(weight: Array, groups: int) -> bool:
    """Whether no two channels meet, nor more than a few filters: tiles would be mostly empty."""
    return weight.shape[1] == 1 and groups > 1 and len(weight) <= 4 * groups


def _tile(rows: int, itemsize: int) -> tuple[int, int]:
    """Rows and columns of a tile."""
    high = 16 if rows <= 16 else 32 if rows <= 32 else 64
    each = 4 if itemsize == 4 else 2
    return high, BLOCK * each * each // high


def _last(epilogue: Epilogue) -> tuple[Any, ...]:
    return epilogue.bias, epilogue.residual, int(epilogue.relu)


@functools.lru_cache(maxsize=1024)
def _geometry(
    x: Sizes, windows: Sizes, weight: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> bytes:
    """The structure `Geometry` of conv.cuh; an image of fewer dimensions is one row, or one plane."""
    made, missing = np.zeros((), _GEOMETRY), 3 - len(windows)
    for name, lengths in zip(_LENGTHS, (x[2:], windows, weight[2:], stride, padding, dilation), strict=True):
        made[name] = [int(name != "padding")] * missing + list(lengths)
    made["samples"], made["groups"], made["filters"], made["channels"] = x[0], groups, weight[0] // groups, weight[1]
    return made.tobytes()
