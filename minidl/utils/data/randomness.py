"""Randomness of samples: a generator for each (seed, epoch, index), whichever thread asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from minidl.errors import ArgumentError, MinidlError
from minidl.random import Generator


class Draws:
    """The generators of samples in one epoch, made when they are asked for; `index` is the sample being fetched."""

    def __init__(self, seed: int, epoch: int, index: int | None = None) -> None:
        self.seed, self.epoch, self.index = seed, epoch, index
        self._made: dict[int, Generator] = {}

    def of(self, index: int) -> Generator:
        """The generator of sample `index`, going on where it was left."""
        if index not in self._made:
            self._made[index] = Generator(self.seed).stream("sample", self.epoch, index)
        return self._made[index]


_current: ContextVar[Draws | None] = ContextVar("sample_draws", default=None)


def sample_generator(index: int | None = None) -> Generator:
    """While a DataLoader fetches a sample: the generator of this sample in this epoch.

    Draws from it depend on the loader's seed, the epoch and the index alone, not on the number of workers. The index is
    the one that the loader asked for; a sample that comes twice in one epoch comes with the same draws.

    Args:
        index: needed in `__getitems__` only, where there are several.

    Raises:
        MinidlError: outside of a DataLoader, or without an index where one is needed.
    """
    draws = _current.get()
    if draws is None:
        raise MinidlError(
            "sample_generator: there is one only while a DataLoader fetches a sample; elsewhere make a Generator(seed)"
        )
    if index is None:
        index = draws.index
    if index is None:
        raise ArgumentError("sample_generator: several samples are fetched at once; give the index of one")
    return draws.of(index)


@contextmanager
def drawing(draws: Draws) -> Iterator[None]:
    """Let `sample_generator` give the generators of `draws` inside the block."""
    token = _current.set(draws)
    try:
        yield
    finally:
        _current.reset(token)
