"""Randomness of samples: a generator for each (seed, epoch, index), whichever thread asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from minidl.errors import MinidlError
from minidl.random import Generator

_current: ContextVar[Generator | None] = ContextVar("sample_generator", default=None)


def sample_generator() -> Generator:
    """Inside `Dataset.__getitem__`, when a DataLoader calls it: the generator of this sample in this epoch.

    Draws from it depend on the loader's seed, the epoch and the index alone, not on the number of workers.

    Raises:
        MinidlError: outside of a DataLoader.
    """
    generator = _current.get()
    if generator is None:
        raise MinidlError("sample_generator: there is one only while a DataLoader fetches a sample")
    return generator


@contextmanager
def drawing_from(generator: Generator) -> Iterator[None]:
    """Make `generator` the sample's generator inside the block."""
    token = _current.set(generator)
    try:
        yield
    finally:
        _current.reset(token)
