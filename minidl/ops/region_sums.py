"""What losses of overlap are made of, for classes as the target: sums of probabilities over regions, in one pass.

The classes are read as they are, not made to memberships first: those would be as large as the probabilities, in int64
twice as large, and be read again for each product and each sum.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import block_count, inline, kernel, parallel
from minidl.device.layout import channels_last_view, is_channels_last
from minidl.device.narrow import columns_apart, columns_together
from minidl.device.row_sums import row_sum
from minidl.device.turn import contiguous
from minidl.errors import ShapeError

__all__: list[str] = []  # used by `soft_dice.py` and `overlap_losses.py`

FLOATS = ("float32", "float64")
PLACES = 1024  # in a unit of work


class RegionSums(Op):
    """For each image and class, over all places: the sum of x where the class is true, that of all x, and their number.

    x is (N, C, *space), target (N, *space) of classes 0 to C - 1; results are (N, C), or (C,) for the whole `batch`.
    """

    name = "region_sums"
    saves = ("x", "target")
    strided = True

    @staticmethod
    def infer(x: Spec, target: Spec, *, batch: bool) -> tuple[Spec, Spec, Spec]:
        sums = x.with_shape(*x.shape[int(batch) : 2])
        return sums, sums, sums

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array, Array], x: Array, target: Array, *, batch: bool) -> None:
        hit, total, size = out
        _check(target, x.shape[1])
        space = (*([0] if batch else []), *range(2, x.ndim))
        is_true = _is_true(xp, x, target)
        hit[...] = xp.sum(x * is_true, axis=space, dtype=x.dtype)
        total[...] = xp.sum(x, axis=space, dtype=x.dtype)
        size[...] = xp.sum(is_true, axis=space)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, target = arrays
        return super().cpu_takes(arrays, params) and x.size > 0 and target.dtype == np.int64

    @staticmethod
    def cpu(out: tuple[Array, Array, Array], x: Array, target: Array, *, batch: bool) -> None:
        is_apart, places = _is_apart(x), math.prod(x.shape[2:])
        parts = np.empty((len(x), block_count(places, PLACES), 3, x.shape[1]))
        parallel(_sums, parts.shape[0] * parts.shape[1], parts.reshape(-1, 3, x.shape[1]), _flat(x, is_apart),
                 contiguous(target).reshape(-1), is_apart, places)  # fmt: skip
        total = parts.sum(axis=(0, 1) if batch else 1)
        if total[..., 2, :].sum() != target.size:
            _check(target, x.shape[1])
        for k, sums in enumerate(out):
            sums[...] = total[..., k, :]

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, target = node.saved
        shape = x.shape[int(node.params["batch"]) : 2]
        hit, total = (Tensor.of(x.device.xp.zeros(shape, x.dtype)) if t is None else t for t in g[:2])
        return RegionSumsAdjoint.apply(hit, total, x.detach(), target, **node.params), None


class RegionSumsAdjoint(Op):
    """total + hit where the class is true, total elsewhere: what comes to each place from two numbers a class."""

    name = "region_sums_adjoint"
    saves = ("target",)
    strided = True

    @staticmethod
    def infer(hit: Spec, total: Spec, like: Spec, target: Spec, *, batch: bool) -> Spec:
        return like

    @staticmethod
    def reference(
        xp: Any, out: Array, hit: Array, total: Array, like: Array, target: Array, *, batch: bool
    ) -> None:  # fmt: skip
        hit, total = (a.reshape(*a.shape, *[1] * (like.ndim - 2)) for a in (hit, total))
        out[...] = total + xp.where(_is_true(xp, like, target), hit, 0)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        hit, total, like, target = arrays
        fits = hit.dtype == total.dtype == like.dtype and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and like.size > 0

    @staticmethod
    def cpu(out: Array, hit: Array, total: Array, like: Array, target: Array, *, batch: bool) -> None:
        is_apart, places = _is_apart(out), math.prod(out.shape[2:])
        shape = (1 if batch else len(out), out.shape[1])
        given = (contiguous(hit).reshape(shape), contiguous(total).reshape(shape), contiguous(target).reshape(-1))
        parallel(_spread, len(out) * block_count(places, PLACES), _flat(out, is_apart), *given, is_apart, places)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (target,) = node.saved
        hit, total, _ = RegionSums.apply(g, target, **node.params)
        return hit, total, None, None


def _is_true(xp: Any, x: Array, target: Array) -> Array:
    return xp.expand_dims(target, 1) == xp.arange(x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))


def _check(target: Array, classes: int) -> None:
    """Raise a ShapeError if a class is out of range."""
    if target.size and not 0 <= int(target.min()) <= int(target.max()) < classes:
        raise ShapeError(f"one_hot: classes must lie from 0 to {classes - 1}, got {int(target.min())} to "
                         f"{int(target.max())}")  # fmt: skip


def _is_apart(x: Array) -> bool:
    """Whether each class of an image lies by itself; else they are taken to lie side by side."""
    return x.flags.c_contiguous and not is_channels_last(x)


def _flat(x: Array, is_apart: bool) -> Array:
    return contiguous(x if is_apart else channels_last_view(x)).reshape(-1)


@inline
def _unit(unit: int, places: int) -> Any:
    """The image of a unit, the place in it where the unit begins, and how many places it has."""
    pieces = (places + PLACES - 1) // PLACES
    first = unit % pieces * PLACES
    return unit // pieces, first, min(PLACES, places - first)


@kernel("float64[:, :, ::1], const T[::1], const int64[::1], bool, intp", T=FLOATS)
def _sums(begin: int, end: int, parts: Array, x: Array, target: Array, is_apart: bool, places: int) -> None:
    classes, zero = parts.shape[2], x.dtype.type(0)
    block, buffer = np.empty(classes * PLACES, x.dtype), np.empty(PLACES, x.dtype)
    for unit in range(begin, end):
        image, first, count = _unit(unit, places)
        if is_apart:
            for c in range(classes):
                at = (image * classes + c) * places + first
                block[c * PLACES : c * PLACES + count] = x[at : at + count]
        else:
            columns_apart(block, PLACES, x, (image * places + first) * classes, count, classes)
        t = target[image * places + first : image * places + first + count]
        for c in range(classes):
            a, size = block[c * PLACES : c * PLACES + count], 0
            for i in range(count):
                buffer[i] = a[i] if t[i] == c else zero
                size += int(t[i] == c)
            parts[unit, 0, c], parts[unit, 1, c] = row_sum(buffer, 0, count), row_sum(block, c * PLACES, count)
            parts[unit, 2, c] = size


@kernel("T[::1], const T[:, ::1], const T[:, ::1], const int64[::1], bool, intp", T=FLOATS)
def _spread(
    begin: int, end: int, gx: Array, hit: Array, total: Array, target: Array, is_apart: bool, places: int
) -> None:  # fmt: skip
    images, classes = hit.shape  # one for the whole batch, or all
    block = np.empty(1 if is_apart else classes * PLACES, gx.dtype)
    for unit in range(begin, end):
        image, first, count = _unit(unit, places)
        t = target[image * places + first : image * places + first + count]
        for c in range(classes):
            plain, more = total[image % images, c], total[image % images, c] + hit[image % images, c]
            if is_apart:
                at = (image * classes + c) * places + first
                into = gx[at : at + count]
                for i in range(count):
                    into[i] = more if t[i] == c else plain
            else:
                column = block[c * PLACES : c * PLACES + count]
                for i in range(count):
                    column[i] = more if t[i] == c else plain
        if not is_apart:
            columns_together(gx, (image * places + first) * classes, block, PLACES, count, classes)


def region_sums(input: Tensor, target: Tensor, batch: bool) -> tuple[Tensor, Tensor, Tensor] | None:
    """Those of a target of classes, (N, C), or (C,) for the whole batch; None for any other target."""
    if target.dtype.kind not in "iu" or input.ndim < 3 or target.shape != (input.shape[0], *input.shape[2:]):
        return None
    hit, total, size = RegionSums.apply(input, target, batch=batch)
    return hit, total, size.detach()
