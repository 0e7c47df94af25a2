"""Warnings off while a foreign decoder runs: what it has to say is told by our own error, or not at all."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["no_warnings"]

_LOCK = threading.RLock()  # Python keeps its warning filters per process, not per thread


@contextmanager
def no_warnings() -> Iterator[None]:
    """Suppress all warnings; one thread at a time."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
