"""Embedding and EmbeddingBag: a learned row for each of a number of things."""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["Embedding", "EmbeddingBag"]


class _Table(Module):
    """A table of rows, normally distributed at first; the row `padding_idx` is zero."""

    weight: Parameter
    padding_idx: int | None

    def _make_table(
        self, rows: int, width: int, padding_idx: int | None, weight: Tensor | None, device: Any, dtype: Any
    ) -> None:
        if padding_idx is not None and not -rows <= padding_idx < rows:
            name = type(self).__name__
            raise ArgumentError(f"{name}: padding_idx must lie from {-rows} to {rows - 1}, got {padding_idx}")
        self.num_embeddings, self.embedding_dim = rows, width
        self.padding_idx = None if padding_idx is None else padding_idx % rows
        if weight is not None:
            if weight.shape != (rows, width):
                raise ShapeError(f"{type(self).__name__}: _weight must be {(rows, width)}, got {weight.shape}")
            self.weight = Parameter(weight)
        else:
            self.weight = blank(rows, width, device=device, dtype=dtype)
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the rows again."""
        init.normal_(self.weight)
        if self.padding_idx is not None:
            self.weight.array[self.padding_idx] = 0

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Embedding(_Table):
    """A learned row for each whole number. Maps (...) of int64 to (..., embedding_dim).

    Args:
        num_embeddings, embedding_dim: rows of the table, and their length.
        padding_idx: a row that starts at zero and gets no gradient.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for `functional.embedding`.
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, max_norm: float | None = None,
        norm_type: float = 2.0, scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Tensor | None = None,
        _freeze: bool = False, device: Device | str | None = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.sparse = (
            max_norm, norm_type, scale_grad_by_freq, sparse
        )  # fmt: skip
        self._make_table(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)
        self.weight.requires_grad_(not _freeze)

    @classmethod
    def from_pretrained(cls, embeddings: Tensor, freeze: bool = True, **options: Any) -> Embedding:
        """A layer with these rows, held fixed if `freeze`."""
        rows, width = embeddings.shape
        return cls(rows, width, _weight=embeddings, _freeze=freeze, **options)

    def forward(self, input: Tensor) -> Tensor:
        return F.embedding(input, self.weight, self.padding_idx, self.max_norm, self.norm_type, self.scale_grad_by_freq)


class EmbeddingBag(_Table):
    """Rows picked by whole numbers and summed, averaged or maximised in bags; see `functional.embedding_bag`.

    Maps (B, n), or (n,) with offsets, to (B, embedding_dim).
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None, norm_type: float = 2.0,
        scale_grad_by_freq: bool = False, mode: str = "mean", sparse: bool = False, _weight: Tensor | None = None,
        include_last_offset: bool = False, padding_idx: int | None = None, device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:  # fmt: skip
        self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode = (
            max_norm,
            norm_type,
            scale_grad_by_freq,
            mode,
        )
        self.sparse, self.include_last_offset = sparse, include_last_offset
        self._make_table(num_embeddings, embedding_dim, padding_idx, _weight, device, dtype)

    def forward(self, input: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        return F.embedding_bag(
            input, self.weight, offsets, self.max_norm, self.norm_type, self.scale_grad_by_freq, self.mode, self.sparse,
            per_sample_weights, self.include_last_offset, self.padding_idx,
        )  # fmt: skip
