"""DataLoader: batches from a data set, fetched ahead by threads.

Workers are threads, not processes: decoding and NumPy let go of the interpreter's lock, nothing is copied between
processes, and nothing is forked under a running thread pool. The batches and their order do not depend on how many
there are.
"""

from __future__ import annotations

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from minidl.errors import MinidlError
from minidl.random import Generator, default_generator
from minidl.utils.data.collate import default_collate
from minidl.utils.data.dataset import Dataset, TensorDataset
from minidl.utils.data.randomness import drawing_from
from minidl.utils.data.sampler import BatchSampler, RandomSampler, SequentialSampler


class DataLoader:
    """Iterate over a data set in batches.

    Each pass is one epoch: its order is drawn from the seed and the number of the epoch alone. `set_epoch` chooses it;
    `state_dict` and `load_state_dict` resume a pass at its next batch.

    Args:
        dataset: has `__getitem__` and `__len__`.
        batch_size: samples in a batch; None for samples one by one, not collated.
        shuffle: a new random order each epoch.
        sampler: the order of indices, instead of `shuffle`.
        batch_sampler: lists of indices, instead of all of these.
        num_workers: threads that fetch ahead; 0 to fetch in the caller.
        collate_fn: makes a batch of a list of samples; `default_collate` when None.
        drop_last: leave out a last batch that is too short.
        timeout: seconds to wait for a batch; 0 for no limit.
        generator: where the seed is drawn from; the default generator when None.
        prefetch_factor: batches fetched ahead for each worker.

    Raises:
        MinidlError: for arguments that exclude each other, and when fetching a sample fails, with its index.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = 1,
        shuffle: bool = False,
        sampler: Iterable[int] | None = None,
        batch_sampler: Iterable[list[int]] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: None = None,
        *,
        generator: Generator | None = None,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
    ) -> None:
        if worker_init_fn is not None:
            raise MinidlError(
                "DataLoader: worker_init_fn is not needed; draw from minidl.utils.data.sample_generator()"
            )
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise MinidlError("DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last")
        if sampler is not None and shuffle:
            raise MinidlError("DataLoader: give either sampler or shuffle")
        if num_workers < 0 or timeout < 0 or (prefetch_factor is not None and prefetch_factor < 1):
            raise MinidlError("DataLoader: num_workers and timeout must be from 0 up, prefetch_factor from 1")
        generator = generator or default_generator()
        self.seed = int(generator.integers(0, 2**62))
        self.dataset, self.batch_size, self.num_workers, self.timeout = dataset, batch_size, num_workers, timeout
        self.sampler = sampler or (
            RandomSampler(dataset, generator=generator) if shuffle else SequentialSampler(dataset)
        )
        self.batch_sampler = batch_sampler
        if batch_sampler is None and batch_size is not None:
            self.batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.collate_fn = collate_fn
        self.prefetch = num_workers * (prefetch_factor or 2)
        self.epoch = 0
        self._next = 0  # the batch at which the pass goes on

    def __len__(self) -> int:
        """How many batches a pass has."""
        return len(self.sampler if self.batch_sampler is None else self.batch_sampler)  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; without this, passes count up from 0."""
        self.epoch, self._next = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Where the loader stands: its seeds, the epoch, and the next batch."""
        return {"seed": self.seed, "order": getattr(self.sampler, "seed", 0), "epoch": self.epoch, "batch": self._next}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Go on where `state_dict` was taken: the next pass begins with the next batch."""
        self.seed, self.epoch, self._next = state_dict["seed"], state_dict["epoch"], state_dict["batch"]
        if hasattr(self.sampler, "seed"):
            self.sampler.seed = state_dict["order"]

    def __iter__(self) -> Iterator[Any]:
        orders: tuple[Any, ...] = (self.sampler, self.batch_sampler)
        for order in orders:
            if hasattr(order, "set_epoch"):
                order.set_epoch(self.epoch)
        whole = self.sampler if self.batch_sampler is None else self.batch_sampler
        rest = list(whole)[self._next :]
        epoch = self.epoch
        for batch in self._fetched(rest, epoch):
            self._next += 1
            yield batch
        self.epoch, self._next = epoch + 1, 0

    def _fetched(self, todo: list[Any], epoch: int) -> Iterator[Any]:
        """The batches in order; with workers, some are fetched ahead, and none after the caller has stopped."""
        if not self.num_workers:
            yield from (self._fetch(indices, epoch) for indices in todo)
            return
        pool = concurrent.futures.ThreadPoolExecutor(self.num_workers, thread_name_prefix="minidl-loader")
        ahead: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
        try:
            for indices in todo:
                ahead.append(pool.submit(self._fetch, indices, epoch))
                if len(ahead) > self.prefetch:
                    yield self._result(ahead.popleft())
            while ahead:
                yield self._result(ahead.popleft())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _result(self, future: concurrent.futures.Future[Any]) -> Any:
        try:
            return future.result(self.timeout or None)
        except concurrent.futures.TimeoutError:
            if future.done():
                raise
            raise MinidlError(
                f"DataLoader: no batch came within {self.timeout} s; the data set hangs, or is slow"
            ) from None

    def _fetch(self, indices: Any, epoch: int) -> Any:
        if self.batch_sampler is None:
            return self._sample(indices, epoch)
        if self.collate_fn is None and type(self.dataset) is TensorDataset:
            return list(self.dataset.take(indices))
        if hasattr(self.dataset, "__getitems__"):
            samples = self.dataset.__getitems__(indices)
        else:
            samples = [self._sample(index, epoch) for index in indices]
        return (self.collate_fn or default_collate)(samples)

    def _sample(self, index: int, epoch: int) -> Any:
        with drawing_from(Generator(self.seed).stream("sample", epoch, index)):
            try:
                return self.dataset[index]
            except Exception as error:
                error.add_note(f"DataLoader: while fetching sample {index} of epoch {epoch}")
                raise
