"""Elements in order: sorted, the largest, distinct ones, and the places of values in a sorted row.

Only `Argsort` and `TopPlaces` are ops; what they order is gathered, so the gradients are a gather's. What gives a
number of results that depends on the values is computed on the arrays, off the tape.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Op, Spec, Tensor, as_tensor, dim_index
from minidl.device import kernel, parallel
from minidl.device.dtypes import DEFAULT_INT
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.indexing import gather, index_select
from minidl.ops.reduce import Extreme
from minidl.ops.views import flatten, select, unsqueeze

__all__ = [
    "argsort", "bucketize", "isin", "kthvalue", "msort", "searchsorted", "sort", "topk", "unique", "unique_consecutive",
]  # fmt: skip


FEW = 64  # elements that are picked without ordering all


class Argsort(Op):
    """The places of the elements in order, equal ones as they stood; NaN is the largest."""

    name = "argsort"

    @staticmethod
    def infer(x: Spec, *, dim: int, descending: bool) -> Spec:
        return x.with_dtype(DEFAULT_INT)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int, descending: bool) -> None:
        if not x.ndim:
            out[...] = 0
        elif descending:  # from the back, so that equal ones stay as they stood
            turned = xp.argsort(xp.flip(x, dim), axis=dim, kind="stable")
            out[...] = x.shape[dim] - 1 - xp.flip(turned, dim)
        else:
            out[...] = xp.argsort(x, axis=dim, kind="stable")


class TopPlaces(Op):
    """The places of the k largest (or smallest) elements, in order, equal ones as they stood; NaN is the largest."""

    name = "top_places"

    @staticmethod
    def infer(x: Spec, *, k: int, dim: int, largest: bool) -> Spec:
        return Spec((*x.shape[:dim], k, *x.shape[dim + 1 :]), DEFAULT_INT)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, k: int, dim: int, largest: bool) -> None:
        places = xp.empty(x.shape, out.dtype)
        Argsort.reference(xp, places, x, dim=dim, descending=largest)
        out[...] = places[(slice(None),) * dim + (slice(k),)]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        is_last = params["dim"] == arrays[0].ndim - 1
        return super().cpu_takes(arrays, params) and is_last and 0 < params["k"] <= FEW and arrays[0].size > 0

    @staticmethod
    def cpu(out: Array, x: Array, *, k: int, dim: int, largest: bool) -> None:
        rows = x.size // x.shape[dim]
        parallel(_top_places, rows, out.reshape(rows, k), x.reshape(rows, -1), largest, size=x.nbytes)


@kernel("int64[:, ::1], const T[:, ::1], bool", T=("float32", "float64"))
def _top_places(begin: int, end: int, out: Array, x: Array, largest: bool) -> None:
    """The best so far stay in order; nearly all others are passed over after one comparison."""
    k = out.shape[1]
    best = np.empty(k, x.dtype)
    for row in range(begin, end):
        held = 0
        for i in range(x.shape[1]):
            value = x[row, i]
            is_nan = value != value
            at = held
            while at > 0:
                other = best[at - 1]
                if largest:
                    wins = value > other or (is_nan and other == other)
                else:
                    wins = value < other or (other != other and not is_nan)
                if not wins:
                    break
                if at < k:
                    best[at], out[row, at] = other, out[row, at - 1]
                at -= 1
            if at < k:
                best[at], out[row, at] = value, i
                held = min(k, held + 1)


def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Tensor:
    """The places of the elements in order along `dim`, int64; always stable."""
    result: Tensor = Argsort.apply(input, dim=dim_index("argsort", dim, input.ndim), descending=bool(descending))
    return result


def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: bool = False) -> Extreme:
    """The elements in order along `dim`, and where they stood: (values, indices); always stable, NaN is the largest.

    >>> sort(Tensor([3.0, 1.0, 2.0])).values
    tensor([1., 2., 3.])
    """
    places = argsort(input, dim, descending)
    return Extreme(gather(input, dim, places), places)


def msort(input: Tensor) -> Tensor:
    """The elements in order along the first dimension."""
    return sort(input, 0).values


def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Extreme:
    """The `k` largest (or smallest) elements along `dim`, in order, and their places: (values, indices).

    Raises:
        ShapeError: if there are fewer than `k`.

    >>> topk(Tensor([3.0, 1.0, 2.0]), 2).values
    tensor([3., 2.])
    """
    d = dim_index("topk", dim, input.ndim)
    length = input.shape[d] if input.ndim else 1
    if not 0 <= k <= length:
        raise ShapeError(f"topk: k must be from 0 to {length}, the length of dimension {dim}; got {k}")
    places = TopPlaces.apply(input, k=k, dim=d, largest=bool(largest)) if input.ndim else argsort(input)
    return Extreme(gather(input, d, places), places)


def kthvalue(input: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> Extreme:
    """The `k`-th smallest element (from 1) along `dim`, and its place: (values, indices)."""
    d = dim_index("kthvalue", dim, input.ndim)
    length = input.shape[d] if input.ndim else 1
    if not 1 <= k <= length:
        raise ShapeError(f"kthvalue: k must be from 1 to {length}, the length of dimension {dim}; got {k}")
    ordered = sort(input, d)
    if not input.ndim:
        return ordered
    found = (select(part, d, k - 1) for part in ordered)
    return Extreme(*(unsqueeze(part, d) if keepdim else part for part in found))


def unique(
    input: Tensor, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The distinct elements in order (or slices along `dim`); always sorted.

    Args:
        return_inverse: also give, for each element, its place among the distinct ones.
        return_counts: also give how often each occurs.

    >>> unique(Tensor([2.0, 1.0, 2.0]))
    tensor([1., 2.])
    """
    xp = input.device.xp
    if dim is None:
        found, inverse, counts = xp.unique(
            input.array.reshape(-1), return_inverse=True, return_counts=True, equal_nan=False
        )
        places = Tensor.of(inverse.reshape(input.shape))
    else:
        d = dim_index("unique", dim, input.ndim)
        found, inverse, counts = xp.unique(input.array, return_inverse=True, return_counts=True, axis=d)
        places = Tensor.of(inverse.reshape(-1))
    return _asked(Tensor.of(found), places, Tensor.of(counts), return_inverse, return_counts)


def unique_consecutive(
    input: Tensor, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The elements (or slices along `dim`) without those that equal the one before; arguments as for `unique`."""
    xp = input.device.xp
    x = flatten(input) if dim is None else input
    d = 0 if dim is None else dim_index("unique_consecutive", dim, input.ndim)
    rows = xp.moveaxis(x.array, d, 0)
    n = len(rows)
    new = xp.ones(n, bool)
    if n > 1:
        new[1:] = (rows[1:] != rows[:-1]).reshape(n - 1, -1).any(1)
    starts = new.nonzero()[0]
    inverse = xp.cumsum(new.astype(xp.int64)) - 1
    counts = xp.diff(starts, append=xp.asarray([n]))
    places = Tensor.of(inverse.reshape(input.shape) if dim is None else inverse)
    return _asked(index_select(x, d, Tensor.of(starts)), places, Tensor.of(counts), return_inverse, return_counts)


def _asked(found: Tensor, inverse: Tensor, counts: Tensor, with_inverse: bool, with_counts: bool) -> Any:
    results = (found, *([inverse] if with_inverse else []), *([counts] if with_counts else []))
    return results if len(results) > 1 else found


def searchsorted(
    sorted_sequence: Tensor, input: Any, *, out_int32: bool = False, right: bool = False, side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Where each value of `input` would go into a sorted row so that it stays sorted, int64.

    Args:
        sorted_sequence: one row, or (..., n) with a row for each row of `input` (..., m).
        right: behind equal elements instead of before; the same as side="right".
        sorter: the places that sort an unsorted `sorted_sequence`.

    >>> searchsorted(Tensor([1.0, 3.0]), Tensor([2.0, 3.0]))
    tensor([1, 1])
    """
    if side not in (None, "left", "right") or (right and side == "left"):
        raise ArgumentError(f"searchsorted: side must be 'left' or 'right', and agree with right; got {side!r}")
    values = as_tensor(input, like=sorted_sequence)
    if not sorted_sequence.ndim:
        raise ShapeError("searchsorted: sorted_sequence must have one dimension or more")
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape or sorter.dtype != DEFAULT_INT:
            raise ShapeError(f"searchsorted: sorter must be int64 of shape {sorted_sequence.shape}, got {sorter.shape}")
        sorted_sequence = gather(sorted_sequence, -1, sorter)
    if sorted_sequence.ndim > 1 and values.shape[:-1] != sorted_sequence.shape[:-1]:
        raise ShapeError(f"searchsorted: input {values.shape} must have the rows of {sorted_sequence.shape}")
    xp, where = sorted_sequence.device.xp, "right" if right or side == "right" else "left"
    if sorted_sequence.ndim == 1:
        found = xp.searchsorted(sorted_sequence.array, values.array.reshape(-1), side=where).reshape(values.shape)
    else:
        count = math.prod(values.shape[:-1])
        rows = sorted_sequence.array.reshape(count, sorted_sequence.shape[-1])
        wanted = values.array.reshape(count, values.shape[-1])
        found = xp.zeros(wanted.shape, xp.int64)
        for row, some, place in zip(rows, wanted, found, strict=True):
            place[...] = xp.searchsorted(row, some, side=where)
        found = found.reshape(values.shape)
    return Tensor.of(found.astype(xp.int32 if out_int32 else xp.int64))


def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    """In which bucket between the sorted `boundaries` each value lies, int64."""
    if boundaries.ndim != 1:
        raise ShapeError(f"bucketize: boundaries must have one dimension, got {boundaries.shape}")
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Whether each element is one of `test_elements`.

    >>> isin(Tensor([1.0, 2.0]), Tensor([2.0]))
    tensor([False,  True])
    """
    like = elements if isinstance(elements, Tensor) else test_elements
    x = as_tensor(elements, like=like)
    found = (x.array[..., None] == as_tensor(test_elements, like=like).array.reshape(-1)).any(-1)
    return Tensor.of(~found if invert else found)
