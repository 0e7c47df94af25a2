"""Packing and padding beside PyTorch's."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.errors import MinidlError
from minidl.nn.utils import rnn as ours

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
theirs = torch.nn.utils.rnn

LENGTHS = [(5, 5, 3, 1), (2, 5, 1, 4), (3, 3, 3, 3), (1, 1, 1, 1), (4, 1, 4, 1)]


def equal(a: Any, b: Any) -> None:
    assert (a is None) == (b is None)
    if b is not None:
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def is_sorted(lengths: tuple[int, ...]) -> bool:
    return list(lengths) == sorted(lengths, reverse=True)


def places_agree(mine: Any, other: Any, lengths: tuple[int, ...]) -> None:
    """Rows of equal length may be sorted either way: the two orders must be inverse, and sort."""
    assert (mine.sorted_indices is None) == (other.sorted_indices is None)
    if mine.sorted_indices is not None:
        order, back = mine.sorted_indices.numpy(), mine.unsorted_indices.numpy()
        np.testing.assert_array_equal(order[back], np.arange(len(lengths)))
        assert is_sorted(tuple(np.array(lengths)[order]))


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)], ids=str)
def test_packing_and_padding_agree_with_pytorch(lengths, batch_first: bool, shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal((4, 5, *shape) if batch_first else (5, 4, *shape))
    for enforce in [False, True] if is_sorted(lengths) else [False]:
        x, y = minidl.tensor(values).requires_grad_(), torch.tensor(values, requires_grad=True)
        mine = ours.pack_padded_sequence(x, list(lengths), batch_first, enforce)
        other = theirs.pack_padded_sequence(y, list(lengths), batch_first, enforce)
        equal(mine.batch_sizes, other.batch_sizes)
        places_agree(mine, other, lengths)
        if len(set(lengths)) == len(lengths):
            equal(mine.data, other.data)
        for total, first in itertools.product([None, 7], [False, True]):
            a, counts = ours.pad_packed_sequence(mine, first, -1.0, total)
            b, their_counts = theirs.pad_packed_sequence(other, first, -1.0, total)
            equal(a, b)
            equal(counts, their_counts)
        (a * a).sum().backward()
        (b * b).sum().backward()
        equal(x.grad, y.grad)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_pad_sequence_agrees_with_pytorch(side: str, batch_first: bool) -> None:
    rng = np.random.default_rng(0)
    rows = [rng.standard_normal((n, 2)) for n in (3, 1, 5)]
    mine = ours.pad_sequence([minidl.tensor(r) for r in rows], batch_first, 2.5, side)
    equal(mine, theirs.pad_sequence([torch.tensor(r) for r in rows], batch_first, 2.5, side))


def test_pack_sequence_agrees_with_pytorch() -> None:
    rows = [np.arange(n, dtype=np.float64) for n in (3, 1, 5)]
    mine = ours.pack_sequence([minidl.tensor(r) for r in rows], enforce_sorted=False)
    other = theirs.pack_sequence([torch.tensor(r) for r in rows], enforce_sorted=False)
    for a, b in zip(mine, other, strict=True):
        equal(a, b)


X = minidl.zeros(5, 3)
REFUSED = [
    (lambda: ours.pack_padded_sequence(minidl.zeros(5), [1]), r"input must be \(steps, batch, ...\), got \(5,\)"),
    (lambda: ours.pack_padded_sequence(X, [1, 2]), r"one whole number for each of 3 rows, got int64 of shape \(2,\)"),
    (lambda: ours.pack_padded_sequence(X, [1.0, 1.0, 1.0]), "one whole number for each of 3 rows, got float32"),
    (lambda: ours.pack_padded_sequence(X, [6, 1, 1]), "from 1 to the 5 steps of input, got 1 to 6"),
    (lambda: ours.pack_padded_sequence(X, [1, 1, 0]), "from 1 to the 5 steps of input, got 0 to 1"),
    (lambda: ours.pack_padded_sequence(X, [1, 2, 1]), r"must fall, got \[1, 2, 1\]; pass enforce_sorted=False"),
    (lambda: ours.pad_packed_sequence(ours.pack_padded_sequence(X, [4, 2, 1]), total_length=3), "at least 4, got 3"),
    (lambda: ours.pad_sequence([]), "needs sequences"),
    (lambda: ours.pad_sequence([minidl.zeros(2), minidl.zeros(2, 2)]), "differ in their length alone"),
    (lambda: ours.pad_sequence([minidl.zeros(2)], padding_side="up"), "padding_side must be 'right' or 'left'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(MinidlError, match=message) as raised:
        call()
    assert len(raised.value.args) == 1


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_unpadding_and_unpacking_agree_with_pytorch(lengths: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal((5, 4, 2))
    mine, other = minidl.tensor(values), torch.tensor(values)
    for first in (False, True):
        x, y = (mine.transpose(0, 1), other.transpose(0, 1)) if first else (mine, other)
        for a, b in zip(
            ours.unpad_sequence(x, list(lengths), first),
            theirs.unpad_sequence(y.clone(), torch.tensor(lengths), first),  # PyTorch turns what it is given
            strict=True,
        ):
            equal(a, b)
    packs = (
        ours.pack_padded_sequence(mine, lengths, enforce_sorted=False),
        theirs.pack_padded_sequence(other, lengths, enforce_sorted=False),
    )
    for a, b in zip(ours.unpack_sequence(packs[0]), theirs.unpack_sequence(packs[1]), strict=True):
        equal(a, b)
    with pytest.raises(MinidlError, match=r"lengths must be one whole number for each of 4 rows, got shape \(2,\)"):
        ours.unpad_sequence(mine, [1, 2])
