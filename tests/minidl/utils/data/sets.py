"""Small data sets that several tests use."""

from __future__ import annotations

import time

from minidl import Generator
from minidl.utils.data import DataLoader, Dataset, IterableDataset, sample_generator


class Squares(Dataset[int]):
    def __init__(self, n: int = 23) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        return index * index


class Noisy(Squares):
    """Index plus two draws in [0, 1/2); some samples take longer than others."""

    def __getitem__(self, index: int) -> float:
        time.sleep(0.0003 * (index % 3))
        return index + sum(float(sample_generator().uniform(())) for _ in range(2)) / 2


class NoisyBatches(Noisy):
    """The same samples, a batch at a time."""

    def __getitems__(self, indices: list[int]) -> list[float]:
        return [i + sum(float(sample_generator(i).uniform(())) for _ in range(2)) / 2 for i in indices]


class Stream(IterableDataset[float]):
    def __init__(self, n: int = 11) -> None:
        self.n = n

    def __iter__(self):
        for i in range(self.n):
            yield i + float(sample_generator().uniform(()))


def values(loader) -> list:
    return [v for batch in loader for v in batch.tolist()]


def seeded(dataset, **options) -> DataLoader:
    return DataLoader(dataset, generator=Generator(5), **options)
