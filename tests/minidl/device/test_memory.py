"""Memory that is used again: never while an array looks into it, and never more than was once in use."""

from __future__ import annotations

import gc
import itertools
import mmap
import threading
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.device import CPU, empty, memory
from minidl.device.memory import LEAST_BYTES, PAGE, SEGMENT_BYTES, Arena, fresh, place_of, release_memory
from minidl.device.vectors import CACHE_LINE

FLOAT, BYTES = np.dtype(np.float32), np.dtype(np.uint8)
SHAPE = (4, 8, 64, 64)


def address(array: np.ndarray) -> int:
    return int(array.ctypes.data)


@pytest.fixture(autouse=True)
def nothing_kept():
    release_memory()


def test_a_block_is_used_again_when_its_arrays_are_gone() -> None:
    first = empty(CPU, SHAPE, FLOAT)
    place = address(first)
    del first
    assert address(empty(CPU, SHAPE, FLOAT)) == place


def test_a_block_is_kept_while_any_view_of_it_lives() -> None:
    first = empty(CPU, SHAPE, FLOAT)
    place, view = address(first), first.transpose(0, 2, 3, 1)[1:, ::2]
    del first
    second = empty(CPU, SHAPE, FLOAT)
    assert address(second) != place
    del view
    assert address(empty(CPU, SHAPE, FLOAT)) == place


def test_idle_neighbours_grow_together_and_the_smallest_range_that_fits_is_taken() -> None:
    arena = Arena()
    arrays = [arena.array((PAGE * n,), BYTES, PAGE * n) for n in (3, 5, 2, 4, 1)]
    places = [address(a) for a in arrays]
    arrays[0] = arrays[1] = arrays[3] = None  # idle: 8 pages, and 4 behind those of the third
    assert address(arena.array((PAGE * 4,), BYTES, PAGE * 4)) == places[3]
    eight = arena.array((PAGE * 7 + 1,), BYTES, PAGE * 7 + 1)
    assert address(eight) == places[0]
    assert len(arena.segments) == 1


@pytest.mark.parametrize("words", [memory._MOST_WORDS, 2000])
def test_ranges_never_overlap_and_none_is_lost(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor when what is remembered is forgotten, each time 2000 words are full."""
    monkeypatch.setattr(memory, "_MOST_WORDS", words)
    arena, draw = Arena(), np.random.default_rng(0)
    alive: list[np.ndarray] = []
    for _ in range(3000):
        if alive and draw.random() < 0.52:
            alive.pop(int(draw.integers(len(alive))))
        else:
            size = int(draw.integers(1, SEGMENT_BYTES // (4 if draw.random() < 0.9 else 1) * 2))
            alive.append(arena.array((size,), BYTES, size))
        spans = sorted((address(a), address(a) + a.nbytes) for a in alive)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
    alive.clear()
    arena.release()
    assert not arena.segments
    assert not arena.idle


def test_a_larger_array_than_a_segment_has_its_own() -> None:
    arena = Arena()
    array = arena.array((SEGMENT_BYTES + 1,), BYTES, SEGMENT_BYTES + 1)
    array[-1] = 1
    other = arena.array((5,), BYTES, 5)
    assert len(arena.segments) == 2
    del array
    arena.release()
    assert len(arena.segments) == 1
    assert other.size == 5


def test_released_memory_of_a_segment_in_use_goes_back_and_can_be_used_again() -> None:
    arena = Arena()
    kept, gone = (arena.array((8 << 20,), BYTES, 8 << 20) for _ in range(2))
    kept[:], gone[:] = 1, 2
    held = resident()
    del gone
    arena.release()
    if hasattr(mmap, "MADV_DONTNEED") and held:
        assert resident() < held - (4 << 20)
    again = arena.array((8 << 20,), BYTES, 8 << 20)
    again[:] = 3
    assert (kept == 1).all()


def resident() -> int:
    """Bytes that this process has in memory; 0 where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    except OSError:
        return 0


def test_a_result_outlives_the_arrays_that_come_after() -> None:
    x = minidl.ones(SHAPE)
    kept = (x + 1).numpy()
    for _ in range(5):
        _ = x * 7
    np.testing.assert_array_equal(kept, 2)


def test_large_arrays_begin_a_cache_line() -> None:
    for length in (LEAST_BYTES, LEAST_BYTES + 4, 1_000_003):
        assert address(empty(CPU, (length,), FLOAT)) % CACHE_LINE == 0


def test_channels_last_memory_lies_so() -> None:
    array = empty(CPU, SHAPE, FLOAT, channels_last=True)
    assert array.shape == SHAPE
    assert array.transpose(0, 2, 3, 1).flags.c_contiguous


def test_a_step_done_again_asks_for_no_more_memory() -> None:
    """Sizes of one step come again in the next, where others came between them."""
    arena = Arena()
    for _ in range(4):
        layers = [arena.array((n,), BYTES, n) for n in (9_000_000, 5_000_000, 7_000_000, 300_000, 2_000_000)]
        while layers:
            layers.pop()
            arena.array((1_000_000 * (1 + len(layers)),), BYTES, 1_000_000 * (1 + len(layers)))
    assert sum(map(len, arena.segments.values())) <= SEGMENT_BYTES


def test_where_ranges_lie_in_a_step_done_again_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    arena = Arena()

    def step() -> list[int]:
        layers = [arena.array((n,), BYTES, n) for n in (900_000, 500_000, 900_000, 300_000)]
        places = [address(a) for a in layers]
        while layers:
            layers.pop()
            places.append(address(arena.array((700_000,), BYTES, 700_000)))
        return places

    before = [step() for _ in range(2)][1]
    monkeypatch.setattr(arena, "find", None)
    assert step() == before


def test_a_released_segment_is_gone_at_once() -> None:
    """It does not wait for the garbage collector: nothing that is remembered refers to it."""
    arena = Arena()
    for _ in range(3):
        kept = [arena.array((n,), BYTES, n) for n in (900_000, 500_000)]
        kept.clear()
    segment = weakref.ref(arena.segments[0])
    gc.disable()
    try:
        arena.release()
        assert segment() is None
    finally:
        gc.enable()


def test_arrays_that_die_in_the_garbage_collector_give_their_memory_back() -> None:
    arena = Arena()
    for _ in range(16):
        cycle: list[object] = [arena.array((SEGMENT_BYTES // 8,), BYTES, SEGMENT_BYTES // 8)]
        cycle.append(cycle)
    del cycle
    gc.collect()
    arena.release()
    assert not arena.segments


@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 30, 50), (2, 1, 3), (2, 0, 3), ()])
def test_dimensions_lie_in_the_order_asked_for(shape: tuple[int, ...]) -> None:
    for order in itertools.permutations(range(len(shape))):
        array = fresh(place_of(CPU, shape, FLOAT, order))
        back = sorted(range(len(shape)), key=order.__getitem__)
        like = np.empty([shape[d] for d in order], FLOAT).transpose(back)
        assert (array.shape, array.strides) == (shape, like.strides)


def test_two_threads_never_share_a_block() -> None:
    failures = []

    def work(number: int) -> None:
        for _ in range(200):
            array = empty(CPU, (20_000,), FLOAT)
            array[:] = number
            if (array != number).any():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
