from __future__ import annotations

import gc
import itertools
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest

import minidl
from minidl.core import is_recording
from minidl.errors import ArgumentError, MinidlError, StateDictError
from minidl.io import read_checkpoint, save_checkpoint
from minidl.utils.data import BatchSampler, DataLoader, RandomSampler, sample_generator
from minidl.utils.data.workers import THREAD_NAME
from tests.minidl.utils.data.sets import Noisy, NoisyBatches, Squares, Stream, seeded, values


def loader_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]


def threads_end(within_s: float = 5) -> bool:
    deadline = time.monotonic() + within_s
    while loader_threads() and time.monotonic() < deadline:
        time.sleep(0.005)
    return not loader_threads()


def test_batches_hold_every_sample_once() -> None:
    assert values(DataLoader(Squares(), batch_size=4)) == [i * i for i in range(23)]
    assert sorted(values(DataLoader(Squares(), batch_size=4, shuffle=True))) == [i * i for i in range(23)]
    assert len(DataLoader(Squares(), batch_size=4)) == 6
    dropped = DataLoader(Squares(), batch_size=4, drop_last=True)
    assert len(dropped) == len(list(dropped)) == 5
    assert list(DataLoader(Squares(3), batch_size=None)) == [0, 1, 4]
    assert list(DataLoader(Squares(0), batch_size=3)) == []


@pytest.mark.parametrize("data", [Noisy, NoisyBatches])
@pytest.mark.parametrize(("workers", "prefetch"), [(0, None), (1, 1), (3, 2), (4, 8)])
def test_order_and_draws_depend_on_seed_and_epoch_alone(data, workers, prefetch) -> None:
    loader = seeded(data(), batch_size=4, shuffle=True, num_workers=workers, prefetch_factor=prefetch)
    plain = seeded(Noisy(), batch_size=4, shuffle=True)
    first, second = values(loader), values(loader)
    assert first == values(plain)
    assert sorted(int(v) for v in second) == list(range(23))
    assert first != second
    loader.set_epoch(0)
    assert values(loader) == first
    loader.set_epoch(1)
    assert values(loader) == second


def test_the_order_of_a_million_indices_is_the_same_for_any_number_of_workers() -> None:
    class Names(Squares):
        def __getitems__(self, indices: list[int]) -> list[int]:
            return indices

    orders = [
        np.concatenate(
            list(seeded(Names(1_000_000), batch_size=10_000, shuffle=True, num_workers=workers, collate_fn=np.asarray))
        )
        for workers in (0, 3)
    ]
    np.testing.assert_array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(np.sort(orders[0]), np.arange(1_000_000))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("data", [Noisy, Stream])
def test_a_pass_goes_on_at_any_batch(data, workers) -> None:
    options = {"batch_size": 4, "num_workers": workers, **({} if data is Stream else {"shuffle": True})}
    whole = seeded(data(), **options)
    wanted = [values(whole), values(whole), values(whole)]
    size = len(wanted[0])
    for stop in range(-(-size // 4) + 1):
        broken = seeded(data(), **options)
        values(broken)
        passing = iter(broken)
        seen = [v for batch in itertools.islice(passing, stop) for v in batch.tolist()]
        state = broken.state_dict()
        assert (state["epoch"], state["batch"]) == (1, stop)
        resumed = DataLoader(data(), **options)  # another seed, until the state is loaded
        resumed.load_state_dict(state)
        resumed.set_epoch(1)  # as a loop over epochs would
        assert seen + values(resumed) == wanted[1]
        assert values(resumed) == wanted[2]


def test_a_pass_that_is_left_is_over_and_the_next_is_the_next_epoch() -> None:
    loader, whole = seeded(Squares(), batch_size=4, shuffle=True), seeded(Squares(), batch_size=4, shuffle=True)
    wanted = [values(whole) for _ in range(3)]
    peeked = next(iter(loader))
    assert peeked.tolist() == wanted[0][:4]
    assert values(loader) == wanted[1]
    loader.set_epoch(0)
    assert values(loader) == wanted[0]


def test_two_passes_at_once_do_not_disturb_each_other() -> None:
    loader, whole = seeded(Noisy(), batch_size=4, shuffle=True), seeded(Noisy(), batch_size=4, shuffle=True)
    wanted = [values(whole), values(whole)]
    pairs = list(zip(iter(loader), iter(loader), strict=True))
    assert [[v for pair in pairs for v in pair[which].tolist()] for which in (0, 1)] == wanted


def test_a_batch_sampler_of_ones_own_gets_the_epoch_too() -> None:
    def make() -> DataLoader:
        sampler = RandomSampler(Squares(), generator=minidl.Generator(2))
        return DataLoader(Squares(), batch_sampler=BatchSampler(sampler, 4, drop_last=False))

    loader = make()
    first, second = values(loader), values(loader)
    assert sorted(first) == sorted(second) != first != second
    resumed = DataLoader(Squares(), batch_sampler=BatchSampler(RandomSampler(Squares()), 4, drop_last=False))
    state = make().state_dict()
    resumed.load_state_dict(state)
    assert values(resumed) == first


def test_an_endless_sampler_is_read_as_it_is_needed() -> None:
    loader = DataLoader(Squares(), batch_size=2, sampler=itertools.cycle([1, 2, 3]), num_workers=2)
    assert [b.tolist() for b in itertools.islice(loader, 3)] == [[1, 4], [9, 1], [4, 9]]


def test_an_empty_sampler_is_no_missing_sampler() -> None:
    assert list(DataLoader(Squares(), sampler=[])) == []


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stream_comes_in_its_own_order(workers) -> None:
    loader = seeded(Stream(), batch_size=4, num_workers=workers)
    batches = [batch.tolist() for batch in loader]
    assert [len(b) for b in batches] == [4, 4, 3]
    assert [int(v) for b in batches for v in b] == list(range(11))
    assert batches == [batch.tolist() for batch in seeded(Stream(), batch_size=4)]
    assert batches != [batch.tolist() for batch in loader]  # the draws of the next epoch
    assert [len(b) for b in seeded(Stream(), batch_size=4, num_workers=workers, drop_last=True)] == [4, 4]
    assert len(list(seeded(Stream(), batch_size=None, num_workers=workers))) == 11
    with pytest.raises(TypeError, match="Stream has no __len__"):
        len(loader)


class Broken(Squares):
    def __getitem__(self, index: int) -> int:
        if index == 6:
            raise ValueError("no such image")
        return index


class BrokenBatches(Broken):
    def __getitems__(self, indices: list[int]) -> list[int]:
        return [self[i] for i in indices]


class BrokenStream(Stream):
    def __iter__(self):
        yield from range(6)
        raise ValueError("no such image")


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("data", "named"),
    [(Broken, "sample 6"), (BrokenBatches, "samples 4, 5, 6, 7"), (BrokenStream, "sample 6")],
)
def test_an_error_names_the_sample(workers, data, named) -> None:
    with pytest.raises(ValueError, match="no such image") as raised:
        list(DataLoader(data(), batch_size=4, num_workers=workers))
    assert raised.value.__notes__ == [f"DataLoader: while fetching {named} of epoch 0"]
    del raised
    gc.collect()
    assert threads_end()


def test_an_error_of_collating_names_the_samples() -> None:
    with pytest.raises(TypeError) as raised:
        list(DataLoader(Squares(), batch_size=2, collate_fn=lambda samples: samples + 1))
    assert raised.value.__notes__ == ["DataLoader: while fetching samples 0, 1 of epoch 0"]


def test_a_loader_that_is_left_midway_leaves_no_thread_and_stops_fetching() -> None:
    fetched = []

    class Slow(Squares):
        def __getitem__(self, index: int) -> int:
            fetched.append(index)
            time.sleep(0.002)
            return index

    for batch in DataLoader(Slow(4000), batch_size=100, num_workers=3):
        assert len(batch) == 100
        break
    assert threads_end()
    assert len(fetched) < 1000  # one batch, and what three threads had begun of the next six


def test_persistent_workers_stay_until_the_loader_goes() -> None:
    loader = seeded(Noisy(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True)
    first = values(loader)
    before = set(loader_threads())
    next(iter(loader))
    assert len(before) == 2
    assert set(loader_threads()) == before
    loader.set_epoch(0)
    assert values(loader) == first
    del loader
    gc.collect()
    assert threads_end()


def test_a_data_set_that_knows_its_loader_does_not_keep_its_threads() -> None:
    data = Squares()
    data.loader = DataLoader(data, batch_size=4, num_workers=2, persistent_workers=True)
    assert len(values(data.loader)) == 23
    del data
    gc.collect()
    assert threads_end()


def test_a_waiting_thread_does_not_keep_the_last_batch() -> None:
    class Arrays(Squares):
        def __getitem__(self, index: int) -> np.ndarray:
            return np.zeros(3)

    loader = DataLoader(Arrays(4), batch_size=2, num_workers=1, persistent_workers=True)
    *_, last = loader
    gone = weakref.ref(last)
    del last, _
    gc.collect()
    assert gone() is None


def test_a_slow_sample_runs_into_the_timeout() -> None:
    class Slow(Squares):
        def __getitem__(self, index: int) -> int:
            time.sleep(0.3)
            return index

    with pytest.raises(MinidlError, match=r"no batch came within 0\.05 s while fetching samples 0 of epoch 0"):
        next(iter(DataLoader(Slow(), num_workers=1, timeout=0.05)))
    assert threads_end()


def test_a_timeout_of_the_data_set_is_its_own() -> None:
    class Remote(Squares):
        def __getitem__(self, index: int) -> int:
            raise TimeoutError("the server did not answer")

    with pytest.raises(TimeoutError, match="did not answer"):
        next(iter(DataLoader(Remote(), num_workers=1, timeout=5)))


HANGING = """
import sys, threading
from minidl.utils.data import DataLoader, Dataset

class Hanging(Dataset):
    def __len__(self):
        return 9
    def __getitem__(self, index):
        if index > 2:
            print("hangs", flush=True)
            threading.Event().wait()
        return index

for batch in DataLoader(Hanging(), num_workers=2):
    pass
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_program_even_if_a_sample_hangs() -> None:
    program = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert program.stdout is not None
        program.stdout.readline()
        time.sleep(0.1)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=20)
    finally:
        program.kill()
    assert b"KeyboardInterrupt" in errors
    assert program.returncode in (-signal.SIGINT, 130)


def test_what_holds_around_the_loop_holds_in_the_threads() -> None:
    class Asking(Squares):
        def __getitem__(self, index: int) -> bool:
            return is_recording()

    with minidl.no_grad():
        assert not any(values(DataLoader(Asking(), batch_size=4, num_workers=2)))
    assert all(values(DataLoader(Asking(), batch_size=4, num_workers=2)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": [1], "shuffle": True}, "either sampler or shuffle"),
        ({"batch_sampler": [[1]], "batch_size": 2}, "batch_sampler excludes"),
        ({"batch_size": 0}, "batch_size must be a whole number from 1 up, got 0"),
        ({"batch_size": None, "drop_last": True}, "no last batch to drop"),
        ({"num_workers": -1}, "from 0 up"),
        ({"prefetch_factor": 2}, "need num_workers from 1 up"),
        ({"persistent_workers": True}, "need num_workers from 1 up"),
        ({"worker_init_fn": print}, "sample_generator"),
        ({"multiprocessing_context": "fork", "num_workers": 1}, "must be 'spawn', for worker processes, .* got 'fork'"),
        ({"multiprocessing_context": "spawn"}, "multiprocessing_context needs num_workers from 1 up"),
    ],
)
def test_wrong_arguments_are_named(options, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        DataLoader(Squares(), **options)


@pytest.mark.parametrize("options", [{"shuffle": True}, {"sampler": [1]}, {"batch_sampler": [[1]]}])
def test_a_stream_has_its_own_order(options) -> None:
    with pytest.raises(ArgumentError, match="an IterableDataset has its own order"):
        DataLoader(Stream(), **options)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "the state lacks 'batch'; is it a loader's"),
        (DataLoader(Squares(), batch_size=2).state_dict(), "batch_size was 2 in the state, and is 4 here"),
        (DataLoader(Squares(5), batch_size=4).state_dict(), "samples was 5 in the state, and is 23 here"),
    ],
)
def test_the_state_of_another_loader_is_refused(state, message) -> None:
    loader = DataLoader(Squares(), batch_size=4)
    before = loader.state_dict()
    with pytest.raises(StateDictError, match=message):
        loader.load_state_dict(state)
    assert loader.state_dict() == before


def test_a_checkpoint_can_hold_a_loader(tmp_path) -> None:
    loader = seeded(Squares(), batch_size=4, shuffle=True)
    passing = iter(loader)
    next(passing)
    save_checkpoint(tmp_path / "c", loader=loader)
    rest = [v for batch in passing for v in batch.tolist()]
    fresh = DataLoader(Squares(), batch_size=4, shuffle=True)
    read_checkpoint(tmp_path / "c").restore(loader=fresh)
    assert values(fresh) == rest


def test_sample_generator_says_when_there_is_none() -> None:
    with pytest.raises(MinidlError, match="only while a DataLoader"):
        sample_generator()

    class NoIndex(Squares):
        def __getitems__(self, indices: list[int]) -> list[float]:
            return [float(sample_generator().uniform(())) for _ in indices]

    with pytest.raises(ArgumentError, match="give the index of one"):
        list(DataLoader(NoIndex(), batch_size=4))
