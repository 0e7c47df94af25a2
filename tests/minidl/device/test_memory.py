"""Memory that is used again: never while an array looks into it, and never more than was once in use."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import minidl
from minidl.device import CPU, empty
from minidl.device.memory import ALIGNMENT, LEAST_BYTES, SMALL_BYTES, WASTE, Pool, release_memory

FLOAT = np.dtype(np.float32)
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


def test_a_small_request_may_take_a_larger_block_and_a_large_one_may_not() -> None:
    large = empty(CPU, (SMALL_BYTES // 2,), FLOAT)
    place = address(large)
    del large
    small = empty(CPU, (SMALL_BYTES // 4,), FLOAT)
    assert address(small) == place
    assert address(empty(CPU, (SMALL_BYTES // 4,), FLOAT)) != place  # not while it is in use
    del small
    assert address(empty(CPU, (SMALL_BYTES // 4 // WASTE,), FLOAT)) != place  # eight times as large
    assert address(empty(CPU, (SMALL_BYTES // 4 + 64,), FLOAT)) != place


def test_a_result_outlives_the_arrays_that_come_after() -> None:
    x = minidl.ones(SHAPE)
    kept = (x + 1).numpy()
    for _ in range(5):
        _ = x * 7
    np.testing.assert_array_equal(kept, 2)


def test_large_arrays_begin_a_cache_line() -> None:
    for length in (LEAST_BYTES, LEAST_BYTES + 4, 1_000_003):
        assert address(empty(CPU, (length,), FLOAT)) % ALIGNMENT == 0


def test_channels_last_memory_lies_so() -> None:
    array = empty(CPU, SHAPE, FLOAT, channels_last=True)
    assert array.shape == SHAPE
    assert array.transpose(0, 2, 3, 1).flags.c_contiguous


@pytest.mark.parametrize("unit", [1_000_000, 100_000])
def test_idle_blocks_make_room_for_other_sizes(unit: int) -> None:
    """Sizes of blocks are up to an eighth larger than asked, and the pool holds another eighth, or 16 MiB."""
    pool = Pool()
    for number in range(1, 50):
        pool.lend(number * unit)
    held = sum(size * len(blocks) for size, blocks in pool.blocks.items())
    assert held <= max(1.125 * 49 * unit * 1.125, 1 << 24)


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
