"""Small data sets that several tests use."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np

from minidl import Generator
from minidl.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info, sample_generator


class Squares(Dataset[int]):
    def __init__(self, n: int = 23) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        return index * index


class Informed(Squares):
    """Which worker fetches a sample: number, how many there are, seed, and whether its data set is this one."""

    def __getitem__(self, index: int) -> tuple[int, int, int, bool] | None:
        time.sleep(0.01)  # so that no worker fetches all
        info = get_worker_info()
        return info and (info.id, info.num_workers, info.seed, info.dataset is self)


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


class Pictures(Squares):
    """Big enough to be mapped: (3, 64, 64) and what belongs to it."""

    def __getitem__(self, index: int) -> dict:
        noise = sample_generator().uniform((3, 64, 64))
        return {"image": noise, "name": f"picture {index}", "pair": (index, np.float64(index) / 2)}


class Failing(Squares):
    """Sample 6 does `how`."""

    def __init__(self, how: str) -> None:
        super().__init__(12)
        self.how = how

    def __getitem__(self, index: int) -> int:
        if index == 6:
            HOWS[self.how]()
        return index


class NeedsTwo(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


def raise_value_error() -> None:
    error = ValueError("no such image")
    error.add_note("on the second shelf")
    raise error


def raise_local() -> None:
    class Local(Exception):
        def __init__(self) -> None:
            super().__init__("made inside a function")
            self.lock = threading.Lock()

    raise Local


def raise_needs_two() -> None:
    raise NeedsTwo("one", "two")


HOWS = {
    "raises": raise_value_error,
    "raises what cannot be sent": raise_local,
    "raises what cannot be made again": raise_needs_two,
    "is killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crashes": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "leaves": lambda: os._exit(3),
    "exits": lambda: sys.exit("enough"),
    "hangs": lambda: time.sleep(600),
}
