"""max_pool1d to 3d: the largest value of each window.

Forward notes where each maximum came from; backward needs only those places. Each output reads k² values, so both
directions are bound by memory, not by arithmetic. Backward gathers: each pixel visits the windows that can see it, and
adds up those it won. Windows that scattered to their winners would meet there: atomic additions on a GPU, whose order
changes from run to run, or a single thread for each image on the CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device import CudaKernels
from minidl.device.dtypes import DEFAULT_INT, DType
from minidl.device.threads import Blocks
from minidl.errors import ShapeError
from minidl.ops.window_loops import geometry, max_of_windows, pixels_seen, shares, spread_maxima, windows_seeing
from minidl.ops.windows import Sizes, found_once, sizes, taps, window_count

__all__ = ["max_pool1d", "max_pool2d", "max_pool3d"]

CUDA = CudaKernels(__file__, "max_pool.cuh")


class MaxPool(Op):
    """The maxima, and their places in the flattened image: the first of equals, and NaN above all."""

    name = "max_pool"
    saves = ("out",)
    saves_results = (1,)
    images = ("x", "out")

    @staticmethod
    def infer(
        x: Spec, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes
    ) -> tuple[Spec, Spec]:
        shape = (*x.shape[: -len(kernel)], *windows)
        return x.with_shape(*shape), Spec(shape, place_type(x.shape[-len(kernel) :]))

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes,
    ) -> None:  # fmt: skip
        best, place = out
        image = x.shape[-len(kernel) :]
        pixels = xp.arange(math.prod(image)).reshape(image)
        best[...] = -xp.inf if x.dtype.kind == "f" else xp.iinfo(x.dtype).min
        place[...] = -1
        for tap in taps(image, windows, kernel, stride, padding, dilation):
            at = (..., *tap.windows)
            value = x[(..., *tap.pixels)]
            wins = (value > best[at]) | (place[at] < 0) | (value != value)
            xp.copyto(best[at], value, where=wins)
            xp.copyto(place[at], pixels[tap.pixels], where=wins)

    @staticmethod
    def bind(
        out: tuple[Array, Array], x: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes,
    ) -> Run:  # fmt: skip
        image = x.shape[1:-1]
        seen = pixels_seen(image, windows, kernel, stride, padding, dilation)
        return _maxima(out[0], x, seen, geometry(image, windows, dilation))

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        two = len(params["kernel"]) == 2
        return super().cuda_takes(arrays, params) and two and place_type(arrays[0].shape[-2:]) == np.int32

    @staticmethod
    def cuda(
        out: tuple[Array, Array], x: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes,
    ) -> None:  # fmt: skip
        best, place = out
        CUDA.launch(
            "max_pool2d", best.size, best, place, x, *x.shape[-2:], *windows, *kernel, *stride, *padding, *dilation
        )

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        _, place = node.saved[0]
        image = node.specs[0].shape[-len(node.params["kernel"]) :]
        return (MaxPoolSpread.apply(g[0], place, image=image, **node.params),)


class MaxPoolSpread(Op):
    """Add the gradient of each window at the pixel that won it."""

    name = "max_pool_spread"
    saves = ("place",)
    images = ("g", "place", "out")

    @staticmethod
    def infer(g: Spec, place: Spec, *, image: Sizes, **window: Sizes) -> Spec:
        return g.with_shape(*g.shape[: -len(image)], *image)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, place: Array, *, image: Sizes, **window: Sizes) -> None:
        flat = _planes(place, len(image)).astype(xp.int64)
        flat = (flat + xp.arange(len(flat)).reshape(-1, 1) * math.prod(image)).reshape(-1)
        out[...] = xp.bincount(flat, weights=g.reshape(-1), minlength=out.size).reshape(out.shape)

    @staticmethod
    def bind(out: Array, g: Array, place: Array, *, image: Sizes, windows: Sizes, **window: Sizes) -> Run:
        seeing, shape, channels = windows_seeing(image, windows, **window), geometry(image, windows), out.shape[-1]
        spread = Blocks(spread_maxima, math.prod(out.shape[:-2]), size=out.nbytes + g.nbytes + place.nbytes)

        def run(out: Array, g: Array, place: Array) -> None:
            spread(out.reshape(-1), g.reshape(-1), place.reshape(-1), seeing, shape, channels)

        return run

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        slide = len(params["image"]) == 2 and "kernel" in params
        return super().cuda_takes(arrays, params) and slide and arrays[1].dtype == np.int32

    @staticmethod
    def cuda(
        out: Array, g: Array, place: Array,
        *, image: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, windows: Sizes,
    ) -> None:  # fmt: skip
        spans = (d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
        CUDA.launch("max_pool2d_spread", out.size, out, g, place, *image, *windows, *spans, *stride, *padding)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (place,) = node.saved
        return MaxPoolPick.apply(g, place, **node.params), None


class MaxPoolPick(Op):
    """The value at the pixel that won each window."""

    name = "max_pool_pick"
    saves = ("place",)

    @staticmethod
    def infer(x: Spec, place: Spec, *, image: Sizes, **window: Sizes) -> Spec:
        return x.with_shape(*place.shape)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, place: Array, *, image: Sizes, **window: Sizes) -> None:
        picked = xp.take_along_axis(_planes(x, len(image)), _planes(place, len(image)), axis=1)
        out[...] = picked.reshape(out.shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (place,) = node.saved
        return MaxPoolSpread.apply(g, place, **node.params), None


class AdaptiveMaxPool(Op):
    """The maxima of windows that share the image out evenly, and their places, as in `MaxPool`."""

    name = "adaptive_max_pool"
    saves = ("out",)
    saves_results = (1,)
    images = ("x", "out")

    @staticmethod
    def infer(x: Spec, *, windows: Sizes) -> tuple[Spec, Spec]:
        shape = (*x.shape[: -len(windows)], *windows)
        return x.with_shape(*shape), Spec(shape, place_type(x.shape[-len(windows) :]))

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, windows: Sizes) -> None:
        best, place = out
        image, lead = x.shape[-len(windows) :], x.shape[: -len(windows)]
        pixels = xp.arange(math.prod(image)).reshape(image)
        for window, seen in shares(image, windows):
            here = pixels[seen].reshape(-1)
            numbers = x[(..., *seen)].reshape(*lead, len(here))
            is_nan = numbers != numbers
            last_nan = len(here) - 1 - xp.argmax(is_nan[..., ::-1], axis=-1)
            won = xp.where(is_nan.any(axis=-1), last_nan, xp.argmax(numbers, axis=-1))
            best[(..., *window)] = xp.take_along_axis(numbers, won[..., None], axis=-1)[..., 0]
            place[(..., *window)] = here[won]

    @staticmethod
    def bind(out: tuple[Array, Array], x: Array, *, windows: Sizes) -> Run:
        image = x.shape[1:-1]
        return _maxima(out[0], x, pixels_seen(image, windows), geometry(image, windows))

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        _, place = node.saved[0]
        image = node.specs[0].shape[-len(node.params["windows"]) :]
        return (MaxPoolSpread.apply(g[0], place, image=image, **node.params),)


def _maxima(best: Array, x: Array, seen: Array, shape: Array) -> Run:
    channels, find = x.shape[-1], Blocks(max_of_windows, math.prod(best.shape[:-2]), size=x.nbytes + 2 * best.nbytes)

    def run(out: tuple[Array, Array], x: Array) -> None:
        best, place = out
        find(best.reshape(-1), place.reshape(-1), x.reshape(-1), seen, shape, channels)

    return run


def place_type(image: Sizes) -> DType:
    """The type of places in an image: the narrowest of int32 and int64 that holds them, for they go through memory."""
    return np.dtype(np.int32 if math.prod(image) < 2**31 else np.int64)


def _planes(array: Array, dims: int) -> Array:
    """(N, C, *image) as (N C, pixels)."""
    return array.reshape(math.prod(array.shape[:-dims]), math.prod(array.shape[-dims:]))


def max_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """`max_pool2d` along one dimension."""
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """The largest value of each window of `input`.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        stride: step between windows; `kernel_size` when None.
        padding: pixels around the image that never win; at most half of the window, dilation included.
        dilation: step between the pixels of a window.
        ceil_mode: also use windows that reach over the lower or right edge.
        return_indices: give (values, places), places being row * W + column, int64.

    Returns:
        (N, C, OH, OW) with OH = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, and OW likewise.

    Raises:
        ShapeError: if the window does not fit, the padding is too wide, or a dilated window misses the image.

    >>> max_pool2d(Tensor([[[[1, 3], [5, 7]]]]), 2)
    tensor([[[[7.]]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
               ceil_mode: bool = False, return_indices: bool = False) -> Any:  # fmt: skip
    """`max_pool2d` over volumes."""
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    dims: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, indices: bool
) -> Any:
    params = _settings(dims, input.shape, kernel_size, stride, padding, dilation, ceil_mode)
    batch = input if len(input.shape) == dims + 2 else input.unsqueeze(0)
    values, places = MaxPool.apply(batch, **params)
    if batch is not input:
        values, places = values.squeeze(0), places.squeeze(0)
    return (values, places.to(DEFAULT_INT)) if indices else values


@found_once
def _settings(
    dims: int, input: Sizes, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> dict[str, Sizes]:
    """The parameters of the op, after all was found to fit."""
    name, image = f"max_pool{dims}d", input[-dims:]
    spread = sizes(name, "dilation", dilation, dims, least=1)
    kernel, steps, borders = pool_sizes(name, dims, input, kernel_size, stride, padding, spread)
    windows = pool_windows(name, image, kernel, steps, borders, spread, ceil_mode)
    if max(spread) > 1 or 0 in image:
        _check_all_see_pixels(name, image, windows, kernel, steps, borders, spread)
    return {"kernel": kernel, "stride": steps, "padding": borders, "dilation": spread, "windows": windows}


def _check_all_see_pixels(
    name: str, image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> None:
    for n, w, k, s, p, d in zip(image, windows, kernel, stride, padding, dilation, strict=True):
        if any(not any(0 <= i * s - p + a * d < n for a in range(k)) for i in range(w)):
            raise ShapeError(
                f"{name}: with padding {padding} and dilation {dilation} a window sees no pixel of the image {image}"
            )


def pool_sizes(
    name: str, dims: int, input: Sizes, kernel_size: Any, stride: Any, padding: Any, dilation: Sizes = (1, 1, 1)
) -> tuple[Sizes, Sizes, Sizes]:
    """Kernel, stride and padding of a pooling op for each dimension.

    Raises:
        ShapeError: if one is no size, the input has another rank, or the padding is wider than half of the window.
    """
    if len(input) not in (dims + 1, dims + 2):
        raise ShapeError(f"{name}: input must be (N, C, {', '.join('DHW'[3 - dims :])}), got {input}")
    kernel_sizes = sizes(name, "kernel_size", kernel_size, dims, least=1)
    steps = kernel_sizes if stride is None or stride in ([], ()) else sizes(name, "stride", stride, dims, least=1)
    borders = sizes(name, "padding", padding, dims, least=0)
    if any(2 * p > d * (k - 1) + 1 for p, k, d in zip(borders, kernel_sizes, dilation, strict=False)):
        raise ShapeError(f"{name}: padding {borders} must be at most half of kernel_size {kernel_sizes}")
    return kernel_sizes, steps, borders


@functools.lru_cache(maxsize=1024)
def pool_windows(
    name: str, image: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, ceil_mode: bool
) -> Sizes:
    """How many windows there are; in ceil mode also those that begin on the image and end behind it."""
    counts = window_count(name, image, kernel, stride, padding, dilation)
    if not ceil_mode:
        return counts
    more = []
    for count, n, k, s, p, d in zip(counts, image, kernel, stride, padding, dilation, strict=True):
        reaches = (count - 1) * s + d * (k - 1) + 1 < n + 2 * p
        more.append(count + int(reaches and count * s < n + p))
    return tuple(more)
