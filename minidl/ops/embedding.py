"""embedding and embedding_bag: rows of a table picked by whole numbers, alone or summed in bags.

Forward copies the rows that are picked. Backward clears the gradient of the table and adds rows to it, in the order in
which they were picked; threads share out the rows of the table, so nobody meets anybody and the bits are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, recording
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.indexing import GatherAdjoint
from minidl.ops.norms import vector_norm
from minidl.ops.reduce import amax
from minidl.ops.row_loops import add_rows, pick_rows
from minidl.ops.views import expand, reshape, unsqueeze
from minidl.ops.where import where

__all__ = ["embedding", "embedding_bag"]


class Embedding(Op):
    """Row index[...] of a table; a gradient does not reach its row `padding`."""

    name = "embedding"
    saves = ("index",)

    @staticmethod
    def infer(weight: Spec, index: Spec, *, padding: int | None) -> Spec:
        return weight.with_shape(*index.shape, weight.shape[1])

    @staticmethod
    def reference(xp: Any, out: Array, weight: Array, index: Array, *, padding: int | None) -> None:
        out[...] = weight[index]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[1].dtype == np.int64 and arrays[0].size > 0

    @staticmethod
    def cpu(out: Array, weight: Array, index: Array, *, padding: int | None) -> None:
        pick_rows(out, weight, index, 0)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return EmbeddingGrad.apply(g, node.saved[0], rows=node.specs[0].shape[0], **node.params), None


class EmbeddingGrad(Op):
    """The gradient of the table."""

    name = "embedding_grad"
    saves = ("index",)

    @staticmethod
    def infer(g: Spec, index: Spec, *, rows: int, padding: int | None) -> Spec:
        return g.with_shape(rows, g.shape[-1])

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, index: Array, *, rows: int, padding: int | None) -> None:
        out[...] = 0
        xp.add.at(out, index.reshape(-1), g.reshape(index.size, g.shape[-1]))
        if padding is not None:
            out[padding] = 0

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[1].dtype == np.int64 and arrays[0].size > 0

    @staticmethod
    def cpu(out: Array, g: Array, index: Array, *, rows: int, padding: int | None) -> None:
        add_rows(out, g, index, 0, -1 if padding is None else padding)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (index,) = node.saved
        padding = node.params["padding"]
        found = Embedding.apply(g, index, padding=padding)
        return (found if padding is None else where(unsqueeze(index != padding, -1), found, 0.0)), None


def embedding(
    input: Tensor, weight: Tensor, padding_idx: int | None = None, max_norm: float | None = None,
    norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False,
) -> Tensor:  # fmt: skip
    """Row input[...] of `weight` for each whole number.

    Args:
        input: any shape, int64, from 0 up to the number of rows.
        weight: (rows, D).
        padding_idx: a row that gets no gradient.
        max_norm, norm_type: rows picked whose norm is above are shortened to it, in `weight` itself.
        scale_grad_by_freq: divide the gradient of each row by how often it was picked.
        sparse: taken for PyTorch's sake; gradients are dense.

    Returns:
        (*input.shape, D).

    Raises:
        ShapeError, DTypeError, ArgumentError: if `input` or `padding_idx` does not fit.

    >>> embedding(Tensor([1, 0]).long(), Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    if weight.ndim != 2:
        raise ShapeError(f"embedding: weight must be (rows, D), got {weight.shape}")
    if input.dtype.kind not in "iu":
        raise DTypeError(f"embedding: input must hold whole numbers, got {input.dtype}")
    rows = weight.shape[0]
    if padding_idx is not None:
        if not -rows <= padding_idx < rows:
            raise ArgumentError(f"embedding: padding_idx must lie from {-rows} to {rows - 1}, got {padding_idx}")
        padding_idx %= rows
    _check_rows("embedding", input, rows)
    if max_norm is not None:
        shorten_rows(weight, input, max_norm, norm_type)
    table = weight
    if scale_grad_by_freq and input.numel():
        xp = input.device.xp
        often = xp.maximum(xp.bincount(input.array.reshape(-1), minlength=rows), 1).reshape(-1, 1)
        share = Tensor.of((1 / often).astype(weight.dtype))
        table = table * share + (table * (1 - share)).detach()
    result: Tensor = Embedding.apply(table, input, padding=padding_idx)
    return result


def _check_rows(name: str, input: Tensor, rows: int) -> None:
    if not input.numel():
        return
    low, high = int(input.array.min()), int(input.array.max())
    if not 0 <= low <= high < rows:
        raise ShapeError(f"{name}: input goes from {low} to {high}, but weight has rows 0 to {rows - 1}")


def shorten_rows(weight: Tensor, picked: Tensor, max_norm: float, norm_type: float) -> None:
    """Shorten, in place, the rows that are picked to a norm of at most `max_norm`."""
    with recording(False):
        xp = weight.device.xp
        rows = xp.unique(picked.array)
        part = Tensor.of(weight.array[rows])
        length = vector_norm(part, norm_type, -1, True)
        weight.array[rows] = (part * where(length > max_norm, max_norm / (length + 1e-7), 1.0)).array


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
    """
    if mode not in ("sum", "mean", "max"):
        raise ArgumentError(f"embedding_bag: mode must be 'sum', 'mean' or 'max', got {mode!r}")
    if per_sample_weights is not None and (mode != "sum" or per_sample_weights.shape != input.shape):
        raise ArgumentError("embedding_bag: per_sample_weights needs mode 'sum' and the shape of input")
    if (input.ndim == 2) == (offsets is not None) or input.ndim not in (1, 2):
        raise ShapeError(f"embedding_bag: input must be (B, n), or (n,) with offsets; got {input.shape}")
    xp = input.device.xp
    flat = reshape(input, input.numel())
    if offsets is None:
        bags, of_bag = input.shape[0], xp.repeat(xp.arange(input.shape[0]), input.shape[1])
    else:
        starts = offsets.array[:-1] if include_last_offset else offsets.array
        bags = len(starts)
        of_bag = xp.searchsorted(starts, xp.arange(flat.numel()), side="right") - 1
    if padding_idx is not None:
        padding_idx %= weight.shape[0]
    rows = embedding(flat, weight, padding_idx, max_norm, norm_type, scale_grad_by_freq)
    counted = xp.ones(flat.shape, bool) if padding_idx is None else flat.array != padding_idx
    if mode == "max":
        return _largest_of_bags(rows, of_bag, counted, bags)
    factor = Tensor.of(counted.astype(rows.dtype))
    if per_sample_weights is not None:
        factor = factor * reshape(per_sample_weights, per_sample_weights.numel())
    sums = _sum_of_bags(rows * unsqueeze(factor, 1), of_bag, bags)
    if mode == "sum":
        return sums
    counts = xp.bincount(of_bag[counted], minlength=bags).astype(rows.dtype)
    return sums / Tensor.of(xp.maximum(counts, 1).reshape(-1, 1))


def _sum_of_bags(rows: Tensor, of_bag: object, bags: int) -> Tensor:
    places = expand(unsqueeze(Tensor.of(of_bag), 1), rows.shape)
    result: Tensor = GatherAdjoint.apply(rows, places, shape=(bags, rows.shape[1]), dim=0)
    return result


def _largest_of_bags(rows: Tensor, of_bag: object, counted: object, bags: int) -> Tensor:
    xp = rows.device.xp
    mine = Tensor.of((xp.arange(bags).reshape(-1, 1) == of_bag) & counted)
    if not rows.shape[0]:
        return Tensor.of(xp.zeros((bags, rows.shape[1]), rows.dtype))
    best = amax(where(unsqueeze(mine, 2), unsqueeze(rows, 0), -math.inf), 1)
    return where(best == -math.inf, 0.0, best)
