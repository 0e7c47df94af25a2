"""median and nanmedian: the middle number along a dimension, and its place.

The middle is found digit by digit: numbers become whole ones of the same order, whose upper 8 bits are counted; those
that share the upper bits of the middle are kept, and their next 8 bits are counted. Each round keeps few of them, which
makes about 3 reads of each number, where sorting takes 20.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, dim_index
from minidl.device import inline, kernel, parallel
from minidl.device.dtypes import DEFAULT_INT
from minidl.device.turn import contiguous
from minidl.errors import ShapeError
from minidl.ops.indexing import GatherAdjoint
from minidl.ops.reduce import Extreme
from minidl.ops.views import flatten, reshape

__all__ = ["median", "nanmedian"]

DIGIT = 8  # bits that are counted in a round
UNITS = 16  # blocks of rows, at least


class Median(Op):
    """The middle number along `dim`, the lower of two, and its place, which of equals in order."""

    name = "median"
    saves = ("out",)
    saves_results = (1,)

    @staticmethod
    def infer(x: Spec, *, dim: int, keepdim: bool, skip_nan: bool) -> tuple[Spec, Spec]:
        shape = (*x.shape[:dim], *[1] * keepdim, *x.shape[dim + 1 :])
        return x.with_shape(*shape), Spec(shape, DEFAULT_INT)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, dim: int, keepdim: bool, skip_nan: bool) -> None:
        values, places = out
        length = x.shape[dim]
        counts = (x == x).sum(dim, keepdims=True)
        rank = xp.maximum(counts - 1, 0) // 2
        if not skip_nan:  # NaN are last in order, the first of them behind the numbers
            rank = xp.where(counts < length, xp.minimum(counts, length - 1), rank)
        place = xp.take_along_axis(xp.argsort(x, axis=dim, kind="stable"), rank, dim)
        places[...] = place.reshape(places.shape)
        values[...] = xp.take_along_axis(x, place, dim).reshape(values.shape)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, *, dim: int, keepdim: bool, skip_nan: bool) -> None:
        values, places = out
        length, whole = x.shape[dim], np.dtype(f"u{x.itemsize}")
        rows = contiguous(np.moveaxis(x, dim, -1)).reshape(-1)
        bits = values.reshape(-1).view(whole), rows.view(whole)
        infinity = int(np.array(np.inf, x.dtype).view(whole))
        parallel(_middles, places.size, *bits, places.reshape(-1), length, infinity, 8 * x.itemsize, skip_nan,
                 block=max(1, -(-places.size // UNITS)))  # fmt: skip

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        _, places = node.saved[0]
        shape, dim = node.specs[0].shape, node.params["dim"]
        kept = (*shape[:dim], 1, *shape[dim + 1 :])
        return (GatherAdjoint.apply(reshape(g[0], kept), reshape(places, kept), shape=shape, dim=dim),)


@inline
def _ordered(bits: Any, width: int) -> Any:
    """Whole numbers in the order of the floating ones with these bits; both zeros are one."""
    sign = np.uint64(1) << np.uint64(width - 1)
    number = np.uint64(bits)
    if number >= sign:
        return sign - (number - sign)
    return number + sign


@kernel("U[::1], const U[::1], int64[::1], intp, intp, intp, bool", U=("uint32", "uint64"))
def _middles(
    begin: int, end: int, values: Array, bits: Array, places: Array, length: int, infinity: int, width: int,
    skip_nan: bool,
) -> None:  # fmt: skip
    """One unit is a row."""
    keys, counts = np.empty(length, np.uint64), np.empty(1 << DIGIT, np.int64)
    digit, largest = np.uint64((1 << DIGIT) - 1), (np.uint64(1) << np.uint64(width - 1)) - np.uint64(1)
    for row in range(begin, end):
        at, n, place = row * length, 0, -1
        for i in range(length):
            number = np.uint64(bits[at + i])
            is_nan = (number & largest) > np.uint64(infinity)
            keys[n] = _ordered(number, width)
            if not is_nan:
                n += 1
            elif place < 0:
                place = i
        if n == 0 or (place >= 0 and not skip_nan):
            places[row] = place
            values[row] = bits[at + place]
            continue
        rank, shift = (n - 1) // 2, width
        while shift > 0:
            shift -= DIGIT
            counts[:] = 0
            for i in range(n):
                counts[(keys[i] >> np.uint64(shift)) & digit] += 1
            found = 0
            while rank >= counts[found]:
                rank -= counts[found]
                found += 1
            if counts[found] < n:
                kept = 0
                for i in range(n):
                    key = keys[i]
                    keys[kept] = key
                    kept += (key >> np.uint64(shift)) & digit == np.uint64(found)
                n = kept
        for i in range(length):
            if _ordered(bits[at + i], width) == keys[0]:
                if rank == 0:
                    places[row] = i
                    values[row] = bits[at + i]
                    break
                rank -= 1


def median(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle element, the lower of two; along `dim` the pair (values, indices). NaN if there is one.

    >>> median(Tensor([3.0, 1.0, 2.0, 4.0]))
    tensor(2.)
    """
    return _middle("median", input, dim, keepdim, skip_nan=False)


def nanmedian(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Any:
    """The middle of what is not NaN, the lower of two; along `dim` the pair (values, indices)."""
    return _middle("nanmedian", input, dim, keepdim, skip_nan=True)


def _middle(name: str, input: Tensor, dim: int | None, keepdim: bool, *, skip_nan: bool) -> Any:
    if dim is None:
        if not input.numel():
            return Tensor.of(input.device.xp.full((), math.nan, input.dtype))
        return Median.apply(flatten(input), dim=0, keepdim=False, skip_nan=skip_nan)[0]
    d = dim_index(name, dim, input.ndim)
    if not input.ndim:
        return Extreme(input.clone(), Tensor.of(input.device.xp.zeros((), DEFAULT_INT)))
    if not input.shape[d]:
        raise ShapeError(f"{name}: dimension {dim} has no elements, and so no middle; shape is {input.shape}")
    return Extreme(*Median.apply(input, dim=d, keepdim=bool(keepdim), skip_nan=skip_nan))
