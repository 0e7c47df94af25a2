"""Fractional max pooling: windows whose steps are drawn, so that the image shrinks by any factor."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.ops import max_pool_at
from minidl.ops.windows import Sizes, sizes
from minidl.random import default_generator

__all__ = ["fractional_max_pool2d", "fractional_max_pool3d"]


def fractional_max_pool2d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """The largest value of each of OH x OW windows whose steps are drawn, so that any size of the result will do.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        output_size: (OH, OW), or one number for both.
        output_ratio: instead of it, shares of H and W, between 0 and 1.
        return_indices: give (values, places), places being row * W + column, int64.
        _random_samples: (N, C, 2), from 0 up to 1: what is drawn for the columns and rows of each channel; further
            ones are left.

    Raises:
        ArgumentError: if neither `output_size` nor `output_ratio` is given, or a ratio is none.
        ShapeError: if shapes do not fit, or there is no room for so many windows.

    Source: Graham, arXiv:1412.6071.
    """
    return _fractional(2, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def fractional_max_pool3d(
    input: Tensor, kernel_size: Any, output_size: Any = None, output_ratio: Any = None, return_indices: bool = False,
    _random_samples: Tensor | None = None,
) -> Any:  # fmt: skip
    """`fractional_max_pool2d` over volumes; what is drawn is for depth, height and width, in this order."""
    return _fractional(3, input, kernel_size, output_size, output_ratio, return_indices, _random_samples)


def _fractional(
    dims: int, input: Tensor, kernel_size: Any, output_size: Any, output_ratio: Any, indices: bool,
    samples: Tensor | None,
) -> Any:  # fmt: skip
    name = f"fractional_max_pool{dims}d"
    if input.ndim not in (dims + 1, dims + 2) or not math.prod(input.shape[-dims - 1 :]):
        raise ShapeError(f"{name}: input must be (N, C, {', '.join('DHW'[3 - dims :])}), not empty; got {input.shape}")
    image, kernel = input.shape[-dims:], sizes(name, "kernel_size", kernel_size, dims, least=1)
    wanted = _wanted_size(name, image, output_size, output_ratio)
    if any(o + k - 1 > n for n, o, k in zip(image, wanted, kernel, strict=True)):
        raise ShapeError(f"{name}: {wanted} windows of {kernel} pixels need at least their sum less 1, got {image}")
    batch = input if input.ndim == dims + 2 else input.unsqueeze(0)
    shape = (*batch.shape[:2], dims)
    if samples is None:
        samples = Tensor.of(default_generator().uniform(shape, dtype=batch.dtype)).to(input.device)
    if samples.ndim != 3 or samples.shape[0] < shape[0] or samples.shape[1:] != shape[1:]:
        raise ShapeError(f"{name}: _random_samples must be {shape}, or for more images, got {samples.shape}")
    order = (1, 0) if dims == 2 else (0, 1, 2)
    starts = [
        Tensor.of(_starts(samples.array[: shape[0], :, at], n, o, k))
        for at, n, o, k in zip(order, image, wanted, kernel, strict=True)
    ]
    values, places = max_pool_at(batch, *starts, kernel_size=kernel, return_indices=True)
    if batch is not input:
        values, places = values.squeeze(0), places.squeeze(0)
    return (values, places) if indices else values


def _wanted_size(name: str, image: Sizes, output_size: Any, output_ratio: Any) -> Sizes:
    if output_size is not None:
        return sizes(name, "output_size", output_size, len(image), least=1)
    ratios = tuple(output_ratio) if isinstance(output_ratio, (tuple, list)) else (output_ratio,) * len(image)
    if len(ratios) != len(image) or not all(r is not None and 0 < r < 1 for r in ratios):
        raise ArgumentError(f"{name}: needs output_size, or output_ratio between 0 and 1, got {output_ratio}")
    return sizes(name, "output_size", [int(n * r) for n, r in zip(image, ratios, strict=True)], len(image), least=1)


def _starts(samples: Any, length: int, windows: int, kernel: int) -> Any:
    """(N, C, windows): where windows begin, in steps of the mean length rounded up or down, the last at the edge."""
    step = samples.dtype.type(length - kernel) / samples.dtype.type(max(windows - 1, 1))
    first = samples[..., None]
    ends = ((np.arange(windows).astype(samples.dtype) + first) * step).astype(np.int64)
    starts = ends - (first * step).astype(np.int64)
    starts[..., -1] = length - kernel
    return starts
