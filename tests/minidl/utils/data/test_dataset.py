from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.errors import ArgumentError, ShapeError
from minidl.utils.data import (
    ChainDataset,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    StackDataset,
    Subset,
    TensorDataset,
    default_convert,
    random_split,
)
from tests.minidl.utils.data.sets import Squares, Stream


def test_a_tensor_dataset_gives_rows_of_every_tensor() -> None:
    x, y = minidl.arange(10).reshape(5, 2), np.arange(5)
    data = TensorDataset(x, y)
    assert len(data) == 5
    assert [t.tolist() for t in data[1]] == [[2, 3], 1]
    assert isinstance(data[1][1], minidl.Tensor)
    with pytest.raises(ShapeError, match=r"equally long, got lengths \[5, 4\]"):
        TensorDataset(x, y[:4])
    with pytest.raises(ShapeError, match=r"equally long, got lengths \[None\]"):
        TensorDataset(minidl.tensor(1.0))


@pytest.mark.parametrize(
    "part", [lambda d: d, lambda d: Subset(d, [4, 2, 0, 1]), lambda d: Subset(Subset(d, [3, 1, 0]), [2, 1])]
)
def test_batches_of_a_tensor_dataset_are_those_of_its_samples(part) -> None:
    class OneByOne(TensorDataset):
        """A subclass, for which the loader takes no short cut."""

    x, y = minidl.arange(10.0).reshape(5, 2), minidl.arange(5)
    fast = list(DataLoader(part(TensorDataset(x, y)), batch_size=3))
    slow = list(DataLoader(part(OneByOne(x, y)), batch_size=3))
    for ours, wanted in zip(fast, slow, strict=True):
        assert [t.tolist() for t in ours] == [t.tolist() for t in wanted]
        assert [t.dtype for t in ours] == [t.dtype for t in wanted]


def test_a_subclass_that_changes_samples_is_heard() -> None:
    class Doubled(TensorDataset):
        def __getitem__(self, index: int):
            return (super().__getitem__(index)[0] * 2,)

    (batch,) = DataLoader(Doubled(minidl.arange(3)), batch_size=3)
    assert batch[0].tolist() == [0, 2, 4]


def test_subsets_and_joined_sets_renumber() -> None:
    assert [Subset(Squares(), [3, 1])[i] for i in range(2)] == [9, 1]
    assert Subset(Squares(), minidl.tensor([3, 1]))[0] == 9
    joined = Squares(3) + Squares(2)
    assert [joined[i] for i in range(-5, 5)] == [0, 1, 4, 0, 1] * 2
    with pytest.raises(IndexError, match="index 5 is out of range for 5 samples"):
        joined[5]
    with pytest.raises(ShapeError, match="at least one"):
        ConcatDataset([])


def test_a_subset_asks_for_whole_batches_where_the_set_gives_them() -> None:
    class Batched(Squares):
        def __getitems__(self, indices):
            return [-i for i in indices]

    assert Subset(Batched(), [5, 3, 1]).__getitems__([0, 2]) == [-5, -1]
    assert Subset(Squares(), [5, 3, 1]).__getitems__([0, 2]) == [25, 1]


def test_a_random_split_holds_every_sample_once() -> None:
    parts = random_split(Squares(11), [0.5, 0.3, 0.2], minidl.Generator(0))
    assert [len(p) for p in parts] == [6, 3, 2]  # floors 5, 3, 2; the one left goes to the first
    assert sorted(i for p in parts for i in p.indices) == list(range(11))
    again = random_split(Squares(11), [6, 3, 2], minidl.Generator(0))
    assert [p.indices for p in again] == [p.indices for p in parts]


@pytest.mark.parametrize("lengths", [[5, 5], [15, -4], [1.5, -0.5], [0.5, 0.3], []])
def test_lengths_that_do_not_add_up_are_refused(lengths) -> None:
    with pytest.raises(ShapeError, match=r"must add up|from 0 up"):
        random_split(Squares(11), lengths)


def test_what_a_subclass_must_give_is_named() -> None:
    with pytest.raises(NotImplementedError, match="Dataset must give __getitem__"):
        Dataset()[0]
    with pytest.raises(TypeError, match="Dataset has no __len__"):
        len(Dataset())
    with pytest.raises(NotImplementedError, match="IterableDataset must give __iter__"):
        iter(IterableDataset())


def test_streams_come_one_behind_the_other() -> None:
    both = ChainDataset([Stream(3), Stream(2)])
    assert [int(v) for batch in DataLoader(both, batch_size=2) for v in batch.tolist()] == [0, 1, 2, 0, 1]
    assert type(Stream(3) + Stream(2)) is ChainDataset
    with pytest.raises(
        ArgumentError, match="ChainDataset: data set 1 is a Squares, not an IterableDataset; use ConcatD"
    ):
        ChainDataset([Stream(), Squares()])
    with pytest.raises(ArgumentError, match="ConcatDataset: data set 0 is a stream, Stream; use ChainDataset"):
        ConcatDataset([Stream()])


def test_data_sets_side_by_side() -> None:
    images, labels = TensorDataset(minidl.arange(3)), ["a", "b", "c"]
    assert len(StackDataset(images, labels)) == 3
    assert StackDataset(images, labels)[1] == (images[1], "b")
    assert StackDataset(image=images, label=labels)[2] == {"image": images[2], "label": "c"}
    with pytest.raises(ArgumentError, match="give all data sets by name, or none"):
        StackDataset(images, label=labels)


def test_samples_are_converted_without_a_batch() -> None:
    found = default_convert([{"x": np.ones(2, np.float32), "n": np.int64(3), "name": "a"}, (1.5, None)])
    assert found[0]["x"].tolist() == [1.0, 1.0]
    assert found[0]["n"].item() == 3
    assert found[0]["name"] == "a"
    assert found[1] == (1.5, None)
