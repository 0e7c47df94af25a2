"""Memory layouts: a tensor of images is (N, C, *space) whichever way its numbers lie in memory.

Channels-last (pixel by pixel, the channels of a pixel side by side) is how the kernels of convolution, pooling and
normalisation work: a vector then holds channels, every pixel is a row of a matrix, and no image needs turning. An op
hands on the layout it was given, so a net converts its images once, at its first convolution.
"""

from __future__ import annotations

import functools

import numpy as np

from minidl.device.device import Array


@functools.cache
def _last(ndim: int) -> tuple[int, ...]:
    return (0, *range(2, ndim), 1)


@functools.cache
def _first(ndim: int) -> tuple[int, ...]:
    return (0, ndim - 1, *range(1, ndim - 1))


def channels_last_view(array: Array) -> Array:
    """(N, C, *space) seen as (N, *space, C): no number is moved. Arrays without space stay as they are.

    >>> channels_last_view(np.zeros((2, 3, 4, 5))).shape
    (2, 4, 5, 3)
    """
    return array.transpose(_last(array.ndim)) if array.ndim > 2 else array


def channels_first_view(array: Array) -> Array:
    """The way back: (N, *space, C) seen as (N, C, *space)."""
    return array.transpose(_first(array.ndim)) if array.ndim > 2 else array


def is_channels_last(array: Array) -> bool:
    """Whether an array (N, C, *space) lies channels-last; one that could be called either (C = 1, say) does."""
    return bool(channels_last_view(array).flags.c_contiguous)


def empty_channels_last(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """A new array (N, C, *space) that lies channels-last."""
    if len(shape) < 3:
        return np.empty(shape, dtype)
    return channels_first_view(np.empty((shape[0], *shape[2:], shape[1]), dtype))


def in_memory_order(arrays: tuple[Array, ...]) -> list[Array] | None:
    """Arrays of one shape that lie alike, as C-contiguous arrays of one other shape; None if they lie differently."""
    if all(a.flags.c_contiguous for a in arrays):
        return list(arrays)
    views = [channels_last_view(a) for a in arrays]
    return views if all(v.flags.c_contiguous for v in views) else None
