"""scatter_reduce and index_reduce: what is written to one place is summed, multiplied, averaged, or the extreme stays.

Sums and means are `scatter_add`. The others have a kernel (`along_loops.py`); the reference goes through the slices of
the source along `dim`, in each of which no place occurs twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.core.tensor import dim_index
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops import along_loops
from minidl.ops.compare import eq, gt
from minidl.ops.indexing import check_bounds, gather, scatter_add
from minidl.ops.views import expand, narrow, reshape
from minidl.ops.where import where

__all__ = ["index_reduce", "scatter_reduce"]


class ScatterReduce(Op):
    """x with src multiplied into it, or the larger or smaller of the two, where index points along `dim`."""

    name = "scatter_reduce"
    saves = ("x", "index", "src", "out")

    @staticmethod
    def infer(x: Spec, index: Spec, src: Spec, *, dim: int, reduce: str) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, index: Array, src: Array, *, dim: int, reduce: str) -> None:
        join = {"prod": xp.multiply, "amax": xp.maximum, "amin": xp.minimum}[reduce]
        out[...] = x
        places = [xp.arange(1 if axis == dim else n).reshape([-1 if d == axis else 1 for d in range(out.ndim)])
                  for axis, n in enumerate(index.shape)]  # fmt: skip
        for k in range(index.shape[dim]):
            at = (slice(None),) * dim + (slice(k, k + 1),)
            places[dim] = index[at]
            out[tuple(places)] = join(out[tuple(places)], src[at])

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, index, src = arrays
        alike = x.dtype == src.dtype and index.shape == src.shape
        return alike and super().cpu_takes(arrays, params) and along_loops.fits(x.shape, index, params["dim"])

    @staticmethod
    def cpu(out: Array, x: Array, index: Array, src: Array, *, dim: int, reduce: str) -> None:
        out[...] = x
        along_loops.join(reduce, out, src, index, dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, index, src, out = node.saved
        gradients = _of_product if node.params["reduce"] == "prod" else _of_extreme
        gx, gsrc = gradients(node.params["dim"], x, index, src, out, g)
        return gx, None, gsrc


def _of_extreme(dim: int, x: Tensor, index: Tensor, src: Tensor, out: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Equal extremes share the gradient evenly."""
    mine, theirs = eq(x, out).to(g.dtype), eq(src, gather(out, dim, index)).to(g.dtype)
    share = g / scatter_add(mine, dim, index, theirs)
    return share * mine, gather(share, dim, index) * theirs


def _of_product(dim: int, x: Tensor, index: Tensor, src: Tensor, out: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The product of the *others*: of all but zero, divided by each, and at the only zero of a place undivided."""
    own, given = eq(x, 0.0), eq(src, 0.0)
    zeros = scatter_add(own.to(g.dtype), dim, index, given.to(g.dtype))
    x, src = where(own, 1.0, x), where(given, 1.0, src)
    whole = g * ScatterReduce.apply(x, index, src, dim=dim, reduce="prod")
    alone, among = where(eq(zeros, 1.0), whole, 0.0), where(eq(zeros, 0.0), whole, 0.0)
    picked = where(given, gather(alone, dim, index), gather(among, dim, index) / src)
    return where(own, alone, among / x), picked


_START = {"sum": 0, "mean": 0, "prod": 1}


def scatter_reduce(
    input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` joined, where `index` points along `dim`, with what `src` has there.

    Args:
        index: int64, no longer than `input` but along `dim`, and no longer than `src`.
        src: of the type of `input`.
        reduce: "sum", "prod", "mean", "amax" or "amin". Equal extremes share the gradient.
        include_self: whether the numbers of `input` count; False replaces those that `index` points to.

    Raises:
        ArgumentError: for another `reduce`.
        ShapeError: if shapes do not fit, or an index is out of range.
        DTypeError: if `src` is of another type, or `index` holds no whole numbers.

    >>> scatter_reduce(Tensor([1.0, 5.0]), 0, Tensor.of(np.array([0, 0, 1])), Tensor([2.0, 3.0, 4.0]), "amax")
    tensor([3., 5.])
    """
    return _reduced("scatter_reduce", input, dim, index, src, reduce, include_self)


def index_reduce(
    input: Tensor, dim: int, index: Tensor, source: Tensor, reduce: str, *, include_self: bool = True
) -> Tensor:
    """`input` joined with the slices of `source` in the places along `dim` that `index` (n,) names.

    Args:
        reduce, include_self: as for `scatter_reduce`, but for "sum", which is `index_add`.

    Raises:
        ArgumentError: for another `reduce`.
        ShapeError: if shapes do not fit, or an index is out of range.
        DTypeError: if `source` is of another type, or `index` holds no whole numbers.
    """
    if reduce == "sum":
        raise ArgumentError("index_reduce: reduce must be 'prod', 'mean', 'amax' or 'amin', got 'sum'; use index_add")
    d = dim_index("index_reduce", dim, input.ndim)
    if index.ndim > 1 or source.ndim != input.ndim or (source.ndim and index.numel() != source.shape[d]):
        raise ShapeError(f"index_reduce: index must be (n,) and source have n slices along dim {dim}, "
                         f"got {index.shape} and {source.shape}")  # fmt: skip
    if source.ndim:
        index = expand(reshape(index, [-1 if axis == d else 1 for axis in range(source.ndim)]), source.shape)
    return _reduced("index_reduce", input, dim, index, source, reduce, include_self)


def _reduced(op: str, input: Tensor, dim: int, index: Tensor, src: Tensor, reduce: str, include_self: bool) -> Tensor:
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise ArgumentError(f"{op}: reduce must be 'sum', 'prod', 'mean', 'amax' or 'amin', got {reduce!r}")
    if src.dtype != input.dtype or index.dtype.kind not in "iu":
        raise DTypeError(f"{op}: source must be {input.dtype} as input is, and index hold whole numbers, "
                         f"got {src.dtype} and {index.dtype}")  # fmt: skip
    if not input.ndim:
        lifted = [reshape(t, 1) if not t.ndim else t for t in (input, index, src)]
        return reshape(_reduced(op, lifted[0], dim, lifted[1], lifted[2], reduce, include_self), ())
    d = dim_index(op, dim, input.ndim)
    index, src = (reshape(t, 1) if not t.ndim and input.ndim == 1 else t for t in (index, src))
    if not index.numel():
        return input.clone()
    _check(op, input, d, index, src)
    check_bounds(op, index, input.shape[d])
    for axis, n in enumerate(index.shape):
        src = src if src.shape[axis] == n else narrow(src, axis, 0, n)
    counts = None if include_self and reduce != "mean" else _counts(input, d, index)
    if counts is not None and not include_self:
        input = where(gt(counts, 0.0), Tensor.of(input.device.xp.asarray(_start(reduce, input), input.dtype)), input)
    if reduce not in ("sum", "mean"):
        result: Tensor = ScatterReduce.apply(input, index, src, dim=d, reduce=reduce)
        return result
    total = scatter_add(input, d, index, src)
    if counts is None or reduce == "sum":
        return total
    counts = (counts + 1.0 if include_self else where(gt(counts, 0.0), counts, 1.0)).to(input.dtype)
    return total / counts if is_floating(input.dtype) else total // counts


def _check(op: str, input: Tensor, d: int, index: Tensor, src: Tensor) -> None:
    if not index.ndim == input.ndim == src.ndim or any(
        n > m or (axis != d and n > k)
        for axis, (n, m, k) in enumerate(zip(index.shape, src.shape, input.shape, strict=True))
    ):
        raise ShapeError(f"{op}: index {index.shape} must fit into source {src.shape}, and into input {input.shape} "
                         f"but along dim {d}")  # fmt: skip


def _counts(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """How often `index` points to each place of `input`, float64."""
    xp = input.device.xp
    return scatter_add(Tensor.of(xp.zeros(input.shape)), dim, index, Tensor.of(xp.ones(index.shape)))


def _start(reduce: str, input: Tensor) -> Any:
    """The number that joining begins from."""
    if reduce in _START:
        return _START[reduce]
    if is_floating(input.dtype):
        return -float("inf") if reduce == "amax" else float("inf")
    if input.dtype == np.bool_:
        return reduce == "amin"
    limits = np.iinfo(input.dtype)
    return limits.min if reduce == "amax" else limits.max
