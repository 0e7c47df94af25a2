"""More pooling: the largest of windows of other kinds, and p-norms of windows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Array, Tensor
from minidl.device.dtypes import DEFAULT_INT
from minidl.errors import ShapeError
from minidl.ops.activation import relu
from minidl.ops.avg_pool import avg_pool1d, avg_pool2d, avg_pool3d
from minidl.ops.indexing import gather
from minidl.ops.max_pool import AdaptiveMaxPool
from minidl.ops.reduce import argmax
from minidl.ops.unary import abs as abs_
from minidl.ops.unary import sign
from minidl.ops.views import reshape
from minidl.ops.windows import Sizes, sizes

__all__ = [
    "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool_at",
]  # fmt: skip


def adaptive_max_pool1d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` along one dimension."""
    return _adaptive_max(1, input, output_size, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """The largest value of each of OH x OW windows that together cover the image.

    Args:
        input: (N, C, H, W) or (C, H, W).
        output_size: (OH, OW), or one number for both; None keeps a length. Windows as in `adaptive_avg_pool2d`.
        return_indices: give (values, places), places being row * W + column, int64.

    Raises:
        ShapeError: if `output_size` is no such size.
    """
    return _adaptive_max(2, input, output_size, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """`adaptive_max_pool2d` over volumes."""
    return _adaptive_max(3, input, output_size, return_indices)


def _adaptive_max(dims: int, input: Tensor, output_size: Any, return_indices: bool) -> Any:
    name = f"adaptive_max_pool{dims}d"
    if input.ndim not in (dims + 1, dims + 2) or not math.prod(input.shape[-dims - 1 :]):
        raise ShapeError(f"{name}: input must be (N, C, {', '.join('DHW'[3 - dims :])}), not empty; got {input.shape}")
    image = input.shape[-dims:]
    if isinstance(output_size, (tuple, list)) and len(output_size) == dims:
        output_size = tuple(n if o is None else o for n, o in zip(image, output_size, strict=True))
    wanted = sizes(name, "output_size", output_size, dims, least=0)
    if not math.prod(wanted):
        empty = input.device.xp.empty((*input.shape[:-dims], *wanted), input.dtype)
        places = input.device.xp.empty(empty.shape, np.int64)
        return (Tensor.of(empty), Tensor.of(places)) if return_indices else Tensor.of(empty)
    batch = input if input.ndim == dims + 2 else input.unsqueeze(0)
    values, places = AdaptiveMaxPool.apply(batch, windows=wanted)
    if batch is not input:
        values, places = values.squeeze(0), places.squeeze(0)
    return (values, places.to(DEFAULT_INT)) if return_indices else values


def _largest(input: Tensor, pixels: Array, windows: Sizes) -> tuple[Tensor, Tensor]:
    """The largest value of each window, and its place in the flattened image.

    Args:
        input: (..., *image).
        pixels: (..., number of windows, pixels of a window), places in the flattened image; broadcast to `input`.
        windows: their number along each dimension.
    """
    xp, lead = input.device.xp, input.shape[: -len(windows)]
    flat = reshape(input, *lead, math.prod(input.shape[-len(windows) :]))
    at = xp.broadcast_to(pixels, (*lead, *pixels.shape[-2:]))
    seen = xp.take_along_axis(flat.array, at.reshape(*lead, math.prod(at.shape[-2:])), -1).reshape(at.shape)
    best = argmax(Tensor.of(seen), -1, keepdim=True)
    places = Tensor.of(xp.take_along_axis(at, best.array, -1).reshape(*lead, math.prod(windows)))
    return reshape(gather(flat, -1, places), *lead, *windows), reshape(places, *lead, *windows)


def max_pool_at(input: Tensor, *starts: Tensor, kernel_size: Any, return_indices: bool = False) -> Any:
    """The largest value of windows at given places, which may be other ones for each channel.

    Args:
        input: (N, C, *image).
        starts: for each spatial dimension (N, C, windows), int64: the first pixels of the windows.
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        return_indices: give (values, places), places being those in the flattened image, int64.

    Returns:
        (N, C, windows of the first dimension, of the second, ...).

    Raises:
        ShapeError: if shapes do not fit, or a window reaches beyond the image.

    >>> max_pool_at(Tensor([[[1.0, 5.0, 2.0, 3.0]]]), Tensor.of(np.array([[[0, 2]]])), kernel_size=2)
    tensor([[[5., 3.]]])
    """
    dims = len(starts)
    image, kernel = input.shape[2:], sizes("max_pool_at", "kernel_size", kernel_size, dims, least=1)
    if input.ndim != dims + 2 or any(s.ndim != 3 or s.shape[:2] != input.shape[:2] for s in starts):
        raise ShapeError(f"max_pool_at: input must be (N, C, *image) and starts (N, C, windows) for each of {dims} "
                         f"dimensions, got {input.shape} and {[s.shape for s in starts]}")  # fmt: skip
    for start, n, k in zip(starts, image, kernel, strict=True):
        if start.numel() and not 0 <= int(start.array.min()) <= int(start.array.max()) <= n - k:
            raise ShapeError(f"max_pool_at: windows of {k} pixels must begin from 0 to {n - k} to lie in the image "
                             f"{image}, got {start.array.min()} to {start.array.max()}")  # fmt: skip
    xp = input.device.xp
    places = xp.zeros((*input.shape[:2], 1, 1), np.int64)
    for start, n, k in zip(starts, image, kernel, strict=True):
        line = start.array[..., None] + xp.arange(k)
        both = places[:, :, :, None, :, None] * n + line[:, :, None, :, None, :]
        places = both.reshape(*both.shape[:2], both.shape[2] * both.shape[3], both.shape[4] * k)
    values, found = _largest(input, places, tuple([s.shape[2] for s in starts]))
    return (values, found) if return_indices else values


def lp_pool1d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`lp_pool2d` along one dimension."""
    return _lp_pool(avg_pool1d, 1, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool2d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """The p-norm of each window: (sum x^p)^(1/p), 0 where the sum is not positive.

    Args:
        input: (N, C, H, W) or (C, H, W), floating.
        norm_type: p.
        kernel_size, stride, ceil_mode: as for `avg_pool2d`.
    """
    return _lp_pool(avg_pool2d, 2, input, norm_type, kernel_size, stride, ceil_mode)


def lp_pool3d(input: Tensor, norm_type: float, kernel_size: Any, stride: Any = None, ceil_mode: bool = False) -> Tensor:
    """`lp_pool2d` over volumes."""
    return _lp_pool(avg_pool3d, 3, input, norm_type, kernel_size, stride, ceil_mode)


def _lp_pool(pool: Any, dims: int, input: Tensor, p: float, kernel: Any, stride: Any, ceil_mode: bool) -> Tensor:
    count = math.prod(sizes("lp_pool", "kernel_size", kernel, dims, least=1))
    means = pool(input**p, kernel, stride, 0, ceil_mode)
    return (sign(means) * relu(abs_(means)) * count) ** (1 / p)
