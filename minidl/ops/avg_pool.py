"""avg_pool1d to 3d and their adaptive forms: the mean of each window.

Linear, so the gradient is the adjoint, and the adjoint's gradient is the op again.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device import Kernel
from minidl.device.dtypes import is_floating
from minidl.device.threads import Blocks
from minidl.errors import DTypeError, ShapeError
from minidl.ops.max_pool import pool_sizes, pool_windows
from minidl.ops.reduce import mean
from minidl.ops.window_loops import geometry, mean_of_windows, pixels_seen, shares, spread_means, windows_seeing
from minidl.ops.windows import Sizes, found_once, sizes, taps

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
]  # fmt: skip


class AvgPool(Op):
    name = "avg_pool"
    images = ("x", "out")

    @staticmethod
    def infer(
        x: Spec, *, image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes,
        count_padding: bool, divisor: int | None,
    ) -> Spec:  # fmt: skip
        return x.with_shape(*x.shape[: -len(kernel)], *windows)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes,
                  padding: Sizes, count_padding: bool, divisor: int | None) -> None:  # fmt: skip
        out[...] = 0
        for tap in taps(image, windows, kernel, stride, padding, (1,) * len(kernel)):
            out[(..., *tap.windows)] += x[(..., *tap.pixels)]
        out /= xp.asarray(_counts(image, windows, kernel, stride, padding, count_padding, divisor), out.dtype)

    @staticmethod
    def bind(out: Array, x: Array, **params: Any) -> Run:
        return _sliding(mean_of_windows, pixels_seen, out, x, **params)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AvgPoolAdjoint.apply(g, **node.params),)


class AvgPoolAdjoint(Op):
    """Spread each window's gradient evenly over the window."""

    name = "avg_pool_adjoint"
    images = ("g", "out")

    @staticmethod
    def infer(
        g: Spec, *, image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes,
        count_padding: bool, divisor: int | None,
    ) -> Spec:  # fmt: skip
        return g.with_shape(*g.shape[: -len(kernel)], *image)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes,
                  padding: Sizes, count_padding: bool, divisor: int | None) -> None:  # fmt: skip
        share = g / xp.asarray(_counts(image, windows, kernel, stride, padding, count_padding, divisor), g.dtype)
        out[...] = 0
        for tap in taps(image, windows, kernel, stride, padding, (1,) * len(kernel)):
            out[(..., *tap.pixels)] += share[(..., *tap.windows)]

    @staticmethod
    def bind(out: Array, g: Array, **params: Any) -> Run:
        return _sliding(spread_means, windows_seeing, out, g, **params)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AvgPool.apply(g, **node.params),)


class AdaptiveAvgPool(Op):
    """Means of windows that share the image out evenly; they may overlap by a pixel."""

    name = "adaptive_avg_pool"
    images = ("x", "out")

    @staticmethod
    def infer(x: Spec, *, image: Sizes, windows: Sizes) -> Spec:
        return x.with_shape(*x.shape[: -len(image)], *windows)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, image: Sizes, windows: Sizes) -> None:
        dims = tuple(range(-len(image), 0))
        for window, pixels in shares(image, windows):
            out[(..., *window)] = xp.sum(x[(..., *pixels)], axis=dims)
        out /= xp.asarray(_shared(image, windows), out.dtype)

    @staticmethod
    def bind(out: Array, x: Array, *, image: Sizes, windows: Sizes) -> Run:
        return _loop(mean_of_windows, out, x, _shared(image, windows), pixels_seen(image, windows), image, windows)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AdaptiveAvgPoolAdjoint.apply(g, **node.params),)


class AdaptiveAvgPoolAdjoint(Op):
    """Spread each window's gradient evenly over the window."""

    name = "adaptive_avg_pool_adjoint"
    images = ("g", "out")

    @staticmethod
    def infer(g: Spec, *, image: Sizes, windows: Sizes) -> Spec:
        return g.with_shape(*g.shape[: -len(image)], *image)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, image: Sizes, windows: Sizes) -> None:
        share = g / xp.asarray(_shared(image, windows), g.dtype)
        out[...] = 0
        for window, pixels in shares(image, windows):
            out[(..., *pixels)] += share[(..., *window)].reshape(*g.shape[: -len(image)], *[1] * len(image))

    @staticmethod
    def bind(out: Array, g: Array, *, image: Sizes, windows: Sizes) -> Run:
        return _loop(spread_means, out, g, _shared(image, windows), windows_seeing(image, windows), image, windows)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AdaptiveAvgPool.apply(g, **node.params),)


@functools.lru_cache(maxsize=256)
def _shared(image: Sizes, windows: Sizes) -> Array:
    """How many pixels each window of adaptive pooling has."""
    lines = np.split(pixels_seen(image, windows)[3 - len(image) :, 1], np.cumsum(windows)[:-1])
    return functools.reduce(np.multiply.outer, lines)


def _sliding(
    loop: Kernel, table: Callable[..., Array], out: Array, given: Array, *, image: Sizes, windows: Sizes,
    kernel: Sizes, stride: Sizes, padding: Sizes, count_padding: bool, divisor: int | None,
) -> Run:  # fmt: skip
    counts = _counts(image, windows, kernel, stride, padding, count_padding, divisor)
    lines = table(image, windows, kernel, stride, padding, (1,) * len(image))
    return _loop(loop, out, given, counts, lines, image, windows)


def _loop(
    loop: Kernel, out: Array, given: Array, counts: Array, table: Array, image: Sizes, windows: Sizes
) -> Run:  # fmt: skip
    sizes, shape, channels = counts.astype(out.dtype).reshape(-1), geometry(image, windows), out.shape[-1]
    go = Blocks(loop, math.prod(out.shape[:-2]), size=out.nbytes + given.nbytes)
    return lambda out, given: go(out.reshape(-1), given.reshape(-1), sizes, table, shape, channels)


@functools.lru_cache(maxsize=256)
def _counts(
    image: Sizes, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, count_padding: bool, divisor: int | None
) -> Array:
    """What each window's sum is divided by."""
    if divisor is not None:
        return np.full(windows, divisor)
    total = np.ones((), np.int64)
    for n, w, k, s, p in zip(image, windows, kernel, stride, padding, strict=True):
        start = np.arange(w) * s - p
        low, high = (-p, n + p) if count_padding else (0, n)
        total = np.multiply.outer(total, np.minimum(start + k, high) - np.maximum(start, low))
    return total


def avg_pool1d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True) -> Tensor:  # fmt: skip
    """`avg_pool2d` along one dimension."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def avg_pool2d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """The mean of each window of `input`.

    Args:
        input: (N, C, H, W) or (C, H, W), floating.
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        stride: step between windows; `kernel_size` when None.
        padding: zeros around the image; at most half of the window.
        ceil_mode: also use windows that reach over the lower or right edge.
        count_include_pad: divide by all pixels of a window, its zeros included.
        divisor_override: divide every sum by this number instead.

    Returns:
        (N, C, OH, OW) with OH = (H + 2 padding - kH) // stride + 1, and OW likewise.

    Raises:
        ShapeError: if the window does not fit, or the padding is too wide.
        DTypeError: for whole numbers.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998, section II.A.

    >>> avg_pool2d(Tensor([[[[1, 3], [5, 7]]]]), 2)
    tensor([[[[4.]]]])
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
               count_include_pad: bool = True, divisor_override: int | None = None) -> Tensor:  # fmt: skip
    """`avg_pool2d` over volumes."""
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool(
    dims: int, input: Tensor, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_padding: bool,
    divisor: int | None,
) -> Tensor:  # fmt: skip
    if not is_floating(input.dtype):
        raise DTypeError(f"avg_pool{dims}d: input must be floating, got {input.dtype}; use input.float()")
    params = _settings(dims, input.shape, kernel_size, stride, padding, ceil_mode, count_padding, divisor)
    batch = input if len(input.shape) == dims + 2 else input.unsqueeze(0)
    result: Tensor = AvgPool.apply(batch, **params)
    return result if batch is input else result.squeeze(0)


@found_once
def _settings(
    dims: int, input: Sizes, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_padding: bool,
    divisor: int | None,
) -> dict[str, Any]:  # fmt: skip
    """The parameters of the op, after all was found to fit."""
    name, image = f"avg_pool{dims}d", input[-dims:]
    if divisor == 0:
        raise ShapeError(f"{name}: divisor_override must not be 0")
    kernel, steps, borders = pool_sizes(name, dims, input, kernel_size, stride, padding)
    windows = pool_windows(name, image, kernel, steps, borders, (1,) * dims, ceil_mode)
    return {"image": image, "windows": windows, "kernel": kernel, "stride": steps, "padding": borders,
            "count_padding": count_padding, "divisor": divisor}  # fmt: skip


def adaptive_avg_pool1d(input: Tensor, output_size: Any) -> Tensor:
    """`adaptive_avg_pool2d` along one dimension."""
    return _adaptive(1, input, output_size)


def adaptive_avg_pool2d(input: Tensor, output_size: Any) -> Tensor:
    """The mean of each of OH x OW windows that together cover the image.

    Args:
        input: (N, C, H, W) or (C, H, W), floating.
        output_size: (OH, OW), or one number for both; None keeps a length. Window i goes from floor(i H / OH) up to,
            not including, ceil((i + 1) H / OH).

    Raises:
        ShapeError: if `output_size` is no such size.
        DTypeError: for whole numbers.

    >>> adaptive_avg_pool2d(Tensor([[[[1, 3], [5, 7]]]]), 1)
    tensor([[[[4.]]]])
    """
    return _adaptive(2, input, output_size)


def adaptive_avg_pool3d(input: Tensor, output_size: Any) -> Tensor:
    """`adaptive_avg_pool2d` over volumes."""
    return _adaptive(3, input, output_size)


def _adaptive(dims: int, input: Tensor, output_size: Any) -> Tensor:
    name = f"adaptive_avg_pool{dims}d"
    if input.ndim not in (dims + 1, dims + 2):
        raise ShapeError(f"{name}: input must be (N, C, {', '.join('DHW'[3 - dims :])}), got {input.shape}")
    if not is_floating(input.dtype):
        raise DTypeError(f"{name}: input must be floating, got {input.dtype}; use input.float()")
    image = input.shape[-dims:]
    if isinstance(output_size, (tuple, list)) and len(output_size) == dims:
        output_size = tuple(n if o is None else o for n, o in zip(image, output_size, strict=True))
    wanted = image if output_size is None else sizes(name, "output_size", output_size, dims, least=1)
    if max(wanted) == 1:
        return mean(input, range(-dims, 0), keepdim=True)
    if all(n % o == 0 for n, o in zip(image, wanted, strict=True)):
        window = tuple(n // o for n, o in zip(image, wanted, strict=True))
        return _avg_pool(dims, input, window, None, 0, False, True, None)
    batch = input if input.ndim == dims + 2 else input.unsqueeze(0)
    result: Tensor = AdaptiveAvgPool.apply(batch, image=image, windows=wanted)
    return result if batch is input else result.squeeze(0)
