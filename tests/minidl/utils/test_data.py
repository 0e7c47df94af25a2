from __future__ import annotations

import threading
import time
from typing import NamedTuple

import numpy as np
import pytest

import minidl
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
    sample_generator,
)


class Squares(Dataset[int]):
    def __init__(self, n: int = 23) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> int:
        return index * index


class Noisy(Squares):
    def __getitem__(self, index: int) -> float:
        time.sleep(0.0005 * (index % 3))
        return index + float(sample_generator().uniform(()))


def values(loader) -> list:
    return [v for batch in loader for v in batch.tolist()]


def seeded(dataset, **options) -> DataLoader:
    return DataLoader(dataset, generator=minidl.Generator(5), **options)


def test_batches_hold_every_sample_once() -> None:
    assert values(DataLoader(Squares(), batch_size=4)) == [i * i for i in range(23)]
    assert sorted(values(DataLoader(Squares(), batch_size=4, shuffle=True))) == [i * i for i in range(23)]
    assert len(DataLoader(Squares(), batch_size=4)) == 6
    assert len(list(DataLoader(Squares(), batch_size=4, drop_last=True))) == 5
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]


@pytest.mark.parametrize(("workers", "prefetch"), [(0, None), (1, 1), (3, 2), (4, 8)])
def test_order_and_draws_depend_on_seed_and_epoch_alone(workers, prefetch) -> None:
    loader = seeded(Noisy(), batch_size=4, shuffle=True, num_workers=workers, prefetch_factor=prefetch)
    plain = seeded(Noisy(), batch_size=4, shuffle=True)
    first, second = values(loader), values(loader)
    assert first == values(plain)
    assert first != second
    loader.set_epoch(0)
    assert values(loader) == first


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_resumes_at_its_next_batch(workers) -> None:
    whole = seeded(Noisy(), batch_size=4, shuffle=True)
    wanted = [values(whole), values(whole)]
    broken = seeded(Noisy(), batch_size=4, shuffle=True, num_workers=workers)
    passes = iter(broken)
    seen = [v for _ in range(2) for v in next(passes).tolist()]
    state = broken.state_dict()
    resumed = DataLoader(Noisy(), batch_size=4, shuffle=True, num_workers=workers)
    resumed.load_state_dict(state)
    assert seen + values(resumed) == wanted[0]
    assert values(resumed) == wanted[1]


class Broken(Squares):
    def __getitem__(self, index: int) -> int:
        if index == 6:
            raise ValueError("no such image")
        return index


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_names_the_sample(workers) -> None:
    with pytest.raises(ValueError, match="no such image") as raised:
        list(DataLoader(Broken(), batch_size=4, num_workers=workers))
    assert raised.value.__notes__ == ["DataLoader: while fetching sample 6 of epoch 0"]


def test_a_loader_that_is_left_midway_leaves_no_thread() -> None:
    for batch in DataLoader(Squares(), batch_size=2, num_workers=3):
        assert len(batch) == 2
        break
    deadline = time.monotonic() + 5
    while any(t.name.startswith("minidl-loader") for t in threading.enumerate()) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("minidl-loader")]


def test_a_slow_sample_runs_into_the_timeout() -> None:
    class Slow(Squares):
        def __getitem__(self, index: int) -> int:
            time.sleep(0.3)
            return index

    with pytest.raises(MinidlError, match=r"no batch came within 0\.05 s"):
        next(iter(DataLoader(Slow(), num_workers=1, timeout=0.05)))


def test_tensors_are_fetched_a_batch_at_a_time() -> None:
    x, y = minidl.arange(10).reshape(5, 2), minidl.arange(5)
    batches = list(DataLoader(TensorDataset(x, y), batch_size=3))
    assert [b[0].shape for b in batches] == [(3, 2), (2, 2)]
    assert batches[1][1].tolist() == [3, 4]
    assert TensorDataset(x, y)[1][0].tolist() == [2, 3]
    with pytest.raises(ShapeError, match=r"equally long, got \[5, 4\]"):
        TensorDataset(x, y[:4])


def test_collating_keeps_the_structure() -> None:
    class Pair(NamedTuple):
        image: np.ndarray
        label: int

    batch = default_collate([Pair(np.zeros(2, np.uint8), 1), Pair(np.ones(2, np.uint8), 0)])
    assert isinstance(batch, Pair)
    assert batch.image.tolist() == [[0, 0], [1, 1]]
    assert batch.image.dtype == np.uint8
    assert default_collate([{"a": "x", "b": True}, {"a": "y", "b": False}])["a"] == ["x", "y"]
    with pytest.raises(ShapeError, match="one shape"):
        default_collate([np.zeros(2), np.zeros(3)])
    with pytest.raises(DTypeError, match="cannot batch samples of type object"):
        default_collate([object()])


def test_joining_and_splitting() -> None:
    joined = Squares(3) + Squares(2)
    assert isinstance(joined, ConcatDataset)
    assert [joined[i] for i in range(len(joined))] == [0, 1, 4, 0, 1]
    assert joined[-1] == 1
    with pytest.raises(IndexError):
        joined[5]
    parts = random_split(Squares(11), [0.5, 0.3, 0.2], minidl.Generator(0))
    assert [len(p) for p in parts] == [6, 3, 2]  # floors 5, 3, 2; the one left goes to the first
    assert sorted(i for p in parts for i in p.indices) == list(range(11))
    assert [Subset(Squares(), [3, 1])[i] for i in range(2)] == [9, 1]
    with pytest.raises(ShapeError, match="must add up"):
        random_split(Squares(11), [5, 5])


def test_samplers() -> None:
    assert sorted(RandomSampler(Squares(7))) == list(range(7))
    assert len(list(RandomSampler(Squares(3), replacement=True, num_samples=50))) == 50
    assert sorted(SubsetRandomSampler([4, 2, 9])) == [2, 4, 9]
    drawn = list(WeightedRandomSampler([0.0, 1.0, 3.0], 4000, generator=minidl.Generator(1)))
    assert drawn.count(0) == 0
    assert drawn.count(2) / 4000 == pytest.approx(0.75, abs=0.03)  # four standard errors of 0.0068
    assert list(BatchSampler(range(5), 2, drop_last=False)) == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": [1], "shuffle": True}, "either sampler or shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 up, got 0"),
        ({"num_workers": -1}, "from 0 up"),
        ({"worker_init_fn": print}, "sample_generator"),
    ],
)
def test_wrong_arguments_are_named(options, message) -> None:
    with pytest.raises(MinidlError, match=message):
        DataLoader(Squares(), **options)


def test_sample_generator_exists_only_inside_a_loader() -> None:
    with pytest.raises(MinidlError, match="only while a DataLoader"):
        sample_generator()
