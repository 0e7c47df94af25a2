"""interpolate: images at another size, nearest or linear, one dimension after the other.

Along one dimension each output is x[low] * (1 - share) + x[high] * share, with places that only grow; so the adjoint
sums runs of equal places.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device.dtypes import is_floating
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.ops.avg_pool import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d
from minidl.ops.line_loops import Mix, combine, combine_planes
from minidl.ops.resize_cubic import resize_cubic
from minidl.ops.windows import Sizes, sizes

__all__ = ["interpolate"]

LINEAR = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}


class Resizing(Op):
    """Base of the op and its adjoint."""

    images = ("x", "out")

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0


class ResizeAxis(Resizing):
    """One spatial dimension at another length; the kernel sees it one place further left, channels being last."""

    name = "resize_axis"

    @staticmethod
    def infer(x: Spec, *, dim: int, old: int, new: int, rule: str, scale: float | None) -> Spec:
        return x.with_shape(*x.shape[:dim], new, *x.shape[dim + 1 :])

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, *, dim: int, old: int, new: int, rule: str, scale: float | None
    ) -> None:
        low, high, share = _places(old, new, rule, scale)
        if rule.startswith("nearest"):
            out[...] = xp.take(x, xp.asarray(low), axis=dim)
            return
        weight = xp.asarray(share, x.dtype).reshape([-1 if d == dim else 1 for d in range(x.ndim)])
        xp.multiply(xp.take(x, xp.asarray(low), axis=dim), 1 - weight, out=out)
        out += xp.take(x, xp.asarray(high), axis=dim) * weight

    @staticmethod
    def cpu(out: Array, x: Array, *, dim: int, **params: Any) -> None:
        combine(out, x, dim - 1, _mix(**params))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (ResizeAxisAdjoint.apply(g, **node.params),)


class ResizeAxisAdjoint(Resizing):
    name = "resize_axis_adjoint"

    @staticmethod
    def infer(x: Spec, *, dim: int, old: int, new: int, rule: str, scale: float | None) -> Spec:
        return x.with_shape(*x.shape[:dim], old, *x.shape[dim + 1 :])

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, *, dim: int, old: int, new: int, rule: str, scale: float | None
    ) -> None:
        low, high, share = _places(old, new, rule, scale)
        out[...] = 0
        if rule.startswith("nearest"):
            _add_runs(xp, out, g, low, dim)
            return
        weight = xp.asarray(share, g.dtype).reshape([-1 if d == dim else 1 for d in range(g.ndim)])
        _add_runs(xp, out, g * (1 - weight), low, dim)
        _add_runs(xp, out, g * weight, high, dim)

    @staticmethod
    def cpu(out: Array, g: Array, *, dim: int, **params: Any) -> None:
        combine(out, g, dim - 1, _adjoint_mix(**params))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (ResizeAxis.apply(g, **node.params),)


@functools.lru_cache(maxsize=256)
def _mix(old: int, new: int, rule: str, scale: float | None) -> Mix:
    """Each output's one or two inputs."""
    low, high, share = _places(old, new, rule, scale)
    pairs = [
        [(int(a), 1.0)] if a == b or s == 0 else [(int(a), 1 - s), (int(b), s)]
        for a, b, s in zip(low, high, share.tolist(), strict=True)
    ]
    return _packed(pairs)


@functools.lru_cache(maxsize=256)
def _adjoint_mix(old: int, new: int, rule: str, scale: float | None) -> Mix:
    """Each input's outputs, in their order."""
    forward = _mix(old, new, rule, scale)
    lists: list[list[tuple[int, float]]] = [[] for _ in range(old)]
    for i in range(new):
        for k in range(int(forward.starts[i]), int(forward.starts[i + 1])):
            lists[int(forward.places[k])].append((i, float(forward.weights[k])))
    return _packed(lists)


def _packed(lists: list[list[tuple[int, float]]]) -> Mix:
    starts = np.cumsum([0, *map(len, lists)], dtype=np.int64)
    flat = [pair for pairs in lists for pair in pairs]
    return Mix(starts, np.array([p for p, _ in flat], np.int64), np.array([w for _, w in flat], np.float64))


Axis = tuple[int, int, str, "float | None"]  # old and new length, rule, scale


class ResizePlane(Resizing):
    """The last two dimensions at other lengths in one go: rows are mixed in the first cache, then their pixels."""

    name = "resize_plane"

    @staticmethod
    def infer(x: Spec, *, rows: Axis, columns: Axis) -> Spec:
        return x.with_shape(*x.shape[:-2], rows[1], columns[1])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, rows: Axis, columns: Axis) -> None:
        between = xp.empty((*x.shape[:-2], rows[1], x.shape[-1]), x.dtype)
        ResizeAxis.reference(xp, between, x, dim=x.ndim - 2, **_named(rows))
        ResizeAxis.reference(xp, out, between, dim=x.ndim - 1, **_named(columns))

    @staticmethod
    def cpu(out: Array, x: Array, *, rows: Axis, columns: Axis) -> None:
        combine_planes(out, x, _mix(*rows), _mix(*columns))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (ResizePlaneAdjoint.apply(g, **node.params),)


class ResizePlaneAdjoint(Resizing):
    name = "resize_plane_adjoint"

    @staticmethod
    def infer(x: Spec, *, rows: Axis, columns: Axis) -> Spec:
        return x.with_shape(*x.shape[:-2], rows[0], columns[0])

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, rows: Axis, columns: Axis) -> None:
        between = xp.empty((*g.shape[:-2], rows[1], columns[0]), g.dtype)
        ResizeAxisAdjoint.reference(xp, between, g, dim=g.ndim - 1, **_named(columns))
        ResizeAxisAdjoint.reference(xp, out, between, dim=g.ndim - 2, **_named(rows))

    @staticmethod
    def cpu(out: Array, g: Array, *, rows: Axis, columns: Axis) -> None:
        combine_planes(out, g, _adjoint_mix(*rows), _adjoint_mix(*columns))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (ResizePlane.apply(g, **node.params),)


def _named(axis: Axis) -> dict[str, Any]:
    return dict(zip(("old", "new", "rule", "scale"), axis, strict=True))


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


@functools.lru_cache(maxsize=256)
def _places(old: int, new: int, rule: str, scale: float | None) -> tuple[Array, Array, Array]:
    """For each output the two inputs that it lies between, and the share of the second.

    PyTorch's rules: a pixel's centre lies at its index + 1/2, or at its index where corners are aligned. A given scale
    factor is used as it is, not the ratio of the lengths; but a length that stays the same is left alone, and in images
    "nearest" doubles evenly. In one and three dimensions PyTorch's "nearest" has neither of these exceptions.
    """
    index = np.arange(new)
    if new == old and rule != "nearest":
        return index, index, np.zeros(new)
    step = 1 / scale if scale else old / new
    if rule == "nearest-exact":
        low = np.floor((index.astype(np.float32) + np.float32(0.5)) * np.float32(step)).astype(np.intp)
        low = np.minimum(low, old - 1)
        return low, low, np.zeros(new)
    if rule in ("nearest", "nearest in images"):
        step = 0.5 if rule == "nearest in images" and new == 2 * old else step
        low = np.floor(index.astype(np.float32) * np.float32(step))  # rounded as in PyTorch, or ties tip over
        low = np.minimum(low.astype(np.intp), old - 1)
        return low, low, np.zeros(new)
    if rule == "corners":
        position = index * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        position = np.maximum((index + 0.5) * step - 0.5, 0)
    low = np.minimum(np.floor(position).astype(np.intp), old - 1)
    return low, np.minimum(low + 1, old - 1), position - low


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
    dims = input.ndim - 2
    if dims < 1:
        raise ShapeError(f"interpolate: input must be (N, C, d1, ...), got {input.shape}")
    if antialias:
        raise MinidlError("interpolate: antialias is not offered; smooth the input first, or use mode 'area'")
    plain = mode in ("nearest", "nearest-exact", "area")
    if not plain and LINEAR.get(mode) != dims:
        known = ["nearest", "nearest-exact", "area", *[m for m, d in LINEAR.items() if d == dims]]
        raise MinidlError(f"interpolate: mode for input {input.shape} must be one of {known}, got {mode!r}")
    if plain and align_corners is not None:
        raise MinidlError(f"interpolate: align_corners goes with the linear modes, not with {mode!r}")
    if not mode.startswith("nearest") and not is_floating(input.dtype):
        raise DTypeError(f"interpolate: mode {mode!r} needs a floating input, got {input.dtype}; use input.float()")
    scales, wanted = _wanted(input, size, scale_factor, dims)
    if recompute_scale_factor:
        if size is not None:
            raise MinidlError("interpolate: recompute_scale_factor goes with scale_factor, not with size")
        scales = [None] * dims
    if mode == "area":
        return (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[dims - 1](input, wanted)
    if mode == "bicubic":
        for dim in (2, 3):
            input = resize_cubic(input, dim, wanted[dim - 2], scales[dim - 2], bool(align_corners))
        return input
    rule = mode if mode.startswith("nearest") else "corners" if align_corners else "centres"
    rule = "nearest in images" if rule == "nearest" and dims == 2 else rule
    axes = [(o, n, rule, s) for o, n, s in zip(input.shape[2:], wanted, scales, strict=True)]
    for dim, axis in enumerate(axes[: -2 if dims > 1 else 1], 2):
        input = ResizeAxis.apply(input, dim=dim, **_named(axis))
    return ResizePlane.apply(input, rows=axes[-2], columns=axes[-1]) if dims > 1 else input


def _wanted(
    input: Tensor, size: int | Sequence[int] | None, scale_factor: float | Sequence[float] | None, dims: int
) -> tuple[Sequence[float | None], Sizes]:
    """The scale (None where a size is given) and the new length of each spatial dimension."""
    image = input.shape[2:]
    if (size is None) == (scale_factor is None):
        raise ShapeError(f"interpolate: give either size or scale_factor, got {'neither' if size is None else 'both'}")
    if 0 in image:
        raise ShapeError(f"interpolate: input {input.shape} has no pixels to go by; give images of at least one")
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
