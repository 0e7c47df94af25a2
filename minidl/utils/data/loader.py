"""DataLoader: batches from a data set, fetched ahead by threads.

Workers are threads, not processes: decoding and NumPy let go of the interpreter's lock, nothing is copied between
processes, and nothing is forked under a running thread pool. The batches and their order do not depend on how many
there are.
"""

from __future__ import annotations

import collections
import collections.abc
import contextlib
import contextvars
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from minidl.errors import ArgumentError, MinidlError, StateDictError
from minidl.random import Generator, default_generator
from minidl.utils.data.dataset import Dataset, IterableDataset
from minidl.utils.data.fetch import END, IndexedFetch, StreamFetch
from minidl.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from minidl.utils.data.workers import Workers


class DataLoader:
    """Iterate over a data set in batches.

    Each pass is one epoch, counted from 0: its order is drawn from the seed and the number of the epoch alone, and so
    is all that samples draw through `sample_generator`. `set_epoch` chooses the epoch; `state_dict` and
    `load_state_dict` go on within a pass, at the next batch. A pass that is left midway is over; the next one is the
    next epoch.

    Args:
        dataset: has `__getitem__` and `__len__`; or is an IterableDataset.
        batch_size: samples in a batch; None for samples one by one, not collated.
        shuffle: a new random order each epoch.
        sampler: the order of indices, instead of `shuffle`.
        batch_sampler: lists of indices, instead of all of these.
        num_workers: threads that fetch ahead; 0 to fetch in the caller. A stream is read by one thread at most.
        collate_fn: makes a batch of a list of samples; `default_collate` when None.
        pin_memory: taken for PyTorch's sake; changes nothing.
        drop_last: leave out a last batch that is too short.
        timeout: seconds to wait for a batch of a worker; 0 for no limit.
        worker_init_fn: must be None; `sample_generator` does what it is for.
        multiprocessing_context: must be None; workers are threads.
        generator: where the seed is drawn from; the default generator when None.
        prefetch_factor: batches fetched ahead for each worker; 2 when None.
        persistent_workers: keep the threads from one pass to the next.

    Raises:
        ArgumentError: for arguments that exclude each other.
        MinidlError: while iterating, if no batch comes within `timeout`.
        Exception: while iterating, what the data set raises, with a note that names the sample.

    >>> [batch.tolist() for batch in DataLoader([1, 2, 3], batch_size=2)]
    [[1, 2], [3]]
    """

    def __init__(
        self,
        dataset: Dataset[Any] | Sequence[Any],
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: None = None,
        multiprocessing_context: None = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        _check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        _check_workers(num_workers, prefetch_factor, persistent_workers, timeout)
        if worker_init_fn is not None or multiprocessing_context is not None:
            raise ArgumentError(
                "DataLoader: workers are threads and share all you have; leave out worker_init_fn and "
                "multiprocessing_context, and draw from minidl.utils.data.sample_generator()"
            )
        generator = generator or default_generator()
        self.seed = int(generator.integers(0, 2**62))
        self.dataset, self.batch_size, self.drop_last = dataset, batch_size, drop_last
        self.sampler, self.batch_sampler = sampler, batch_sampler
        self.is_stream = isinstance(dataset, IterableDataset)
        if not self.is_stream and batch_sampler is None:
            if sampler is None:
                self.sampler = RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
            if batch_size is not None and self.sampler is not None:
                self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.collate_fn, self.timeout = collate_fn, timeout
        self.num_workers = min(num_workers, 1) if self.is_stream else num_workers
        self.prefetch = self.num_workers * (prefetch_factor or 2)
        self.persistent_workers = persistent_workers
        self._workers: Workers | None = None  # those that persist
        self._upcoming = (0, 0)  # epoch and batch at which the next pass begins
        self._position = (0, 0)  # epoch and batch that come after the last one that was given out

    def __len__(self) -> int:
        """How many batches a pass has."""
        if not self.is_stream:
            return len(self._order)
        samples, size = len(self.dataset), self.batch_size or 1
        return samples // size if self.drop_last else -(-samples // size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; without this, passes count up from 0.

        After `load_state_dict`, choosing the epoch that is to be gone on with keeps the place in it.
        """
        if epoch != self._upcoming[0]:
            self._upcoming = (epoch, 0)
        self._position = self._upcoming

    def state_dict(self) -> dict[str, Any]:
        """Plain data: where the loader stands, after the last batch that it gave out."""
        order = self._order.state_dict() if hasattr(self._order, "state_dict") else {}
        epoch, batch = self._position
        return {"seed": self.seed, "order": order, "epoch": epoch, "batch": batch, **self._shape()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where `state_dict` was taken: the next pass begins with the next batch.

        Raises:
            StateDictError: if it is not from a loader with as many samples and the same batch size.
        """
        shape = self._shape()
        if missing := {"seed", "order", "epoch", "batch", *shape} - state_dict.keys():
            raise StateDictError(f"DataLoader: the state lacks {min(missing)!r}; is it a loader's?")
        for name, value in shape.items():
            if state_dict[name] != value:
                raise StateDictError(f"DataLoader: {name} was {state_dict[name]} in the state, and is {value} here")
        if hasattr(self._order, "load_state_dict"):
            self._order.load_state_dict(state_dict["order"])
        self.seed = int(state_dict["seed"])
        self._upcoming = self._position = (int(state_dict["epoch"]), int(state_dict["batch"]))

    def __iter__(self) -> Iterator[Any]:
        epoch, first = self._upcoming
        self._upcoming, self._position = (epoch + 1, 0), (epoch, first)
        fetch: IndexedFetch | StreamFetch
        if self.is_stream:
            fetch = StreamFetch(
                self.dataset, self.collate_fn, self.seed, epoch, self.batch_size, self.drop_last, skip=first
            )
            return self._pass(fetch, itertools.repeat(None), epoch, first)
        fetch = IndexedFetch(self.dataset, self.collate_fn, self.seed, epoch, batched=self.batch_sampler is not None)
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(epoch)
        return self._pass(fetch, itertools.islice(self._order, first, None), epoch, first)

    def _pass(self, fetch: Any, todo: Iterable[Any], epoch: int, first: int) -> Iterator[Any]:
        """The batches of one epoch from number `first` on."""
        with contextlib.closing(self._fetched(fetch, todo)) as fetched:
            for number, batch in enumerate(fetched, first + 1):
                if batch is END:
                    break
                self._position = (epoch, number)
                yield batch
        self._position = (epoch + 1, 0)

    def _fetched(self, fetch: Any, todo: Iterable[Any]) -> collections.abc.Generator[Any, None, None]:
        """The batches in order, some fetched ahead by threads; none is begun after the caller has stopped."""
        if not self.num_workers:
            yield from map(fetch, todo)
            return
        workers = self._workers or Workers(self.num_workers)
        self._workers = workers if self.persistent_workers else None
        context = contextvars.copy_context()  # what holds around the loop (use_kernel, no_grad) holds in the threads
        ahead: collections.deque[Future[Any]] = collections.deque()
        try:
            for indices in todo:
                ahead.append(workers.submit(functools.partial(context.copy().run, fetch, indices)))
                if len(ahead) > self.prefetch:
                    yield self._result(ahead.popleft())
            while ahead:
                yield self._result(ahead.popleft())
        finally:
            fetch.abandoned = True
            for future in ahead:
                future.cancel()
            if not self.persistent_workers:
                workers.stop()

    def _result(self, future: Future[Any]) -> Any:
        try:
            return future.result(self.timeout or None)
        except TimeoutError:
            if future.done():  # the data set raised it
                raise
            raise MinidlError(
                f"DataLoader: no batch came within {self.timeout} s; the data set hangs, or is slow"
            ) from None

    @property
    def _order(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _shape(self) -> dict[str, int | None]:
        """What a position has no meaning without."""
        return {"batch_size": self.batch_size, "samples": None if self.is_stream else len(self.dataset)}


def _check_order(
    dataset: object,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: object,
    batch_sampler: object,
    drop_last: bool,
) -> None:
    if isinstance(dataset, IterableDataset) and (shuffle or sampler is not None or batch_sampler is not None):
        raise ArgumentError("DataLoader: an IterableDataset has its own order; leave out shuffle and samplers")
    if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
        raise ArgumentError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
    if sampler is not None and shuffle:
        raise ArgumentError("DataLoader: give either sampler or shuffle")
    if batch_size is None and drop_last:
        raise ArgumentError("DataLoader: without batch_size there is no last batch to drop")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ArgumentError(f"DataLoader: batch_size must be a whole number from 1 up, got {batch_size!r}")


def _check_workers(num_workers: int, prefetch_factor: int | None, persistent: bool, timeout: float) -> None:
    if num_workers < 0 or timeout < 0 or (prefetch_factor is not None and prefetch_factor < 1):
        raise ArgumentError("DataLoader: num_workers and timeout must be from 0 up, prefetch_factor from 1")
    if not num_workers and (prefetch_factor is not None or persistent or timeout):
        raise ArgumentError("DataLoader: prefetch_factor, persistent_workers and timeout need num_workers from 1 up")
