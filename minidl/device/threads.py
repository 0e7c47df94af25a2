"""Threads: `parallel` runs a kernel over fixed blocks of its range, on an own pool that costs nothing while it sleeps.

The cut depends on the range and the sizes of the arrays, never on the number of threads, and so do the bits of the
result. A reduction keeps that promise by writing one partial result for each block, which the caller adds up in order:

    partial = numpy.empty((block_count(n, block), c))
    parallel(_sums, n, partial, x, block, block=block)    # the kernel writes partial[begin // block]
    total = partial.sum(axis=0)
"""

from __future__ import annotations

import itertools
import math
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.device.compile import Kernel
from minidl.device.numba_status import numba_status
from minidl.device.scratch import scratch
from minidl.device.spin import wait_while

_BLOCKS = 32  # enough to share out on 16 threads
_BLOCK_BYTES = 32768  # a block costs 1 us to start, about as long as it takes to read this much
_CHUNKS_PER_THREAD = 4  # at most, and fewer of short work:
_CHUNK_S = 300e-6  # between two chunks a thread needs Python's lock, and sleeps if the other one has it just then
_APART = 16  # numbers from one flag to the other: each has a cache line of its own
_CALLED, _LEFT = 0, _APART
_PATIENCE = 60_000  # rounds of some 15 ns, 1 ms: longer than most gaps between the kernels of a step
_LINGER = 800  # rounds in which the caller gets from its call into its own kernel, and lets go of Python's lock
_NAP_S = 50e-6
# Help is called when a kernel has this much to do: waking a worker costs the caller 1 us, but it needs 10 to come.
_WORTH_S = 80e-6


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
            there are at most 32, and a compiled kernel may get neighbours in one call: right for work that is soon done
            with each number, and whose result does not depend on the cut. Work that is long for the size of its
            arrays, and reductions, should give it.
        scratch_size: if not 0, every call gets one argument more: memory for so many numbers of the type of the first
            array in `args`, of any values; each thread has its own (`minidl.device.scratch`).
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
        size = sum([a.nbytes for a in args if type(a) is np.ndarray])
    may_join = block is None and isinstance(kernel, Kernel)
    if block is None:
        block = -(-n // max(1, min(_BLOCKS, size // _BLOCK_BYTES)))
    if n <= block and not scratch_size:  # nothing to share out: 5 us less than by way of a job
        kernel(0, n, *args)
    elif not isinstance(kernel, Kernel):
        _pool.do(_Job(kernel, n, block, args, may_join, scratch_size), None, size)
    else:
        try:
            _pool.do(_Job(kernel.compiled_for(args), n, block, args, may_join, scratch_size), kernel, size)
        except TypeError as error:
            raise kernel.explained(error, args) from error


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


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Job:
    """One call of `parallel`: blocks, handed out in chunks to whoever asks next."""

    def __init__(
        self, run: Callable[..., None], n: int, block: int, args: tuple[Any, ...], may_join: bool, scratch_size: int
    ) -> None:
        self.run, self.n, self.block, self.args, self.may_join = run, n, block, args, may_join
        self.scratch_size = scratch_size
        self.blocks = block_count(n, block)
        self.chunks = 1
        self.tickets = itertools.count()  # next() is one step that no other thread can interrupt
        self.helping: set[_Worker] = set()
        self.failures: list[tuple[int, BaseException]] = []

    def work(self) -> None:
        """Take chunks until none is left; a failure stops the rest."""
        if not self.scratch_size:
            self._work(self.args)
            return
        dtype = next(a.dtype for a in self.args if isinstance(a, np.ndarray))
        with scratch(self.scratch_size, dtype) as memory:
            self._work((*self.args, memory))

    def _work(self, args: tuple[Any, ...]) -> None:
        while (ticket := next(self.tickets)) < self.chunks and not self.failures:
            begin = self.block * (ticket * self.blocks // self.chunks)
            stop = min(self.n, self.block * ((ticket + 1) * self.blocks // self.chunks))
            try:
                while begin < stop:
                    end = stop if self.may_join else min(begin + self.block, stop)
                    self.run(begin, end, *args)
                    begin = end
            except BaseException as error:
                self.failures.append((begin, error))

    def finish(self) -> None:
        """Raise what the first failing block raised."""
        if self.failures:
            raise min(self.failures, key=lambda failure: failure[0])[1]


class _Worker:
    """A waiting thread, and a place for a job.

    Two numbers say how many jobs it was called to and how many it has left. Each side watches the other's number for a
    while before it goes to sleep (`spin.py`): on two virtual cores of an AMD EPYC a kernel of 0.7 ms is 1.3 times as
    fast on two threads when the worker sleeps between calls, as it did before, and 1.7 times when it watches.
    """

    def __init__(self, number: int) -> None:
        self.flags = np.zeros(2 * _APART, np.int64)
        self.bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.is_asleep = False
        self.job: _Job | None = None
        self.retired = False
        threading.Thread(target=self._serve, name=f"minidl-{number}", daemon=True).start()

    def call(self, job: _Job) -> None:
        self.job = job
        self._wake()

    def join(self, job: _Job) -> None:
        """Wait until the worker has no part in the job any more; if it has not come yet, it will find nothing to do."""
        self.job = None
        while self in job.helping:
            left = int(self.flags[_LEFT])
            if self in job.helping:
                _watch(self.flags, _LEFT, left, _PATIENCE, _LINGER)
            if self in job.helping:
                time.sleep(_NAP_S)

    def retire(self) -> None:
        self.retired = True
        self._wake()

    def _wake(self) -> None:
        self.flags[_CALLED] += 1
        if self.is_asleep:
            self.is_asleep = False
            self.bell.put(None)

    def _serve(self) -> None:
        _here.is_busy = True  # a function that calls `parallel` inside `parallel` does its work alone
        served = 0
        while True:
            served = self._called_after(served)
            if self.retired:
                return
            if (job := self.job) is not None:
                job.helping.add(self)
                job.work()
                job.helping.discard(self)
            del job  # else a sleeping worker would keep the arrays alive
            self.flags[_LEFT] += 1

    def _called_after(self, served: int) -> int:
        """Wait for the next call, and give its number."""
        if self.flags[_CALLED] == served and _pool.may_watch:
            _watch(self.flags, _CALLED, served, _PATIENCE, _LINGER)
        while self.flags[_CALLED] == served:
            self.is_asleep = True
            if self.flags[_CALLED] == served:  # nobody called before the line above
                self.bell.get()  # a bell for a call that was seen without it is one round more
            self.is_asleep = False
        return int(self.flags[_CALLED])


def _watch(flags: Any, i: int, old: int, rounds: int, linger: int) -> None:
    """Wait a while for flags[i] to change, outside of Python's lock."""
    if numba_status():
        wait_while(i, i + 1, flags, old, rounds, linger)


class _Pool:
    """The workers. They serve one caller at a time; a second caller meanwhile does its own work alone."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.lock = threading.Lock()
        self.workers: list[_Worker] = []
        self.seconds_per_byte: dict[Kernel, float] = {}  # what each kernel took when it last ran

    @property
    def may_watch(self) -> bool:
        """Whether waiting workers may keep their cores busy: there is one for each."""
        return self.threads <= _CORES

    def do(self, job: _Job, kernel: Kernel | None, size: int) -> None:
        """Run `job`, on arrays of `size` bytes, with help if it is worth it and there are threads to help."""
        expected = self.seconds_per_byte[kernel] * size if kernel in self.seconds_per_byte else math.inf
        helpers = min(self.threads, job.blocks) - 1
        if expected < _WORTH_S or getattr(_here, "is_busy", False):
            helpers = 0
        started = time.perf_counter()
        if helpers and self.lock.acquire(blocking=False):
            try:
                self._share(job, helpers, expected)
            finally:
                self.lock.release()
        else:
            helpers = 0
            job.work()
        if kernel is not None and size:
            self.seconds_per_byte[kernel] = (time.perf_counter() - started) * (1 + helpers) / size
        job.finish()

    def _share(self, job: _Job, helpers: int, expected: float) -> None:
        while len(self.workers) < helpers:
            self.workers.append(_Worker(len(self.workers) + 1))
        wanted = min(_CHUNKS_PER_THREAD * (helpers + 1), expected / _CHUNK_S)
        job.chunks = min(job.blocks, max(helpers + 1, int(wanted)))
        _here.is_busy = True
        try:
            for worker in self.workers[:helpers]:
                worker.call(job)
            job.work()
            for worker in self.workers[:helpers]:
                worker.join(job)
        except BaseException:
            self._abandon(job)
            raise
        finally:
            _here.is_busy = False

    def _abandon(self, job: _Job) -> None:
        """After Ctrl-C between two locks: trust none of them, but let nobody write when the caller goes on."""
        job.chunks = 0
        workers, self.workers = self.workers, []
        for worker in workers:
            worker.retire()
        while job.helping:
            time.sleep(0.001)


_CORES = _usable_cores()
_here = threading.local()
_pool = _Pool(_CORES)


def _start_afresh() -> None:
    """After a fork the child has the pool's locks but not its threads."""
    global _pool, _here
    _here = threading.local()
    _pool = _Pool(_pool.threads)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
