"""Samplers: the order in which samples are taken.

A random sampler has an `epoch`; its order is drawn from its seed and that number alone. A DataLoader sets it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any, Generic, TypeVar

import numpy as np

from minidl.errors import ArgumentError, StateDictError
from minidl.random import Generator, default_generator

Item = TypeVar("Item", covariant=True)


class Sampler(Generic[Item]):
    """Base of samplers. A subclass gives `__iter__` and `__len__`."""

    def __iter__(self) -> Iterator[Item]:
        raise NotImplementedError(f"{type(self).__name__} must give __iter__")

    def __len__(self) -> int:
        raise TypeError(f"{type(self).__name__} has no __len__")  # what Python raises for things without a length


class SequentialSampler(Sampler[int]):
    """0, 1, 2, ..."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class Shuffling(Sampler[int]):
    """Base of samplers that draw: from a seed that is fixed when they are made, and the epoch."""

    def __init__(self, generator: Generator | None) -> None:
        self.seed = int((generator or default_generator()).integers(0, 2**62))
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, Any]:
        """What the order depends on beside the epoch."""
        return {"seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the order of the sampler that gave the state."""
        if "seed" not in state_dict:
            raise StateDictError(f"{type(self).__name__}: the state lacks 'seed'; was it of a sampler that draws?")
        self.seed = int(state_dict["seed"])

    def drawing(self) -> Generator:
        """The generator of this epoch."""
        return Generator(self.seed).stream("order", self.epoch)


class RandomSampler(Shuffling):
    """All samples in random order; or `num_samples` drawn with replacement."""

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.data_source, self.replacement = data_source, replacement
        self.num_samples = len(data_source) if num_samples is None else num_samples
        if not replacement and self.num_samples > len(data_source):
            raise ArgumentError(f"RandomSampler: {num_samples} of {len(data_source)} samples need replacement=True")

    def __iter__(self) -> Iterator[int]:
        rng, n = self.drawing(), len(self.data_source)
        order = rng.integers(0, n, (self.num_samples,)) if self.replacement else rng.permutation(n)[: self.num_samples]
        return iter(order.tolist())

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Shuffling):
    """The given indices in random order."""

    def __init__(self, indices: Sequence[int], generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.indices: Sequence[int] = indices.tolist() if hasattr(indices, "tolist") else indices

    def __iter__(self) -> Iterator[int]:
        return iter([self.indices[i] for i in self.drawing().permutation(len(self.indices))])

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Shuffling):
    """`num_samples` draws, sample i with a probability proportional to `weights[i]`."""

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Generator | None = None,
    ) -> None:
        super().__init__(generator)
        self.weights = np.asarray(weights, np.float64)
        self.num_samples, self.replacement = num_samples, replacement
        if self.weights.ndim != 1 or not (self.weights >= 0).all() or not 0 < self.weights.sum() < np.inf:
            raise ArgumentError(
                "WeightedRandomSampler: weights must be one list of finite numbers from 0 up, not all 0"
            )
        if not replacement and num_samples > np.count_nonzero(self.weights):
            raise ArgumentError(
                f"WeightedRandomSampler: {num_samples} draws need replacement, or as many positive weights"
            )

    def __iter__(self) -> Iterator[int]:
        p = self.weights / self.weights.sum()
        rng = self.drawing().numpy()
        return iter(rng.choice(len(p), self.num_samples, replace=self.replacement, p=p).tolist())

    def __len__(self) -> int:
        return self.num_samples


class StratifiedSampler(Shuffling):
    """All samples, in an order in which every stretch has the classes in about the proportions of the whole.

    Sample number k of a class of n, shuffled, comes at a place drawn from part k of n of the epoch; so batches of any
    size are stratified, and no two classes keep step.

    Args:
        labels: the class of each sample: whole numbers or texts.

    >>> labels = ["ill"] * 3 + ["well"] * 9
    >>> order = list(StratifiedSampler(labels))
    >>> [sum(labels[i] == "ill" for i in order[part : part + 4]) for part in (0, 4, 8)]
    [1, 1, 1]
    """

    def __init__(self, labels: Sequence[Any], generator: Generator | None = None) -> None:
        super().__init__(generator)
        self.labels = _one_each("StratifiedSampler", "labels", labels)

    def __iter__(self) -> Iterator[int]:
        rng, members = self.drawing(), _members(self.labels)
        places = np.empty(len(self.labels))
        for indices in members:
            count = len(indices)
            within = rng.uniform((count,), dtype=np.dtype(np.float64))
            places[indices[rng.permutation(count)]] = (np.arange(count) + within) / count
        return iter(np.argsort(places, kind="stable").tolist())

    def __len__(self) -> int:
        return len(self.labels)


class GroupSampler(Shuffling):
    """`per_group` samples of each group (of each patient, say), the groups in random order, again and again.

    A patient with many slices does not outweigh one with few. Samples of one group are drawn without replacement as
    far as they go.

    Args:
        groups: the group of each sample: whole numbers or texts.
        per_group: samples of each group in an epoch.

    >>> groups = ["A"] * 100 + ["B"] * 2 + ["C"]
    >>> sorted(groups[i] for i in GroupSampler(groups, per_group=2))
    ['A', 'A', 'B', 'B', 'C', 'C']
    """

    def __init__(self, groups: Sequence[Any], per_group: int = 1, generator: Generator | None = None) -> None:
        super().__init__(generator)
        if per_group < 1:
            raise ArgumentError(f"GroupSampler: per_group must be 1 or more, got {per_group}")
        self.groups, self.per_group = _one_each("GroupSampler", "groups", groups), per_group

    def __iter__(self) -> Iterator[int]:
        rng, rounds = self.drawing(), []
        drawn = [np.resize(indices[rng.permutation(len(indices))], self.per_group) for indices in _members(self.groups)]
        for turn in range(self.per_group):
            rounds.append([int(drawn[group][turn]) for group in rng.permutation(len(drawn))])
        return iter(list(itertools.chain.from_iterable(rounds)))

    def __len__(self) -> int:
        return self.per_group * len(set(self.groups.tolist()))


def _one_each(sampler: str, argument: str, values: Sequence[Any]) -> Any:
    """One value for each sample, as an array."""
    array = np.asarray(values.tolist() if hasattr(values, "tolist") else list(values))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iubUS"):
        raise ArgumentError(
            f"{sampler}: {argument} must be one whole number or text a sample, got {array.dtype} of shape {array.shape}"
        )
    return array


def _members(values: Any) -> list[Any]:
    """The indices of each value, values in sorted order."""
    if not len(values):
        return []
    _, which = np.unique(values, return_inverse=True)
    return list(np.split(np.argsort(which, kind="stable"), np.cumsum(np.bincount(which))[:-1]))


class BatchSampler(Sampler[list[int]]):
    """The indices of another sampler in lists of `batch_size`; the last one may be shorter, or dropped."""

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ArgumentError(f"BatchSampler: batch_size must be a whole number from 1 up, got {batch_size!r}")
        self.sampler, self.batch_size, self.drop_last = sampler, batch_size, drop_last

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the sampler within, if it has any."""
        if hasattr(self.sampler, "set_epoch"):
            self.sampler.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """The state of the sampler within."""
        return dict(self.sampler.state_dict()) if hasattr(self.sampler, "state_dict") else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of the sampler within."""
        if hasattr(self.sampler, "load_state_dict"):
            self.sampler.load_state_dict(state_dict)

    def __iter__(self) -> Iterator[list[int]]:
        return self._batches(iter(self.sampler))  # the order is drawn now, not when the first batch is asked for

    def _batches(self, indices: Iterator[int]) -> Iterator[list[int]]:
        while batch := list(itertools.islice(indices, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        count = len(self.sampler)  # type: ignore[arg-type]
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)
