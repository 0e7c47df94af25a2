"""embedding: rows of a table picked by whole numbers.

Forward copies the rows that are picked. Backward clears the gradient of the table and adds rows to it, in the order in
which they were picked; threads share out the rows of the table, so nobody meets anybody and the bits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, recording
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.indexing import has_only
from minidl.ops.norms import vector_norm
from minidl.ops.row_loops import add_rows, pick_rows
from minidl.ops.views import unsqueeze
from minidl.ops.where import where

__all__ = ["embedding"]


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
    check_rows("embedding", input, rows)
    table = prepared(weight, input, max_norm, norm_type, scale_grad_by_freq)
    result: Tensor = Embedding.apply(table, input, padding=padding_idx)
    return result


def check_rows(name: str, input: Tensor, rows: int) -> None:
    """Raise ShapeError if a number is no row of a table."""
    array = input.array
    if has_only(array, rows):
        return
    raise ShapeError(
        f"{name}: input goes from {int(array.min())} to {int(array.max())}, but weight has rows 0 to {rows - 1}"
    )


def prepared(
    weight: Tensor, picked: Tensor, max_norm: float | None, norm_type: float, scale_grad_by_freq: bool
) -> Tensor:
    """The table, with its rows shortened and their gradients scaled as the arguments of `embedding` say."""
    if max_norm is not None:
        shorten_rows(weight, picked, max_norm, norm_type)
    if not scale_grad_by_freq or not picked.numel():
        return weight
    xp = picked.device.xp
    often = xp.maximum(xp.bincount(picked.array.reshape(-1), minlength=weight.shape[0]), 1).reshape(-1, 1)
    share = Tensor.of((1 / often).astype(weight.dtype))
    return weight * share + (weight * (1 - share)).detach()


def shorten_rows(weight: Tensor, picked: Tensor, max_norm: float, norm_type: float) -> None:
    """Shorten, in place, the rows that are picked to a norm of at most `max_norm`."""
    with recording(False):
        xp = weight.device.xp
        rows = xp.unique(picked.array)
        part = Tensor.of(weight.array[rows])
        length = vector_norm(part, norm_type, -1, True)
        weight.array[rows] = (part * where(length > max_norm, max_norm / (length + 1e-7), 1.0)).array
