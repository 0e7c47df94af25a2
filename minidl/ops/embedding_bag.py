"""embedding_bag: rows of a table picked by whole numbers, and summed, averaged or maximised in bags.

A bag is a stretch of the picks. Its sum is made in one go, so the rows picked are read once and never written: 4 bytes
a number in float32. Of the gradient of the table threads share out the rows; each goes through all picks in order.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.device.lines import clear_line
from minidl.device.mixed_lines import add_scaled_line, sum_lines
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.embedding import check_rows, embedding, prepared
from minidl.ops.indexing import GatherAdjoint
from minidl.ops.reduce import sum as sum_
from minidl.ops.row_loops import FLOATS, PIECES
from minidl.ops.unary import clamp
from minidl.ops.views import reshape
from minidl.ops.where import where

__all__ = ["embedding_bag"]


class Bags(Op):
    """Base of those that take picks, and where each bag begins and the last one ends."""

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        is_whole = all(a.dtype == np.int64 for a in arrays[1:3])
        return super().cpu_takes(arrays, params) and is_whole and arrays[0].size > 0 and arrays[1].size > 0


class EmbeddingBagSum(Bags):
    """For each bag the sum of factor[k] * weight[index[k]] over its picks k."""

    name = "embedding_bag_sum"
    saves = ("weight", "index", "starts", "factor")
    saves_for = {"weight": ("factor",), "factor": ("weight",)}  # noqa: RUF012 - never changed

    @staticmethod
    def infer(weight: Spec, index: Spec, starts: Spec, factor: Spec) -> Spec:
        return weight.with_shape(starts.shape[0] - 1, weight.shape[1])

    @staticmethod
    def reference(xp: Any, out: Array, weight: Array, index: Array, starts: Array, factor: Array) -> None:
        out[...] = 0
        xp.add.at(out, _bag_of_each(xp, starts), weight[index] * factor[:, None])

    @staticmethod
    def cpu(out: Array, weight: Array, index: Array, starts: Array, factor: Array) -> None:
        size = factor.size * weight.shape[1] * weight.itemsize
        parallel(_sum, len(out), out.reshape(-1), weight.reshape(-1), index, starts, factor, out.shape[1], size=size)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        weight, index, starts, factor = node.saved
        of_weight = of_factor = None
        if node.needs[0]:
            of_weight = EmbeddingBagGrad.apply(g, index, starts, factor, rows=node.specs[0].shape[0])
        if node.needs[3]:
            xp = g.device.xp
            bags = Tensor.of(_bag_of_each(xp, starts.array))
            of_factor = sum_(embedding(bags, g) * embedding(index, weight), 1)
        return of_weight, None, None, of_factor


class EmbeddingBagGrad(Bags):
    """The gradient of the table: for each row the sum of factor[k] * g[bag of k] over the picks k of it."""

    name = "embedding_bag_grad"
    saves = ("g", "index", "starts", "factor")
    saves_for = {"g": ("factor",), "factor": ("g",)}  # noqa: RUF012 - never changed

    @staticmethod
    def infer(g: Spec, index: Spec, starts: Spec, factor: Spec, *, rows: int) -> Spec:
        return g.with_shape(rows, g.shape[1])

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, index: Array, starts: Array, factor: Array, *, rows: int) -> None:
        out[...] = 0
        xp.add.at(out, index, g[_bag_of_each(xp, starts)] * factor[:, None])

    @staticmethod
    def cpu(out: Array, g: Array, index: Array, starts: Array, factor: Array, *, rows: int) -> None:
        piece = -(-rows // PIECES)
        units = -(-rows // piece)
        parallel(_add, units, out.reshape(-1), g.reshape(-1), index, starts, factor, rows, piece, out.shape[1], block=1)

    @staticmethod
    def vjp(node: Node, gg: Tensor) -> Grads:
        g, index, starts, factor = node.saved
        of_g = EmbeddingBagSum.apply(gg, index, starts, factor) if node.needs[0] else None
        of_factor = None
        if node.needs[3]:
            bags = Tensor.of(_bag_of_each(g.device.xp, starts.array))
            of_factor = sum_(embedding(bags, g) * embedding(index, gg), 1)
        return of_g, None, None, of_factor


class EmbeddingBagMax(Bags):
    """The largest number of each column among the rows of a bag, and the row that has it; zeros and -1 for none.

    The first of equals wins, and NaN over all. Picks of row `padding` do not count.
    """

    name = "embedding_bag_max"
    saves = ("out",)
    saves_results = (1,)

    @staticmethod
    def infer(weight: Spec, index: Spec, starts: Spec, *, padding: int) -> tuple[Spec, Spec]:
        out = weight.with_shape(starts.shape[0] - 1, weight.shape[1])
        return out, out.with_dtype(np.dtype(np.int64))

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], weight: Array, index: Array, starts: Array, *, padding: int
    ) -> None:
        best, rows = out
        best[...], rows[...] = 0, -1
        for bag, (first, last) in enumerate(itertools.pairwise([int(s) for s in starts])):
            picks = index[first:last]
            picks = picks[picks != padding]
            if len(picks):
                found = weight[picks]
                place = xp.argmax(xp.where(found == found, found, xp.inf), 0)
                place = xp.where((found != found).any(0), xp.argmax(found != found, 0), place)
                rows[bag] = picks[place]
                best[bag] = xp.take_along_axis(found, place[None], 0)[0]

    @staticmethod
    def cpu(out: tuple[Array, Array], weight: Array, index: Array, starts: Array, *, padding: int) -> None:
        best, rows = out
        flat, size = (a.reshape(-1) for a in (best, rows, weight)), index.size * weight.shape[1] * weight.itemsize
        parallel(_largest, len(best), *flat, index, starts, best.shape[1], padding, size=size)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        _, rows = node.saved[0]
        slope = g[0]
        if bool((rows.array < 0).any()):
            slope, rows = where(rows >= 0, slope, 0.0), clamp(rows, 0)
        return GatherAdjoint.apply(slope, rows, shape=node.specs[0].shape, dim=0), None, None


def _bag_of_each(xp: Any, starts: Array) -> Array:
    """The bag of each pick."""
    return xp.repeat(xp.arange(len(starts) - 1), xp.diff(starts))


@kernel("T[::1], const T[::1], const int64[::1], const int64[::1], const T[::1], intp", T=FLOATS)
def _sum(begin: int, end: int, out: Array, weight: Array, index: Array, starts: Array, factor: Array, n: int) -> None:
    """One unit is a bag."""
    for bag in range(begin, end):
        sum_lines(out, bag * n, weight, 0, index, factor, starts[bag], starts[bag + 1], n)


@kernel("T[::1], const T[::1], const int64[::1], const int64[::1], const T[::1], intp, intp, intp", T=FLOATS)
def _add(
    begin: int, end: int, out: Array, g: Array, index: Array, starts: Array, factor: Array, rows: int, piece: int,
    n: int,
) -> None:  # fmt: skip
    """One unit is a piece of the rows."""
    for unit in range(begin, end):
        first, last = unit * piece, min(rows, (unit + 1) * piece)
        clear_line(out, first * n, out, 0, (last - first) * n)
        for bag in range(len(starts) - 1):
            for k in range(starts[bag], starts[bag + 1]):
                if first <= index[k] < last:
                    add_scaled_line(out, index[k] * n, g, bag * n, factor[k], n)


@kernel("T[::1], int64[::1], const T[::1], const int64[::1], const int64[::1], intp, intp", T=FLOATS)
def _largest(
    begin: int, end: int, best: Array, rows: Array, weight: Array, index: Array, starts: Array, n: int, padding: int
) -> None:
    """One unit is a bag."""
    for bag in range(begin, end):
        for j in range(n):
            top, row = weight.dtype.type(0), -1
            for k in range(starts[bag], starts[bag + 1]):
                value = weight[index[k] * n + j]
                if index[k] != padding and (row < 0 or value > top or (value != value and top == top)):
                    top, row = value, index[k]
            best[bag * n + j], rows[bag * n + j] = top, row


def embedding_bag(
    input: Tensor, weight: Tensor, offsets: Tensor | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False,
    per_sample_weights: Tensor | None = None, include_last_offset: bool = False, padding_idx: int | None = None,
) -> Tensor:  # fmt: skip
    """Rows of `weight` picked by `input` and summed, averaged or maximised in bags.

    Args:
        input: (B, n) for B bags of n, or (n,) with `offsets`, where each bag begins.
        weight: (rows, D).
        mode: "sum", "mean" or "max"; a bag without rows gives zeros.
        per_sample_weights: in the shape of `input`, a factor for each row; with "sum" only.
        include_last_offset: `offsets` names the end of the last bag too.
        padding_idx: a row that counts for nothing.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for `embedding`.

    Returns:
        (B, D).

    Raises:
        ShapeError, DTypeError, ArgumentError: if shapes or numbers do not fit, or the mode is unknown.
    """
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        raise ArgumentError("embedding_bag: per_sample_weights needs mode 'sum' and the shape of input")
    if (input.ndim == 2) == (offsets is not None) or input.ndim not in (1, 2):
        raise ShapeError(f"embedding_bag: input must be (B, n), or (n,) with offsets; got {input.shape}")
    if weight.ndim != 2:
        raise ShapeError(f"embedding_bag: weight must be (rows, D), got {weight.shape}")
    if input.dtype.kind not in "iu":
        raise DTypeError(f"embedding_bag: input must hold whole numbers, got {input.dtype}")
    check_rows("embedding_bag", input, weight.shape[0])
    xp = input.device.xp
    starts, index = Tensor.of(_starts(input, offsets, include_last_offset)), reshape(input, input.numel())
    end = int(starts.array[-1])
    index = index if end == index.numel() else index[:end]
    table = prepared(weight, index, max_norm, norm_type, scale_grad_by_freq)
    padding = -1 if padding_idx is None else padding_idx % weight.shape[0]
    if mode == "max":
        best, _ = EmbeddingBagMax.apply(table, index, starts, padding=padding)
        return best  # type: ignore[no-any-return]
    factor = Tensor.of(xp.ones(index.shape, weight.dtype))
    counts: Any = xp.maximum(xp.diff(starts.array), 1)
    if per_sample_weights is not None:
        factor = reshape(per_sample_weights, input.numel())
        factor = factor if end == factor.numel() else factor[:end]
    if padding_idx is not None:
        is_counted = index.array != padding
        factor = factor * Tensor.of(is_counted.astype(weight.dtype))
        seen = xp.concatenate([xp.zeros(1, np.int64), xp.cumsum(is_counted)])
        counts = xp.maximum(xp.diff(seen[starts.array]), 1)
    sums: Tensor = EmbeddingBagSum.apply(table, index, starts, factor)
    return sums if mode == "sum" else sums / Tensor.of(counts.astype(weight.dtype).reshape(-1, 1))


def _starts(input: Tensor, offsets: Tensor | None, include_last_offset: bool) -> Array:
    """Where each bag begins among all picks, and where the last one ends."""
    xp = input.device.xp
    if offsets is None:
        bags, length = input.shape
        return xp.arange(0, bags * length + 1, length) if length else xp.zeros(bags + 1, np.int64)
    starts = offsets.array.astype(np.int64, copy=False)
    if not include_last_offset:
        starts = xp.concatenate([starts, xp.full(1, input.numel())])
    if starts.ndim != 1 or not starts.size or starts[0] or starts[-1] > input.numel() or (xp.diff(starts) < 0).any():
        raise ShapeError(f"embedding_bag: offsets must rise from 0 to at most {input.numel()}, got {offsets}")
    return starts
