"""weights_at_most: how many weights a network may get while it is built.

A file that describes a network can ask for more weights than a machine holds. Every weight of a layer is made as a
`Parameter` before a value is written into it, so that counting there stops such a network before it takes memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from minidl.errors import ArgumentError

__all__ = ["count_weights", "weights_at_most"]

_spent: ContextVar[tuple[int, int] | None] = ContextVar("weights_at_most", default=None)  # so far, and at most


@contextmanager
def weights_at_most(count: int) -> Iterator[None]:
    """Within the `with`, on this thread, refuse to make more than `count` weights in all.

    Raises:
        ArgumentError: from the layer whose weights are too many.

    >>> from minidl import nn
    >>> with weights_at_most(10):
    ...     nn.Linear(10, 10)
    Traceback (most recent call last):
        ...
    minidl.errors.ArgumentError: Parameter: needs 100 weights, and 10 of the 10 that are allowed are left
    """
    token = _spent.set((0, count))
    try:
        yield
    finally:
        _spent.reset(token)


def count_weights(count: int) -> None:
    """Take `count` off what is allowed."""
    if (state := _spent.get()) is None:
        return
    spent, most = state
    if spent + count > most:
        raise ArgumentError(
            f"Parameter: needs {count} weights, and {most - spent} of the {most} that are allowed are left"
        )
    _spent.set((spent + count, most))
