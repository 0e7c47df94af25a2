"""Data sets: things with a length, from which samples are taken by number."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from minidl.core import Tensor, as_tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.random import Generator, default_generator

Sample = TypeVar("Sample", covariant=True)


class Dataset(Generic[Sample]):
    """Base of data sets. A subclass gives `__getitem__(index)` and `__len__`.

    It may also give `__getitems__(indices)`, which gives the list of samples of a whole batch at once. Random draws in
    either should come from `minidl.utils.data.sample_generator()`.
    """

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError(f"{type(self).__name__} must give __getitem__")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no __len__")  # what Python raises for things without a length

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class IterableDataset(Dataset[Sample]):
    """Base of data sets that are streams: a subclass gives `__iter__`, and may give `__len__`."""

    def __iter__(self) -> Iterator[Sample]:
        raise NotImplementedError(f"{type(self).__name__} must give __iter__")

    def __add__(self, other: Dataset[Any]) -> ChainDataset:  # type: ignore[override]  # streams have no numbers
        return ChainDataset([self, other])


class ChainDataset(IterableDataset[Any]):
    """Streams one behind the other.

    Raises:
        ArgumentError: for one that is not a stream.
    """

    def __init__(self, datasets: Iterable[Dataset[Any]]) -> None:
        self.datasets: list[Any] = list(datasets)
        for position, dataset in enumerate(self.datasets):
            if not isinstance(dataset, IterableDataset):
                raise ArgumentError(
                    f"ChainDataset: data set {position} is a {type(dataset).__name__}, not an IterableDataset; "
                    "use ConcatDataset for data sets that are indexed"
                )

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is element i of every tensor. A DataLoader fetches its batches by one indexing operation each.

    Raises:
        ShapeError: if the tensors differ in length.
    """

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tuple(as_tensor(t) for t in tensors)
        lengths = [t.shape[0] if t.shape else None for t in self.tensors]
        if len(set(lengths)) != 1 or None in lengths:
            raise ShapeError(f"TensorDataset: tensors must be equally long, got lengths {lengths}")

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class StackDataset(Dataset[Any]):
    """Data sets side by side: sample i is the tuple of their samples i, or a dict where they were given by name.

    Raises:
        ShapeError: if there is none, or they differ in length.
    """

    def __init__(self, *args: Dataset[Any], **kwargs: Dataset[Any]) -> None:
        if args and kwargs:
            raise ArgumentError("StackDataset: give all data sets by name, or none")
        self.datasets: Any = kwargs or args
        lengths = [len(part) for part in (*args, *kwargs.values())]
        if len(set(lengths)) != 1:
            raise ShapeError(f"StackDataset: data sets must be equally long, and at least one, got lengths {lengths}")

    def __getitem__(self, index: int) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple([part[index] for part in self.datasets])

    def __len__(self) -> int:
        return len(next(iter(self.datasets.values())) if isinstance(self.datasets, dict) else self.datasets[0])


class Subset(Dataset[Any]):
    """The samples of a data set at `indices`."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset: Any = dataset
        self.indices: Sequence[int] = indices.tolist() if hasattr(indices, "tolist") else indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """The samples of a batch, at once where the data set can."""
        inner = [self.indices[i] for i in indices]
        if hasattr(self.dataset, "__getitems__"):
            return list(self.dataset.__getitems__(inner))
        return [self.dataset[i] for i in inner]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """Data sets one behind the other."""

    def __init__(self, datasets: Sequence[Dataset[Any]]) -> None:
        if not datasets:
            raise ShapeError("ConcatDataset: needs at least one data set")
        self.datasets = list(datasets)
        for position, part in enumerate(self.datasets):
            if isinstance(part, IterableDataset):
                raise ArgumentError(
                    f"ConcatDataset: data set {position} is a stream, {type(part).__name__}; use ChainDataset"
                )
        self.ends = list(itertools.accumulate(len(d) for d in self.datasets))

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: index {index} is out of range for {len(self)} samples")
        index %= len(self)
        which = bisect.bisect_right(self.ends, index)
        return self.datasets[which][index - (self.ends[which - 1] if which else 0)]

    def __len__(self) -> int:
        return self.ends[-1]


def random_split(
    dataset: Dataset[Any], lengths: Sequence[int | float], generator: Generator | None = None
) -> list[Subset]:
    """Split a data set at random, without overlap.

    Args:
        lengths: numbers of samples that add up to the whole, or fractions that add up to 1 (what rounding leaves
            goes to the first parts, one each).

    Raises:
        ShapeError: if they do not add up.
    """
    total = len(dataset)
    counts = [int(n) for n in lengths]
    if min(lengths, default=0) < 0:
        raise ShapeError(f"random_split: lengths must be from 0 up, got {list(lengths)}")
    if any(isinstance(n, float) for n in lengths) and math.isclose(sum(lengths), 1.0):
        counts = [math.floor(total * n) for n in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    if sum(counts) != total:
        raise ShapeError(f"random_split: lengths {list(lengths)} must add up to 1 or to the {total} samples")
    order = (generator or default_generator()).permutation(total).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)]
