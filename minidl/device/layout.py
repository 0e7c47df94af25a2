"""Memory layouts: a tensor of images is (N, C, *space) whichever way its numbers lie in memory.

Channels-last (pixel by pixel, the channels of a pixel side by side) is how the kernels of convolution, pooling and
normalisation work: a vector then holds channels, every pixel is a row of a matrix, and no image needs turning. An op
hands on the layout it was given, so a net converts its images once, at its first convolution.
"""

from __future__ import annotations

import functools

from minidl.device.device import Array


@functools.lru_cache(maxsize=1024)
def undone(order: tuple[int, ...]) -> tuple[int, ...]:
    """The order of dimensions that undoes `order`."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))


@functools.cache
def last_order(ndim: int) -> tuple[int, ...]:
    """The order of dimensions in which (N, C, *space) lies channels-last."""
    return (0, *range(2, ndim), 1)


def channels_last_view(array: Array) -> Array:
    """(N, C, *space) seen as (N, *space, C): no number is moved. Arrays without space stay as they are.

    >>> import numpy as np
    >>> channels_last_view(np.zeros((2, 3, 4, 5))).shape
    (2, 4, 5, 3)
    """
    return array.transpose(last_order(array.ndim)) if array.ndim > 2 else array


def is_channels_last(array: Array) -> bool:
    """Whether an array (N, C, *space) lies channels-last; one that could be called either (C = 1, say) does."""
    return bool(channels_last_view(array).flags.c_contiguous)


def dense_order(array: Array) -> tuple[int, ...] | None:
    """The order of dimensions in which an array lies dense in memory; None if it does not."""
    if array.flags.c_contiguous:
        return tuple(range(array.ndim))
    return _dense(array.shape, array.strides, array.itemsize)


@functools.lru_cache(maxsize=1024)
def _dense(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> tuple[int, ...] | None:
    order = tuple(sorted(range(len(shape)), key=lambda d: -strides[d]))
    step = itemsize
    for d in reversed(order):
        if shape[d] != 1 and strides[d] != step:
            return None
        step *= shape[d]
    return order


def common_order(shape: tuple[int, ...], arrays: tuple[Array, ...]) -> tuple[int, ...] | None:
    """The order of memory in which a result of this shape should lie beside the arrays it is made of; None for C's.

    Images that lie channels-last hand that on, whatever lies beside them. Else it is the order of the first array of
    that shape, if it is dense.
    """
    found = None
    for array in arrays:
        if not array.flags.c_contiguous and hands_on(array, shape):
            return last_order(array.ndim)
        if found is None and array.shape == shape:
            found = array
    return None if found is None or found.flags.c_contiguous else dense_order(found)


def hands_on(array: Array, shape: tuple[int, ...]) -> bool:
    """Whether a result of this shape should lie channels-last because `array` does: batches of images (N, C, *space).

    Of three dimensions only where the shape is the same: else it may just as well be a matrix that was transposed.
    """
    if array.flags.c_contiguous or array.ndim < 3 or array.ndim != len(shape):
        return False
    return (array.ndim > 3 or array.shape == shape) and is_channels_last(array)


def in_order(array: Array, order: tuple[int, ...]) -> Array:
    """`array`, which may have fewer dimensions than `order`, with its dimensions in that order; a number as it is."""
    missing = len(order) - array.ndim
    if missing and array.ndim:
        array = array.reshape((1,) * missing + array.shape)
    return array.transpose(order) if array.ndim else array
