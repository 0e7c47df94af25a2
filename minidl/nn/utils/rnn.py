"""Sequences of unequal length, under PyTorch's names: padded to a rectangle, or packed without padding.

A packed batch holds, step after step, the rows that have this step, the longest row first. Both ways are one op that
picks rows, so gradients pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Tensor, as_tensor
from minidl.device import Array
from minidl.errors import ArgumentError, ShapeError
from minidl.ops import cat, getitem

__all__ = [
    "PackedSequence", "pack_padded_sequence", "pack_sequence", "pad_packed_sequence", "pad_sequence", "unpack_sequence",
    "unpad_sequence",
]  # fmt: skip


class PackedSequence(NamedTuple):
    """A batch of sequences without padding; made by `pack_padded_sequence` or `pack_sequence`.

    Attributes:
        data: (sum of lengths, *): of each step the rows that have it, the longest first.
        batch_sizes: (T,), int64: how many rows have each step.
        sorted_indices: (N,): which row of the original batch stands at each place; None when they were sorted.
        unsorted_indices: (N,): at which place each row of the original batch stands; None when they were sorted.
    """

    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None = None
    unsorted_indices: Tensor | None = None


def pack_padded_sequence(
    input: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False, enforce_sorted: bool = True
) -> PackedSequence:
    """Leave the padding out of a padded batch.

    Args:
        input: (T, N, *), or (N, T, *) with `batch_first`.
        lengths: (N,), from 1 to T.
        enforce_sorted: require that lengths fall; False sorts the rows here.

    Raises:
        ShapeError: if there is not one length for each row.
        ArgumentError: for a length that is not from 1 to T, or lengths that do not fall where they must.

    >>> packed = pack_padded_sequence(Tensor([[1.0, 2.0], [3.0, 0.0]]), [2, 1])
    >>> packed.data, packed.batch_sizes
    (tensor([1., 2., 3.]), tensor([2, 1]))
    """
    if input.ndim < 2:
        raise ShapeError(f"pack_padded_sequence: input must be (steps, batch, ...), got {input.shape}")
    padded = input.transpose(0, 1) if batch_first else input
    counts = _checked_lengths(lengths, padded, enforce_sorted)
    if enforce_sorted:
        return PackedSequence(packed_rows(padded, counts), _tensor(_batch_sizes(counts)))
    order = np.argsort(-counts, kind="stable")
    padded = padded[:, _tensor(order)]
    data = packed_rows(padded, counts[order])
    return PackedSequence(data, _tensor(_batch_sizes(counts[order])), _tensor(order), _tensor(np.argsort(order)))


def pad_packed_sequence(
    sequence: PackedSequence, batch_first: bool = False, padding_value: float = 0.0, total_length: int | None = None
) -> tuple[Tensor, Tensor]:
    """The inverse of `pack_padded_sequence`.

    Args:
        padding_value: what stands where a row has no step.
        total_length: number of steps of the result; that of the longest row when None.

    Returns:
        The batch (T, N, *), or (N, T, *) with `batch_first`, rows in their original order, and their lengths (N,).

    Raises:
        ArgumentError: if `total_length` is less than the longest row has.
    """
    lengths = lengths_of(sequence)
    steps = len(sequence.batch_sizes)
    if total_length is not None and total_length < steps:
        raise ArgumentError(f"pad_packed_sequence: total_length must be at least {steps}, got {total_length}")
    padded = padded_rows(sequence.data, lengths, total_length or steps, padding_value)
    if sequence.unsorted_indices is not None:
        padded = padded[:, sequence.unsorted_indices]
        lengths = lengths[sequence.unsorted_indices.numpy()]
    return padded.transpose(0, 1) if batch_first else padded, _tensor(lengths)


def pad_sequence(
    sequences: Sequence[Tensor], batch_first: bool = False, padding_value: float = 0.0, padding_side: str = "right"
) -> Tensor:
    """Sequences of unequal length (L, *) as one batch (T, N, *), or (N, T, *) with `batch_first`.

    Args:
        padding_side: "right" puts the padding at the end of each row, "left" at its start.

    >>> pad_sequence([Tensor([1.0]), Tensor([2.0, 3.0])], batch_first=True)
    tensor([[1., 0.],
            [2., 3.]])
    """
    if not len(sequences) or any(s.shape[1:] != sequences[0].shape[1:] or not s.ndim for s in sequences):
        shapes = [s.shape for s in sequences]
        raise ShapeError(f"pad_sequence: needs sequences (L, ...) that differ in their length alone, got {shapes}")
    if padding_side not in ("right", "left"):
        raise ArgumentError(f"pad_sequence: padding_side must be 'right' or 'left', got {padding_side!r}")
    counts = np.array([len(s) for s in sequences])
    steps = int(counts.max())
    step = np.arange(steps)[:, None] - (steps - counts if padding_side == "left" else 0)
    places = np.cumsum(counts) - counts + step
    padded = _picked(cat(list(sequences)), np.where((step >= 0) & (step < counts), places, -1), padding_value)
    return padded.transpose(0, 1) if batch_first else padded


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences of unequal length (L, *), packed; the longest first unless `enforce_sorted` is False."""
    return pack_padded_sequence(pad_sequence(sequences), [len(s) for s in sequences], enforce_sorted=enforce_sorted)


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """The rows of a padded batch (T, N, *), each as long as it is, (L, *)."""
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    counts = as_tensor(lengths).numpy()
    if counts.shape != rows.shape[:1]:
        raise ShapeError(
            f"unpad_sequence: lengths must be one whole number for each of {len(rows)} rows, got shape {counts.shape}"
        )
    return [rows[n, : int(count)] for n, count in enumerate(counts)]


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The inverse of `pack_sequence`: the sequences, in the order of the batch."""
    padded, lengths = pad_packed_sequence(packed_sequences)
    return unpad_sequence(padded, lengths)


def lengths_of(sequence: PackedSequence) -> Array:
    """(N,): the length of each row, in the order in which they are packed."""
    sizes = sequence.batch_sizes.numpy()
    return (sizes[:, None] > np.arange(sizes[0])).sum(0)


def packed_rows(padded: Tensor, lengths: Array) -> Tensor:
    """(T, N, *) without padding, rows of falling length."""
    rows = padded.reshape(-1, *padded.shape[2:])
    steps = np.arange(lengths.max())
    places = np.flatnonzero(steps[:, None] < lengths)  # counted in steps of len(lengths) rows
    picked: Tensor = getitem(rows, _tensor(places).to(rows.device))
    return picked


def padded_rows(data: Tensor, lengths: Array, steps: int, padding_value: float = 0.0) -> Tensor:
    """The inverse of `packed_rows`."""
    has_step = np.arange(steps)[:, None] < lengths
    return _picked(data, np.where(has_step, np.cumsum(has_step).reshape(has_step.shape) - 1, -1), padding_value)


def _picked(rows: Tensor, places: Array, padding_value: float) -> Tensor:
    """rows[places], and `padding_value` at place -1."""
    padding = Tensor.of(rows.device.xp.full((1, *rows.shape[1:]), padding_value, rows.dtype))
    picked: Tensor = getitem(cat([rows, padding]), _tensor(places % (len(rows) + 1)).to(rows.device))
    return picked


def _batch_sizes(lengths: Array) -> Array:
    return (np.arange(lengths.max())[:, None] < lengths).sum(1)


def _checked_lengths(lengths: Any, padded: Tensor, enforce_sorted: bool) -> Array:
    counts = as_tensor(lengths).numpy()
    if counts.shape != padded.shape[1:2] or counts.dtype.kind not in "iu" or not counts.size:
        raise ShapeError(
            f"pack_padded_sequence: lengths must be one whole number for each of {padded.shape[1]} rows, "
            f"got {counts.dtype} of shape {counts.shape}"
        )
    if counts.min() < 1 or counts.max() > len(padded):
        raise ArgumentError(
            f"pack_padded_sequence: lengths must be from 1 to the {len(padded)} steps of input, "
            f"got {counts.min()} to {counts.max()}"
        )
    if enforce_sorted and (np.diff(counts) > 0).any():
        raise ArgumentError(
            f"pack_padded_sequence: lengths must fall, got {counts.tolist()}; pass enforce_sorted=False to sort rows"
        )
    return counts.astype(np.int64)


def _tensor(array: Array) -> Tensor:
    return Tensor.of(np.asarray(array, np.int64))
