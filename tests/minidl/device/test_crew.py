"""Compiled kernels are shared out exactly once by the crew, whoever comes late, fails, sleeps, forks or interrupts."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

import numpy as np
import pytest

from minidl.device import crew, kernel, numba_status, parallel, set_num_threads, threads
from minidl.device.atomic import draw, exchange, get, make_way, pause, put
from minidl.device.compile import routine
from minidl.device.inline import intrinsic
from tests.minidl.device.conftest import run_script

pytestmark = [pytest.mark.numba, pytest.mark.skipif(not numba_status(), reason="Numba is not installed")]
COUNTS = (1, 2, 3, 7, 16)


@kernel("int64[::1], intp")
def add_one(begin: int, end: int, out: Any, work: int) -> None:
    for i in range(begin, end):
        for _ in range(work):
            out[i] = out[i] + 1


@kernel("int64[::1]")
def add_one_slowly(begin: int, end: int, out: Any) -> None:
    for i in range(begin, end):
        x = i
        for k in range(500):  # some microseconds, so that callers meet without Python's lock
            x = (x * 5 + k) % 7
        out[i] += 1 + (x > 6)


@kernel("int64[::1], intp")
def add_one_or_fail(begin: int, end: int, out: Any, worst: int) -> None:
    if begin >= worst:
        raise ArithmeticError("too far")
    for i in range(begin, end):
        out[i] += 1


@pytest.fixture
def every_call_gets_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_WORTH_S", 0.0)
    monkeypatch.setattr(threads, "_WORTH_WAKING_S", 0.0)


@pytest.mark.usefixtures("every_call_gets_help")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize(("n", "block"), [(1, 1), (31, 1), (1000, 7), (10, 3), (10, 99), (5000, None)])
def test_the_range_is_covered_once(count: int, n: int, block: int | None) -> None:
    set_num_threads(count)
    out = np.zeros(n, np.int64)
    for round in range(1, 4):
        parallel(add_one, n, out, 1, block=block)
        np.testing.assert_array_equal(out, round)


@pytest.mark.usefixtures("every_call_gets_help")
def test_thousands_of_short_calls_with_gaps_lose_nothing() -> None:
    """Gaps of all lengths around the time after which a worker sleeps, so that every order of events comes up."""
    set_num_threads(3)
    rng, out = np.random.default_rng(0), np.zeros(64, np.int64)
    for call in range(1, 3001):
        parallel(add_one, 64, out, 1, block=1)
        assert (out == call).all()
        if call % 10 == 0:
            time.sleep(float(rng.uniform(0, 3e-3)))


def test_a_call_that_the_system_held_up_does_not_pass_for_long_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else help would be called for work of a microsecond, and waiting for it would look like work again."""
    out = np.zeros(64, np.int64)
    blocks = threads.Blocks(add_one, 64, block=1, size=out.nbytes)
    for _ in range(2):
        blocks(out, 1)
    before = blocks.seconds
    clock = iter([0.0, 1.0])
    with monkeypatch.context() as patch:
        patch.setattr(threads.time, "perf_counter", lambda: next(clock))
        blocks(out, 1)
    assert blocks.seconds <= 1.25 * before


@pytest.mark.usefixtures("every_call_gets_help")
def test_many_callers_at_once_get_their_own_results() -> None:
    set_num_threads(4)
    failures: list[object] = []

    def caller() -> None:
        for n in range(1, 200):
            out = np.zeros(n, np.int64)
            parallel(add_one_slowly, n, out, block=7)
            if (out != 1).any():
                failures.append(out)

    callers = [threading.Thread(target=caller) for _ in range(8)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert failures == []


@pytest.mark.usefixtures("every_call_gets_help")
@pytest.mark.parametrize("count", COUNTS)
def test_what_a_kernel_raises_reaches_the_caller_and_the_crew_lives_on(count: int) -> None:
    set_num_threads(count)
    for _ in range(20):
        with pytest.raises(ArithmeticError, match="too far"):
            parallel(add_one_or_fail, 100, np.zeros(100, np.int64), 60, block=1)
    test_the_range_is_covered_once(count, 100, 5)


@pytest.mark.usefixtures("every_call_gets_help")
def test_python_functions_and_kernels_take_turns() -> None:
    set_num_threads(3)
    out = np.zeros(200, np.int64)

    def add_two(begin: int, end: int, out: Any) -> None:
        out[begin:end] += 2

    for round in range(1, 200):
        parallel(add_one, 200, out, 1, block=11)
        parallel(add_two, 200, out, block=11)
        assert (out == 3 * round).all()


def test_two_threads_really_share() -> None:
    """The blocks of both add up: neither drew them all. A worker that never came would be seen here."""
    if len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]) < 2:
        pytest.skip("one core only")
    set_num_threads(2)
    seen = np.zeros(64, np.int64)
    for _ in range(200):  # a busy machine may let the worker wait for once
        parallel(mark_thread, 64, seen, np.zeros(2 * 16, np.int64), block=1)
        if len(set(seen)) == 2:
            return
    raise AssertionError("the worker never drew a block")


@kernel("int64[::1], const int64[::1]")
def mark_thread(begin: int, end: int, out: Any, room: Any) -> None:
    for i in range(begin, end):
        total = 0
        for k in range(200_000):  # long enough for a sleeping worker to wake
            total += k * room[k % 16]
        out[i] = thread_of(0) + total


def _emit_thread(typing_context: Any, nothing: Any) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(ir.IntType(64), [])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "pthread_self"), [])

    return types.intp(types.intp), code


@intrinsic(_emit_thread)
def thread_of(nothing: int) -> int:
    return threading.get_ident()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_a_crew_of_its_own() -> None:
    done = run_script("""
        import os, numpy as np
        from minidl.device import parallel, set_num_threads, threads
        from tests.minidl.device.test_crew import add_one
        threads._WORTH_S = 0
        def right():
            out = np.zeros(1000, np.int64)
            parallel(add_one, 1000, out, 50, block=10)
            return bool((out == 50).all())
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


@routine("intp, intp")
def play(address: int, old: int, new: int, times: int) -> int:
    """All words of `atomic.py`, one after the other."""
    put(address, old)
    for _ in range(times):
        draw(address)
    drawn = draw(address)
    swapped = exchange(address, old + times + 1, new)
    again = exchange(address, old + times + 1, -1)
    pause()
    make_way()
    return 1000 * drawn + 100 * swapped + 10 * again + get(address)


def test_words_in_memory_do_as_their_python_says() -> None:
    word = ctypes.c_int64()
    address = ctypes.addressof(word)
    assert play(address, 5, 7, 3) == play.py_func(address, 5, 7, 3) == 1000 * 8 + 100 + 7
    assert word.value == 7


def test_a_watcher_sees_a_change_and_gives_up_without() -> None:
    crew.get_ready()
    board = crew.new_board()
    address = board.ctypes.data
    assert crew.watch(address, 0, 1000) == 0
    threading.Timer(0.01, board.__setitem__, (0, 9)).start()
    assert crew.watch(address, 0, 1 << 40) == 9
