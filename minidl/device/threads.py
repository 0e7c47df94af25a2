"""Threads: `parallel` runs a kernel over fixed blocks of its range, on an own pool that costs nothing while it sleeps.

The cut depends on the range and the sizes of the arrays, never on the number of threads, and so do the bits of the
result. A reduction keeps that promise by writing one partial result for each block, which the caller adds up in order:

    partial = numpy.empty((block_count(n, block), c))
    parallel(_sums, n, partial, x, block, block=block)    # the kernel writes partial[begin // block]
    total = partial.sum(axis=0)

Compiled kernels are shared out without Python (`crew.py`): a call with help takes 1.3 us, without 1.1. Any other
function needs Python's lock for each block, so it pays only if it gives the lock up for long, as NumPy's BLAS does.
"""

from __future__ import annotations

import atexit
import itertools
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.device import crew
from minidl.device.compile import Kernel
from minidl.device.scratch import give_back, lend
from minidl.device.vectors import CACHE_LINE

_BLOCKS = 32  # enough to share out on 16 threads
_BLOCK_BYTES = 32768  # about what one microsecond is enough to read
_PATIENCE = 60_000  # rounds of some 15 ns, 1 ms, that a worker waits for its next call before it goes to sleep
_NAP_S = 50e-6
_LONGEST_END_S = 0.1
_LINE = CACHE_LINE // 4  # numbers: where the scratch memory of a thread begins
# What a kernel must have to do for help to be called: one that waits for a call is there in 0.3 us, one that sleeps
# must be woken, which takes the caller 5 us and the worker up to 200.
_WORTH_S, _WORTH_WAKING_S = 10e-6, 40e-6
_DOUBT, _MOST_KINDS = 1.25, 4096


def parallel(
    kernel: Kernel | Callable[..., None], n: int, *args: Any, block: int | None = None, scratch_size: int = 0,
    size: int | None = None,
) -> None:  # fmt: skip
    """Call `kernel(begin, end, *args)` for consecutive blocks that make up range(n), on several threads.

    Args:
        kernel: a compiled kernel, or any function that may run at the same time on disjoint blocks.
        n: length of the range.
        args: what the kernel takes after (begin, end).
        block: length of a block (the last one may be shorter). When None, a block has 32 KiB of the arrays in `args`,
            and there are at most 32: right for work that is soon done with each number. Work that is long for the size
            of its arrays, and reductions, should give it.
        scratch_size: if not 0, a compiled kernel gets one argument more: memory for so many numbers of the type of the
            first array in `args`, of any values; each thread has its own (`minidl.device.scratch`).
        size: bytes that the kernel works on, where the arrays in `args` do not tell: they hold addresses of others.

    Raises:
        KernelError: if the arguments do not fit the kernel.
        Exception: what the kernel raised; of several blocks that raised, the first one's.

    >>> seen = np.zeros(5, int)
    >>> def count(begin, end, out):
    ...     out[begin:end] += 1
    >>> parallel(count, 5, seen, block=2)
    >>> seen
    array([1, 1, 1, 1, 1])
    """
    if n <= 0:
        return
    if size is None:
        size = bytes_of(args)
    if block is None:
        block = _block_for(n, size)
    if not isinstance(kernel, Kernel):
        _pool.do(_Job(kernel, n, block, args))
    elif n <= block and not scratch_size:  # nothing to share out
        kernel.run(0, 0, 0, 0, 0, 0, n, *args)
    else:
        key = (kernel, n, block, scratch_size, size)
        blocks = _known.get(key)
        if blocks is None:
            if len(_known) >= _MOST_KINDS:
                _known.clear()
            blocks = _known[key] = Blocks(kernel, n, block=block, scratch_size=scratch_size, size=size)
        blocks(*args)


def bytes_of(args: tuple[Any, ...]) -> int:
    """Bytes of the arrays among `args`."""
    size = 0
    for a in args:
        if type(a) is np.ndarray:
            size += a.nbytes
    return size


def _block_for(n: int, size: int) -> int:
    return -(-n // max(1, min(_BLOCKS, size // _BLOCK_BYTES)))


class Blocks:
    """`parallel` for whoever knows the range and the size of the arrays beforehand: `Blocks(...)(*args)`.

    It knows how long the kernel took before, and calls for help if that pays.

    Args:
        kernel: a compiled kernel.
        n, block, scratch_size: as for `parallel`.
        size: bytes that the kernel works on.

    Attributes:
        seconds: what one thread takes for all of it; None if it never ran.
    """

    __slots__ = ("_apart", "_count", "_is_alone", "block", "kernel", "n", "seconds", "size")

    def __init__(self, kernel: Kernel, n: int, *, size: int, block: int | None = None, scratch_size: int = 0) -> None:
        self.kernel, self.n, self.size = kernel, n, size
        self.block = max(1, _block_for(n, size) if block is None else block)
        self._count = min(block_count(n, self.block), 1 + crew.MOST_WORKERS)
        self._apart = -(-scratch_size // _LINE) * _LINE  # numbers from one thread's scratch memory to the next
        self._is_alone = self._count <= 1
        self.seconds: float | None = None

    def __call__(self, *args: Any) -> None:
        """Run the kernel, with help if it is worth it and there are threads to help."""
        kernel, pool = self.kernel, _pool
        if self._is_alone:
            if self._count:
                self._run_alone(args)
            return
        known = self.seconds
        helpers = min(pool.threads, self._count) - 1
        if helpers:
            expected = kernel.seconds_per_byte * self.size if known is None else known
            if expected < _WORTH_S or _here.is_busy or not pool.lock.acquire(blocking=False):
                helpers = 0
        started = time.perf_counter()
        try:
            if helpers:
                pool.wake(helpers, expected > _WORTH_WAKING_S)
            share, apart = crew.share.address or crew.get_ready(), self._apart
            if apart:
                memory, room = lend((1 + helpers) * apart, _first_type(args))
                try:
                    kernel.run(share, pool.address, helpers, self.block, apart, 0, self.n, *args, room)
                finally:
                    give_back(memory)
            else:
                kernel.run(share, pool.address, helpers, self.block, 0, 0, self.n, *args)
        finally:
            if helpers:
                pool.lock.release()
        took = (time.perf_counter() - started) * (1 + helpers)
        # When the system takes the core away for a while, a call looks long: not to be believed at once.
        self.seconds = took if known is None else min(took, _DOUBT * known)
        kernel.seconds_per_byte = took / max(self.size, 1)

    def _run_alone(self, args: tuple[Any, ...]) -> None:
        """There is nothing to share out."""
        if self._apart:
            memory, room = lend(self._apart, _first_type(args))
            try:
                self.kernel.run(0, 0, 0, 0, 0, 0, self.n, *args, room)
            finally:
                give_back(memory)
        else:
            self.kernel.run(0, 0, 0, 0, 0, 0, self.n, *args)


_known: dict[tuple[Kernel, int, int, int, int], Blocks] = {}  # those that `parallel` was asked for


def block_count(n: int, block: int) -> int:
    """How many blocks `parallel` makes of range(n): the number of partial results of a reduction.

    >>> block_count(10, 4), block_count(8, 4)
    (3, 2)
    """
    return -(-n // block)


def set_num_threads(num: int) -> None:
    """Let kernels use `num` threads, the calling one included. Results do not depend on it.

    Raises:
        ValueError: if `num` is less than 1.
    """
    if num < 1:
        raise ValueError(f"set_num_threads: num must be at least 1, got {num}")
    _pool.threads = int(num)


def get_num_threads() -> int:
    """The number of threads that kernels use; at first the number of cores that this process may run on."""
    return _pool.threads


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _first_type(args: tuple[Any, ...]) -> Any:
    for a in args:
        if type(a) is np.ndarray:
            return a.dtype
    raise TypeError("parallel: scratch memory has the type of an array, and none is given")


class _Here(threading.local):
    """What this thread does."""

    is_busy = False  # whether it works for a Python function that was shared out, so that it calls nobody for help


class _Job:
    """One call of `parallel` with a Python function: blocks, handed out to whoever asks next."""

    def __init__(self, run: Callable[..., None], n: int, block: int, args: tuple[Any, ...]) -> None:
        self.run, self.n, self.block, self.args = run, n, block, args
        self.blocks = block_count(n, block)
        self.tickets = itertools.count()  # next() is one step that no other thread can interrupt
        self.helping: set[_Worker] = set()
        self.failures: list[tuple[int, BaseException]] = []

    def work(self) -> None:
        """Take blocks until none is left; a failure stops the rest."""
        while (ticket := next(self.tickets)) < self.blocks and not self.failures:
            begin = ticket * self.block
            try:
                self.run(begin, min(begin + self.block, self.n), *self.args)
            except BaseException as error:
                self.failures.append((begin, error))

    def finish(self) -> None:
        """Raise what the first failing block raised."""
        if self.failures:
            raise min(self.failures, key=lambda failure: failure[0])[1]


class _Worker:
    """A thread that serves the crew of a board, and comes back to Python for a job or to sleep."""

    def __init__(self, board: Any, number: int) -> None:
        self.board, self.number = board, number
        self.state = crew.place_of(number)
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.is_asleep = False
        self.job: _Job | None = None
        self.retired = False
        self.thread = threading.Thread(target=self._live, name=f"minidl-{number + 1}", daemon=True)
        self.thread.start()

    def call(self, job: _Job) -> None:
        self.job = job
        self.board[self.state] = crew.ASKED
        self.wake()

    def join(self, job: _Job) -> None:
        """Wait until the worker has no part in the job any more; if it has not come yet, it will find nothing to do."""
        self.job = None
        while self in job.helping:
            left = int(self.board[self.state + 1])
            if self in job.helping and crew.is_ready():
                crew.watch(self.board.ctypes.data + crew.WORD * (self.state + 1), left, _PATIENCE)
            if self in job.helping:
                time.sleep(_NAP_S)

    def retire(self) -> None:
        self.retired = True
        self.board[self.state] = crew.ASKED
        self.wake()

    def wake(self) -> None:
        if self.is_asleep:
            self.is_asleep = False
            self.bell.put(None)

    def _live(self) -> None:
        _here.is_busy = True  # a function that calls `parallel` inside `parallel` does its work alone
        while not self.retired:
            if self._is_asked():
                job = self.job
                if job is not None:
                    job.helping.add(self)
                    job.work()
                    job.helping.discard(self)
                    self.board[self.state + 1] += 1
                del job  # else a sleeping worker would keep the arrays alive
            else:
                self._sleep()

    def _is_asked(self) -> bool:
        """Help compiled kernels for as long as they come; True when a Python function wants help."""
        if crew.is_ready():
            rounds = _PATIENCE if _pool.may_watch else 0
            return crew.serve(self.board.ctypes.data, self.number, rounds) == crew.ASKED
        is_asked = bool(self.board[self.state] == crew.ASKED)
        self.board[self.state] = crew.IDLE
        return is_asked

    def _sleep(self) -> None:
        self.is_asleep = True
        if self.board[self.state] == crew.IDLE:  # nobody called before the line above
            self.bell.get()  # a bell for a call that was seen without it is one round more
        self.is_asleep = False


class _Pool:
    """The workers. They serve one caller at a time; a second caller meanwhile does its own work alone."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.lock = threading.Lock()
        self.board = crew.new_board()
        self.address = self.board.ctypes.data
        self.workers: list[_Worker] = []

    @property
    def may_watch(self) -> bool:
        """Whether waiting workers may keep their cores busy: there is one for each."""
        return self.threads <= _CORES

    def wake(self, helpers: int, is_worth_it: bool) -> None:
        """See that there are so many workers; those that sleep are woken if the work is long enough for that."""
        for worker in self.workers[:helpers] if len(self.workers) >= helpers else self._hire(helpers):
            if is_worth_it and worker.is_asleep:
                worker.wake()

    def _enter(self) -> bool:
        """Whether the workers are free for this thread, which then has the lock."""
        return not _here.is_busy and self.lock.acquire(blocking=False)

    def do(self, job: _Job) -> None:
        """Run a Python function with the help of all threads."""
        if self.threads == 1 or not self._enter():
            job.work()
        else:
            try:
                self._share(job)
            finally:
                self.lock.release()
        job.finish()

    def _share(self, job: _Job) -> None:
        helping = self._hire(min(self.threads, job.blocks) - 1)
        _here.is_busy = True
        try:
            for worker in helping:
                worker.call(job)
            job.work()
            for worker in helping:
                worker.join(job)
        except BaseException:
            self._abandon(job)
            raise
        finally:
            _here.is_busy = False

    def _hire(self, helpers: int) -> list[_Worker]:
        while len(self.workers) < helpers:
            self.workers.append(_Worker(self.board, len(self.workers)))
        return self.workers[:helpers]

    def _abandon(self, job: _Job) -> None:
        """After Ctrl-C between two locks: trust none of them, but let nobody write when the caller goes on."""
        job.blocks = 0
        for worker in self.workers:
            worker.retire()
        self.workers, self.board = [], crew.new_board()
        self.address = self.board.ctypes.data
        while job.helping:
            time.sleep(0.001)


_CORES = usable_cores()
_here = _Here()
_pool = _Pool(_CORES)


def _end() -> None:
    """Before Python ends: compiled code must not run when its memory goes."""
    for worker in _pool.workers:
        worker.retire()
    for worker in _pool.workers:
        worker.thread.join(timeout=_LONGEST_END_S)


atexit.register(_end)


def _start_afresh() -> None:
    """After a fork the child has the pool's locks but not its threads."""
    global _pool, _here
    _here = _Here()
    _pool = _Pool(_pool.threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
