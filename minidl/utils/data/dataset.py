"""Data sets: things with a length, from which samples are taken by number."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.random import Generator, default_generator

Sample = TypeVar("Sample", covariant=True)


class Dataset(Generic[Sample]):
    """Base of data sets. A subclass gives `__getitem__(index)` and `__len__`.

    It may also give `__getitems__(indices)`, which fetches a whole batch of samples at once.
    """

    def __getitem__(self, index: int) -> Sample:
        raise NotImplementedError(f"{type(self).__name__} must give __getitem__")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must give __len__")

    def __add__(self, other: Dataset[Any]) -> ConcatDataset:
        return ConcatDataset([self, other])


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Sample i is element i of every tensor.

    Raises:
        ShapeError: if the tensors differ in length.
    """

    def __init__(self, *tensors: Tensor) -> None:
        if len({t.shape[0] for t in tensors}) != 1:
            raise ShapeError(f"TensorDataset: tensors must be equally long, got {[t.shape[0] for t in tensors]}")
        self.tensors = tensors

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def take(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        """The batch of these samples, by one indexing operation for each tensor."""
        return tuple(t[list(indices)] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].shape[0]


class Subset(Dataset[Any]):
    """The samples of a data set at `indices`."""

    def __init__(self, dataset: Dataset[Any], indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: int) -> Any:
        return self.dataset[self.indices[index]]

    def __len__(self) -> int:
        return len(self.indices)


class ConcatDataset(Dataset[Any]):
    """Data sets one behind the other."""

    def __init__(self, datasets: Sequence[Dataset[Any]]) -> None:
        if not datasets:
            raise ShapeError("ConcatDataset: needs at least one data set")
        self.datasets = list(datasets)
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
    if any(isinstance(n, float) for n in lengths) and math.isclose(sum(lengths), 1.0):
        counts = [math.floor(total * n) for n in lengths]
        for i in range(total - sum(counts)):
            counts[i % len(counts)] += 1
    if sum(counts) != total:
        raise ShapeError(f"random_split: lengths {list(lengths)} must add up to 1 or to the {total} samples")
    order = (generator or default_generator()).permutation(total).tolist()
    ends = list(itertools.accumulate(counts))
    return [Subset(dataset, order[end - count : end]) for count, end in zip(counts, ends, strict=True)]
