"""Scratch memory: nobody else has it inside, and it is the same again for the next who asks."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from minidl.device.scratch import KEPT, give_back, lend, scratch
from minidl.device.vectors import CACHE_LINE

FLOAT, LONG = np.dtype(np.float32), np.dtype(np.int64)


def in_new_thread(work) -> None:
    """A thread begins with nothing kept."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def place(size: int, dtype: np.dtype = FLOAT) -> int:
    with scratch(size, dtype) as memory:
        assert memory.size >= size
        assert memory.dtype == dtype
        return int(memory.ctypes.data)


@pytest.mark.parametrize("size", [1, 1000, 100_003])
def test_it_begins_a_cache_line(size: int) -> None:
    for dtype in (FLOAT, LONG, np.dtype(np.int8)):
        assert place(size, dtype) % CACHE_LINE == 0


def test_the_smallest_piece_that_is_large_enough_is_lent_again_for_any_type() -> None:
    def work() -> None:
        with scratch(3000, FLOAT) as large, scratch(1000, FLOAT) as small:
            places = large.ctypes.data, small.ctypes.data
        assert place(900) == place(500, LONG) == places[1]
        assert place(1500, LONG) == place(1200) == places[0]

    in_new_thread(work)


def test_what_is_lent_at_the_same_time_is_apart() -> None:
    def work() -> None:
        for _ in range(2):
            pieces, memory = zip(*[lend(64 * n, FLOAT) for n in (1, 3, 2, 3, 2, 1)], strict=True)
            for number, array in enumerate(memory):
                array[:] = number
            assert all((array == number).all() for number, array in enumerate(memory))
            for piece in pieces:
                give_back(piece)

    in_new_thread(work)


def test_a_thread_keeps_few_pieces_and_drops_small_ones() -> None:
    def work() -> None:
        places = [place(1000 * n) for n in range(1, KEPT + 3)]
        assert place(1000 * (KEPT + 2)) == places[-1]
        with scratch(1, FLOAT) as memory:
            assert memory.nbytes >= 4 * 3000

    in_new_thread(work)
