"""interpolate: images at another size, nearest, linear or cubic, one dimension after the other.

Along one dimension each output is a weighted sum of a few inputs, its taps, with places that only grow; so the adjoint
sums runs of equal places.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device.dtypes import DType, is_floating
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.ops.avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from minidl.ops.resize_loops import Axis, resize, taps_of
from minidl.ops.windows import Sizes, sizes

__all__ = ["interpolate"]

LINEAR = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


class Resizing(Op):
    """Base of the op and its adjoint."""

    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0


class Resize(Resizing):
    """The last dimensions at other lengths, one axis each."""

    name = "resize"

    @staticmethod
    def infer(x: Spec, *, axes: tuple[Axis, ...]) -> Spec:
        return x.with_shape(*x.shape[: -len(axes)], *[new for _, new, _, _ in axes])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, axes: tuple[Axis, ...]) -> None:
        for dim, axis in enumerate(axes, x.ndim - len(axes)):
            taps = zip(*taps_of(*axis), strict=True)
            parts = [_weighed(xp, xp.take(x, xp.asarray(places), axis=dim), weights, dim) for places, weights in taps]
            x = functools.reduce(xp.add, parts)
        out[...] = x

    @staticmethod
    def cpu(out: Array, x: Array, *, axes: tuple[Axis, ...]) -> None:
        resize(out, x, axes, False)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (ResizeAdjoint.apply(g, **node.params),)


class ResizeAdjoint(Resizing):
    name = "resize_adjoint"

    @staticmethod
    def infer(g: Spec, *, axes: tuple[Axis, ...]) -> Spec:
        return g.with_shape(*g.shape[: -len(axes)], *[old for old, _, _, _ in axes])

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, axes: tuple[Axis, ...]) -> None:
        for dim, axis in enumerate(axes, g.ndim - len(axes)):
            total = xp.zeros((*g.shape[:dim], axis[0], *g.shape[dim + 1 :]), g.dtype)
            for places, weights in zip(*taps_of(*axis), strict=True):
                _add_runs(xp, total, _weighed(xp, g, weights, dim), places, dim)
            g = total
        out[...] = g

    @staticmethod
    def cpu(out: Array, g: Array, *, axes: tuple[Axis, ...]) -> None:
        resize(out, g, axes, True)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Resize.apply(g, **node.params),)


def _weighed(xp: Any, x: Array, weights: Array, dim: int) -> Array:
    """x times weights along a dimension; x itself, whole numbers perhaps, where all of them are 1."""
    if (weights == 1).all():
        return x
    return x * xp.asarray(weights, x.dtype).reshape([-1 if d == dim else 1 for d in range(x.ndim)])


def _add_runs(xp: Any, target: Array, values: Array, places: Array, dim: int) -> None:
    """target[places[i]] += values[i] along `dim`, for places that never fall: first of each run, second of each, ..."""
    found, starts, lengths = np.unique(places, return_index=True, return_counts=True)
    for turn in range(lengths.max()):
        left = lengths > turn
        at = (slice(None),) * dim + (_slice_or_array(xp, found[left]),)
        target[at] += xp.take(values, xp.asarray(starts[left] + turn), axis=dim)


def _slice_or_array(xp: Any, places: Array) -> Any:
    """Adjacent places as a slice: 40 times faster to add to than an array of places."""
    first, last = int(places[0]), int(places[-1])
    return slice(first, last + 1) if last - first + 1 == len(places) else xp.asarray(places)


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """`input` resized along its spatial dimensions.

    Args:
        input: (N, C, d1, ...), floating; whole numbers (a label map) only with "nearest" and "nearest-exact".
        size: the new lengths; a number, or one for each spatial dimension.
        scale_factor: factors instead of `size`; new lengths are rounded down.
        mode: "nearest"; "nearest-exact", which takes the pixel under the centre; "linear", "bilinear" or "trilinear"
            for one, two or three spatial dimensions; "bicubic" for two; "area", the mean of what each pixel covers.
        align_corners: map corner pixels onto corner pixels; linear and cubic modes only.
        recompute_scale_factor: use the ratio of the lengths, not the factor that was given.
        antialias: refused; PyTorch's widens the filter when it shrinks.

    Raises:
        ShapeError: if sizes do not fit.
        DTypeError: for whole numbers in a linear mode.
        MinidlError: for an unknown mode.

    >>> interpolate(Tensor([[[1.0, 3.0]]]), scale_factor=2, mode="linear")
    tensor([[[1. , 1.5, 2.5, 3. ]]])
    """
    if antialias:
        raise MinidlError("interpolate: antialias is not offered; smooth the input first, or use mode 'area'")
    asked: list[Any] = [size, scale_factor]
    given = [tuple(v) if hasattr(v, "__len__") else v for v in asked]
    kinds = tuple(map(type, given[0])) if type(given[0]) is tuple else ()  # 2.0 is no size, but equals 2
    axes = _axes(input.shape, input.dtype, *given, mode, align_corners, bool(recompute_scale_factor), kinds)
    if mode == "area":
        wanted = tuple([new for _, new, _, _ in axes])
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[len(axes) - 1](input, wanted)
    result: Tensor = Resize.apply(input, axes=axes)
    return result


@functools.lru_cache(maxsize=1024, typed=True)
def _axes(
    shape: tuple[int, ...], dtype: DType, size: Any, scale_factor: Any, mode: str, align_corners: bool | None,
    recompute_scale_factor: bool, kinds: tuple[type, ...],
) -> tuple[Axis, ...]:  # fmt: skip
    """What becomes of each spatial dimension.

    Remembered by all of that, the types of sizes included: finding it out takes as long as resizing a small image.
    """
    dims = len(shape) - 2
    if dims < 1:
        raise ShapeError(f"interpolate: input must be (N, C, d1, ...), got {shape}")
    plain = mode in ("nearest", "nearest-exact", "area")
    if not plain and LINEAR.get(mode) != dims:
        known = ["nearest", "nearest-exact", "area", *[m for m, d in LINEAR.items() if d == dims]]
        raise MinidlError(f"interpolate: mode for input {shape} must be one of {known}, got {mode!r}")
    if plain and align_corners is not None:
        raise MinidlError(f"interpolate: align_corners goes with the linear modes, not with {mode!r}")
    if not mode.startswith("nearest") and not is_floating(dtype):
        raise DTypeError(f"interpolate: mode {mode!r} needs a floating input, got {dtype}; use input.float()")
    scales, wanted = _wanted(shape, size, scale_factor, dims)
    if recompute_scale_factor:
        if size is not None:
            raise MinidlError("interpolate: recompute_scale_factor goes with scale_factor, not with size")
        scales = [None] * dims
    rule = mode
    if not plain:
        rule = ("cubic " if mode == "bicubic" else "linear ") + ("corners" if align_corners else "centres")
    elif mode == "nearest" and dims == 2:
        rule = "nearest in images"
    return tuple([(o, n, rule, s) for o, n, s in zip(shape[2:], wanted, scales, strict=True)])


def _wanted(
    shape: tuple[int, ...], size: int | Sequence[int] | None, scale_factor: float | Sequence[float] | None, dims: int
) -> tuple[Sequence[float | None], Sizes]:
    """The scale (None where a size is given) and the new length of each spatial dimension."""
    image = shape[2:]
    if (size is None) == (scale_factor is None):
        raise ShapeError(f"interpolate: give either size or scale_factor, got {'neither' if size is None else 'both'}")
    if 0 in image:
        raise ShapeError(f"interpolate: input {shape} has no pixels to go by; give images of at least one")
    if size is not None:
        return [None] * dims, sizes("interpolate", "size", size, dims, least=1)
    given: Any = scale_factor
    scales = [float(v) for v in (given if hasattr(given, "__len__") else [given] * dims)]
    if len(scales) != dims or not all(1 <= n * v < math.inf for n, v in zip(image, scales, strict=True)):
        raise ShapeError(
            f"interpolate: scale_factor must be a number, or {dims} of them, that leave at least one pixel of "
            f"{image}, got {scale_factor!r}"
        )
    return scales, tuple(int(n * v) for n, v in zip(image, scales, strict=True))
