"""`parallel` covers its range exactly once, in blocks that do not depend on the threads, and survives all company."""

import gc
import os
import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest

from minidl.device import (
    block_count,
    get_num_threads,
    kernel,
    numba_status,
    parallel,
    set_num_threads,
    threads,
)
from minidl.device.scalar_math import exp
from minidl.errors import KernelError
from tests.minidl.device.conftest import run_script

COUNTS = (1, 2, 3, 7, 16)
needs_numba = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")


def add_one(begin: int, end: int, out: Any) -> None:
    out[begin:end] += 1


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(
    ("n", "block"), [(0, None), (1, None), (31, None), (33, None), (1000, None), (10, 3), (10, 99)]
)
def test_the_range_is_covered_once(count: int, n: int, block: int | None) -> None:
    set_num_threads(count)
    out = np.zeros(n, int)
    parallel(add_one, n, out, block=block)
    assert out.tolist() == [1] * n


@pytest.mark.parametrize(
    ("n", "block", "size", "expected"),
    [
        (1000, 10, 0, 10),
        (10, 3, 0, 3),
        (7, 7, 10**6, 7),
        (1000, None, 0, 1000),  # nothing to do with arrays: one block
        (1000, None, 100_000, 334),  # three times 32 KiB
        (1000, None, 10**7, 32),  # at most 32 blocks, so 32 items each
    ],
)
def test_blocks_do_not_depend_on_the_threads(n: int, block: int | None, size: int, expected: int) -> None:
    def cuts(count: int) -> list[tuple[int, int]]:
        seen: list[tuple[int, int]] = []
        set_num_threads(count)
        parallel(lambda begin, end, x: seen.append((begin, end)), n, np.zeros(size, np.uint8), block=block)
        return sorted(seen)

    right = [(begin, min(begin + expected, n)) for begin in range(0, n, expected)]
    assert [cuts(count) for count in COUNTS] == [right] * len(COUNTS)
    assert block_count(n, expected) == len(right)


@kernel("T[:, ::1], const T[:, ::1], intp", T=("float32", "float64"))
def sums_of_exponentials(begin: int, end: int, partial: Any, x: Any, block: int) -> None:
    for j in range(x.shape[1]):
        partial[begin // block, j] = 0
    for i in range(begin, end):
        for j in range(x.shape[1]):
            partial[begin // block, j] += exp(x[i, j])


@needs_numba
@pytest.mark.numba
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_reduction_by_blocks_gives_the_same_bits_on_any_number_of_threads(dtype: Any) -> None:
    n, block = 20_011, 100
    x = np.random.default_rng(0).normal(size=(n, 13)).astype(dtype)

    def total(count: int) -> bytes:
        set_num_threads(count)
        partial = np.empty((block_count(n, block), 13), dtype)
        parallel(sums_of_exponentials, n, partial, x, block, block=block)
        result = partial.sum(axis=0)
        np.testing.assert_allclose(result, np.exp(x.astype(np.float64)).sum(axis=0), rtol=1e-5)
        return result.tobytes()

    assert len({total(count) for count in COUNTS for _ in range(5)}) == 1


@needs_numba
@pytest.mark.numba
def test_wrong_arguments_of_a_kernel_are_named() -> None:
    with pytest.raises(KernelError, match="x must be const float32"):
        parallel(sums_of_exponentials, 2, np.zeros((1, 2), np.float32), np.zeros((2, 2)), 2)


@pytest.mark.parametrize("count", COUNTS)
def test_the_first_failure_reaches_the_caller_and_the_pool_lives_on(count: int) -> None:
    def fail_late(begin: int, end: int) -> None:
        if begin >= 4:
            raise ArithmeticError(f"block {begin}")

    set_num_threads(count)
    for _ in range(20):
        with pytest.raises(ArithmeticError, match="block"):
            parallel(fail_late, 8, block=1)
    test_the_range_is_covered_once(count, 100, 5)


def test_nested_calls_finish() -> None:
    def outer(begin: int, end: int, out: Any) -> None:
        for i in range(begin, end):
            parallel(add_one, out.shape[1], out[i], block=9)

    set_num_threads(3)
    out = np.zeros((40, 50), int)
    parallel(outer, 40, out, block=2)
    assert np.all(out == 1)


def test_many_callers_at_once_get_their_own_results() -> None:
    set_num_threads(4)
    failures: list[object] = []

    def caller() -> None:
        for n in range(1, 200):
            out = np.zeros(n, int)
            parallel(add_one, n, out, block=7)
            if out.tolist() != [1] * n:
                failures.append(out)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert failures == []


def test_sleeping_workers_keep_no_array_alive() -> None:
    set_num_threads(3)
    out = np.zeros(1000, int)
    gone = weakref.ref(out)
    parallel(lambda begin, end, out: time.sleep(0.001), 30, out, block=1)
    del out
    gc.collect()
    assert gone() is None


def test_an_interrupt_stops_the_work_before_the_caller_goes_on() -> None:
    main, running = threading.get_ident(), [0]

    def interrupted(begin: int, end: int) -> None:
        running[0] += 1
        if threading.get_ident() == main:
            raise KeyboardInterrupt
        time.sleep(0.01)
        running[0] -= 1

    set_num_threads(4)
    with pytest.raises(KeyboardInterrupt):
        parallel(interrupted, 64, block=1)
    assert running[0] == 1  # the caller's own block, which did not end
    test_the_range_is_covered_once(4, 100, 5)


def test_an_interrupt_while_waiting_leaves_a_working_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(worker: object, job: object) -> None:
        raise KeyboardInterrupt

    still_writing: list[int] = []

    def slow(begin: int, end: int) -> None:
        still_writing.append(begin)
        time.sleep(0.01)
        still_writing.remove(begin)

    set_num_threads(3)
    monkeypatch.setattr(threads._Worker, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        parallel(slow, 12, block=1)
    monkeypatch.undo()
    assert still_writing == []
    test_the_range_is_covered_once(3, 100, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_pool_of_its_own() -> None:
    done = run_script("""
        import os, numpy as np
        from minidl.device import parallel, set_num_threads
        def add_one(begin, end, out): out[begin:end] += 1
        def right():
            out = np.zeros(1000, int)
            parallel(add_one, 1000, out, block=50)
            return bool((out == 1).all())
        set_num_threads(3)
        assert right()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if right() and right() else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert right()
        print("done")
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_the_interpreter_ends_with_workers_asleep() -> None:
    done = run_script("""
        import numpy as np
        from minidl.device import parallel, set_num_threads
        set_num_threads(8)
        parallel(lambda begin, end: None, 100, block=5)
        print("done")
    """)
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


def test_the_number_of_threads_is_checked_and_starts_with_the_usable_cores() -> None:
    assert threads.usable_cores() >= 1
    with pytest.raises(ValueError, match="at least 1, got 0"):
        set_num_threads(0)
    set_num_threads(5)
    assert get_num_threads() == 5
