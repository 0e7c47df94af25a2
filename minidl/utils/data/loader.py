"""DataLoader: batches from a data set, fetched ahead by threads or processes.

Workers are threads unless processes are asked for: decoding and NumPy let go of the interpreter's lock, and nothing is
copied between processes. The batches and their order do not depend on how many there are, nor of which kind.
"""

from __future__ import annotations

import collections
import collections.abc
import concurrent.futures
import contextlib
import contextvars
import functools
import itertools
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from minidl.errors import ArgumentError, MinidlError, StateDictError
from minidl.random import Generator, default_generator
from minidl.utils.data.arguments import asks_for_processes, check_order, check_workers
from minidl.utils.data.dataset import Dataset, IterableDataset
from minidl.utils.data.fetch import END, WARN_AFTER_S, IndexedFetch, StreamFetch, named
from minidl.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler
from minidl.utils.data.worker_info import become_worker
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
        num_workers: threads or processes that fetch ahead; 0 to fetch in the caller. A stream is read by one at most.
        collate_fn: makes a batch of a list of samples; `default_collate` when None.
        pin_memory: taken for PyTorch's sake; changes nothing.
        drop_last: leave out a last batch that is too short.
        timeout: seconds to wait for a batch of a worker; 0 for no limit. A warning names what has been waited for after
            5 seconds in any case.
        worker_init_fn: must be None; `sample_generator` does what it is for.
        multiprocessing_context: "spawn" for workers that are processes: for samples made by Python code, which holds
            the interpreter's lock. The data set is sent to each, so it and `collate_fn` must be picklable; scripts must
            do their work under `if __name__ == "__main__":`. None for threads.
        generator: where the seed is drawn from; the default generator when None.
        prefetch_factor: batches fetched ahead for each worker; 2 when None.
        persistent_workers: keep the threads from one pass to the next.

    Raises:
        ArgumentError: for arguments that exclude each other.
        MinidlError: while iterating, if no batch comes within `timeout`, or a worker process dies.
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
        multiprocessing_context: Any = None,
        generator: Generator | None = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        check_order(dataset, batch_size, shuffle, sampler, batch_sampler, drop_last)
        check_workers(num_workers, prefetch_factor, persistent_workers, timeout)
        if worker_init_fn is not None:
            raise ArgumentError(
                "DataLoader: leave out worker_init_fn, and draw from minidl.utils.data.sample_generator(): "
                "its draws are the same for any number of workers"
            )
        self.has_processes = asks_for_processes(multiprocessing_context, num_workers)
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
        settings: dict[str, Any] = {"collate": self.collate_fn, "seed": self.seed, "epoch": epoch}
        make: functools.partial[Any]
        if self.is_stream:
            settings |= {"size": self.batch_size, "drop_last": self.drop_last, "skip": first}
            make = functools.partial(StreamFetch, **settings)
            return self._pass(make, itertools.repeat(None), epoch, first)
        if hasattr(self._order, "set_epoch"):
            self._order.set_epoch(epoch)
        make = functools.partial(IndexedFetch, **settings, batched=self.batch_sampler is not None)
        return self._pass(make, itertools.islice(self._order, first, None), epoch, first)

    def _pass(self, make: Any, todo: Iterable[Any], epoch: int, first: int) -> Iterator[Any]:
        """The batches of one epoch from number `first` on."""
        with contextlib.closing(self._fetched(make, todo, epoch)) as fetched:
            for number, batch in enumerate(fetched, first + 1):
                if batch is END:
                    break
                self._position = (epoch, number)
                yield batch
        self._position = (epoch + 1, 0)

    def _fetched(self, make: Any, todo: Iterable[Any], epoch: int) -> collections.abc.Generator[Any, None, None]:
        """The batches in order, some fetched ahead by workers; none is begun after the caller has stopped."""
        if not self.num_workers:
            yield from map(make(self.dataset), todo)
            return
        fetch = None if self.has_processes else make(self.dataset)
        context = contextvars.copy_context()  # what holds around the loop (use_kernel, no_grad) holds in the threads

        def task(indices: Any) -> Callable[[Any], Any]:
            if fetch is None:
                return lambda process: process.fetch(make, indices, epoch)
            return lambda _: context.copy().run(fetch, indices)

        workers = self._workers or self._hired()
        self._workers = workers if self.persistent_workers else None
        ahead: collections.deque[tuple[Future[Any], Any]] = collections.deque()
        try:
            for indices in todo:
                ahead.append((workers.submit(task(indices)), indices))
                if len(ahead) > self.prefetch:
                    yield self._result(*ahead.popleft(), epoch)
            while ahead:
                yield self._result(*ahead.popleft(), epoch)
        finally:
            if fetch is not None:
                fetch.abandoned = True
            for future, _ in ahead:
                future.cancel()
            if not self.persistent_workers or not workers.are_whole():
                self._workers = None
                workers.stop()

    def _hired(self) -> Workers:
        """New workers."""
        start = functools.partial(
            become_worker, self.num_workers, self.seed, functools.partial(_dataset_of, weakref.ref(self))
        )
        if not self.has_processes:
            return Workers([None] * self.num_workers, start)
        from minidl.utils.data.processes import WorkerProcess  # multiprocessing takes 10 ms to import

        processes = [WorkerProcess(i, self.num_workers, self.seed, self.dataset, self.timeout)
                     for i in range(self.num_workers)]  # fmt: skip
        return Workers(processes, start)

    def _result(self, future: Future[Any], indices: Any, epoch: int) -> Any:
        """What the future brings; a warning, then an error, if it does not come."""
        what = f"{'a batch' if indices is None else named(indices)} of epoch {epoch}"
        limit = self.timeout or None
        try:
            if self.has_processes:  # they count for themselves
                return future.result()
            if limit is None or limit > WARN_AFTER_S:
                concurrent.futures.wait([future], WARN_AFTER_S)
                if not future.done():
                    warnings.warn(
                        f"DataLoader: {what} took more than {WARN_AFTER_S:g} s; it hangs, or is slow", stacklevel=4
                    )
                limit = limit and limit - WARN_AFTER_S
            return future.result(limit)
        except TimeoutError:
            if future.done():  # the data set raised it
                raise
            raise MinidlError(
                f"DataLoader: no batch came within {self.timeout} s while fetching {what}; "
                "the data set hangs, or is slow"
            ) from None
        finally:
            del future  # it holds the exception, whose traceback holds this frame

    @property
    def _order(self) -> Any:
        return self.sampler if self.batch_sampler is None else self.batch_sampler

    def _shape(self) -> dict[str, int | None]:
        """What a position has no meaning without."""
        return {"batch_size": self.batch_size, "samples": None if self.is_stream else len(self.dataset)}


def _dataset_of(loader: weakref.ref[DataLoader]) -> Any:
    here = loader()
    return None if here is None else here.dataset
