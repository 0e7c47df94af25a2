"""Which arguments of a DataLoader exclude each other."""

from __future__ import annotations

from typing import Any

from minidl.errors import ArgumentError
from minidl.utils.data.dataset import IterableDataset


def asks_for_processes(context: Any, num_workers: int) -> bool:
    """Whether workers are processes."""
    method = context if context is None or isinstance(context, str) else context.get_start_method()
    if method not in (None, "spawn"):
        raise ArgumentError(
            f"DataLoader: multiprocessing_context must be 'spawn', for worker processes, or None, for threads, got "
            f"{method!r}; a fork would copy the locks of running threads"
        )
    if method is not None and not num_workers:
        raise ArgumentError("DataLoader: multiprocessing_context needs num_workers from 1 up")
    return method is not None


def check_order(
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
        raise ArgumentError("DataLoader: give either sampler or shuffle, got both; a sampler has an order of its own")
    if batch_size is None and drop_last:
        raise ArgumentError("DataLoader: without batch_size there is no last batch to drop")
    if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
        raise ArgumentError(f"DataLoader: batch_size must be a whole number from 1 up, got {batch_size!r}")


def check_workers(num_workers: int, prefetch_factor: int | None, persistent: bool, timeout: float) -> None:
    if num_workers < 0 or timeout < 0 or (prefetch_factor is not None and prefetch_factor < 1):
        raise ArgumentError("DataLoader: num_workers and timeout must be from 0 up, prefetch_factor from 1")
    if not num_workers and (prefetch_factor is not None or persistent or timeout):
        raise ArgumentError("DataLoader: prefetch_factor, persistent_workers and timeout need num_workers from 1 up")
