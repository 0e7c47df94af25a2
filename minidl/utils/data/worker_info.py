"""Which worker of a DataLoader this thread or process is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["WorkerInfo", "become_worker", "get_worker_info"]


class WorkerInfo(NamedTuple):
    """A worker of a DataLoader.

    Attributes:
        id: its number, counted from 0.
        num_workers: how many there are.
        seed: the loader's seed plus `id`. Draws of samples come from `sample_generator`, which no worker changes.
        dataset: the data set, which is a copy in a process and shared between threads.
    """

    id: int
    num_workers: int
    seed: int
    dataset: Any


_here = threading.local()


def get_worker_info() -> WorkerInfo | None:
    """In a worker of a DataLoader, thread or process: which one it is; None elsewhere."""
    info: WorkerInfo | None = getattr(_here, "info", None)
    return None if info is None else info._replace(dataset=info.dataset())


def become_worker(num_workers: int, seed: int, dataset: Callable[[], Any], id: int) -> None:
    """Let `get_worker_info` tell from now on, in this thread, that it is worker number `id`.

    A thread that kept the data set itself would keep all that this refers to, its own loader maybe, and never end.
    """
    _here.info = WorkerInfo(id, num_workers, seed + id, dataset)
