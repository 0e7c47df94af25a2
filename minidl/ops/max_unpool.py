"""max_unpool1d to 3d: pooled values back at the pixels that they came from, zeros elsewhere.

A unit of work is an image, of one channel or, channels-last, of all: it is cleared and written while it is in a cache.
The gradient reads the same places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import Kernel, kernel, parallel
from minidl.device.layout import channels_last_view
from minidl.device.lines import clear_line
from minidl.device.turn import contiguous
from minidl.errors import ShapeError
from minidl.ops.indexing import has_only
from minidl.ops.windows import Sizes, sizes

__all__ = ["max_unpool1d", "max_unpool2d", "max_unpool3d"]

FLOATS = ("float32", "float64")


class Placing(Op):
    """Base of the op and its gradient."""

    saves = ("index",)
    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        values, index = arrays
        return super().cpu_takes(arrays, params) and index.dtype == np.int64 and values.size > 0 and index.size > 0


class MaxUnpool(Placing):
    """Zeros, with each number of x at the pixel of its image that `index` names; of several the last one."""

    name = "max_unpool"

    @staticmethod
    def infer(x: Spec, index: Spec, *, image: Sizes) -> Spec:
        return x.with_shape(*x.shape[: -len(image)], *image)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, index: Array, *, image: Sizes) -> None:
        spread = xp.zeros((*x.shape[: -len(image)], math.prod(image)), x.dtype)
        xp.put_along_axis(spread, _flat(index, image), _flat(x, image), -1)
        out[...] = spread.reshape(out.shape)

    @staticmethod
    def cpu(out: Array, x: Array, index: Array, *, image: Sizes) -> None:
        _run(_put, out, x, index, image)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        return MaxUnpoolGrad.apply(g, index, **node.params), None


class MaxUnpoolGrad(Placing):
    """The number of g at the pixel that `index` names."""

    name = "max_unpool_grad"

    @staticmethod
    def infer(g: Spec, index: Spec, *, image: Sizes) -> Spec:
        return g.with_shape(*index.shape)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, index: Array, *, image: Sizes) -> None:
        out[...] = xp.take_along_axis(_flat(g, image), _flat(index, image), -1).reshape(out.shape)

    @staticmethod
    def cpu(out: Array, g: Array, index: Array, *, image: Sizes) -> None:
        _run(_take, out, g, index, image)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        return MaxUnpool.apply(g, index, **node.params), None


def _flat(x: Array, image: Sizes) -> Array:
    lead = x.shape[: -len(image)]
    return x.reshape(*lead, math.prod(x.shape[-len(image) :]))


def _run(run: Kernel, out: Array, x: Array, index: Array, image: Sizes) -> None:
    """One of the kernels below, on arrays that lie as `out` does."""
    pixels, count, channels = math.prod(image), math.prod(index.shape[-len(image) :]), 1
    if not out.flags.c_contiguous:
        channels = out.shape[1]
        out, x, index = (channels_last_view(a) for a in (out, x, index))
    flat = out.reshape(-1), contiguous(x).reshape(-1), contiguous(index).reshape(-1)
    parallel(run, index.size // (count * channels), *flat, pixels, count, channels)


@kernel("T[::1], const T[::1], const int64[::1], intp, intp, intp", T=FLOATS)
def _put(begin: int, end: int, out: Array, x: Array, index: Array, pixels: int, count: int, channels: int) -> None:
    """One unit is an image."""
    for image in range(begin, end):
        first = image * pixels * channels
        clear_line(out, first, out, 0, pixels * channels)
        if channels == 1:
            for i in range(image * count, (image + 1) * count):
                out[first + index[i]] = x[i]
        else:
            for i in range(image * count, (image + 1) * count):
                for at in range(i * channels, (i + 1) * channels):
                    out[first + index[at] * channels + at - i * channels] = x[at]


@kernel("T[::1], const T[::1], const int64[::1], intp, intp, intp", T=FLOATS)
def _take(begin: int, end: int, out: Array, g: Array, index: Array, pixels: int, count: int, channels: int) -> None:
    """One unit is an image."""
    for image in range(begin, end):
        first = image * pixels * channels
        if channels == 1:
            for i in range(image * count, (image + 1) * count):
                out[i] = g[first + index[i]]
        else:
            for i in range(image * count, (image + 1) * count):
                for at in range(i * channels, (i + 1) * channels):
                    out[at] = g[first + index[at] * channels + at - i * channels]


def max_unpool1d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """`max_unpool2d` along one dimension."""
    return _unpool(1, input, indices, kernel_size, stride, padding, output_size)


def max_unpool2d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """Zeros, with each value of `input` at the pixel that `indices` names: undoes max pooling but for what lost.

    Args:
        input: (N, C, H, W) or (C, H, W).
        indices: as `max_pool2d` gives them with return_indices, of the shape of `input`.
        kernel_size, stride, padding: those of the pooling; the image is (H - 1) stride - 2 padding + kernel_size.
        output_size: the spatial lengths, where several lead to the same pooled size.

    Raises:
        ShapeError: if shapes do not fit, or an index lies outside of the image.
    """
    return _unpool(2, input, indices, kernel_size, stride, padding, output_size)


def max_unpool3d(
    input: Tensor, indices: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, output_size: Any = None
) -> Tensor:
    """`max_unpool2d` over volumes."""
    return _unpool(3, input, indices, kernel_size, stride, padding, output_size)


def _unpool(
    dims: int, input: Tensor, indices: Tensor, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Tensor:
    name = f"max_unpool{dims}d"
    if input.ndim not in (dims + 1, dims + 2) or input.shape != indices.shape or indices.dtype.kind not in "iu":
        raise ShapeError(f"{name}: input must have {dims + 1} or {dims + 2} dimensions and indices (int64) its shape, "
                         f"got {input.shape} and {indices.dtype} {indices.shape}")  # fmt: skip
    kernel = sizes(name, "kernel_size", kernel_size, dims, least=1)
    steps = kernel if stride is None or stride in ([], ()) else sizes(name, "stride", stride, dims, least=1)
    border = sizes(name, "padding", padding, dims, least=0)
    least = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(input.shape[-dims:], steps, border, kernel, strict=True)]
    image = least if output_size is None else [int(n) for n in tuple(output_size)[-dims:]]
    if len(image) != dims or any(abs(n - m) >= s for n, m, s in zip(image, least, steps, strict=True)):
        raise ShapeError(f"{name}: output_size must lie within a stride of {least}, got {output_size}")
    if not has_only(indices.array, pixels := math.prod(image)):
        raise ShapeError(
            f"{name}: indices must lie from 0 to {pixels - 1}, the pixels of {tuple(image)}, "
            f"got {int(indices.array.min())} to {int(indices.array.max())}"
        )
    result: Tensor = MaxUnpool.apply(input, indices, image=tuple(image))
    return result
