"""Memory for the time of one call, lent again and again: fresh memory costs a page fault for every 4 KB.

Each thread keeps what it was lent last, so nothing is shared and no lock is needed. The 37.7 MB of weights that
Winograd's convolution transforms between 512 channels take 11 ms to write into new memory, and 5 into memory that was
lent before (one core of a Zen 3).
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from typing import NamedTuple

import numpy as np

from minidl.device.device import Array
from minidl.device.dtypes import DType
from minidl.device.memory import poison, poison_now
from minidl.device.vectors import CACHE_LINE, aligned_empty

KEPT = 4  # pieces of memory that a thread keeps


class Piece(NamedTuple):
    """Memory that is lent as a whole. Small pieces come before large ones, by its first two numbers."""

    size: int  # bytes
    address: int
    memory: Array
    views: dict[DType, Array]  # the same as numbers, of all types that were asked for


class _Kept(threading.local):
    """The idle pieces of a thread, small ones first."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []


_kept = _Kept()


class scratch:
    """One-dimensional memory for `size` numbers of any value that begins a cache line; nobody else has it inside.

    >>> with scratch(10, np.dtype(np.float32)) as memory:
    ...     memory.size >= 10, memory.dtype
    (True, dtype('float32'))
    """

    __slots__ = ("_dtype", "_piece", "_size")

    def __init__(self, size: int, dtype: DType) -> None:
        self._size, self._dtype = size, dtype

    def __enter__(self) -> Array:
        self._piece, lent = lend(self._size, self._dtype)
        return lent

    def __exit__(self, *error: object) -> None:
        give_back(self._piece)


def lend(size: int, dtype: DType) -> tuple[Piece, Array]:
    """A piece of memory that `give_back` takes, and the same as at least `size` numbers.

    It is the smallest of this thread's that is large enough, or a new one.
    """
    kept, size = _kept.pieces, size * dtype.itemsize
    at = bisect_left(kept, (size,))
    piece = kept.pop(at) if at < len(kept) else _new_piece(size)
    numbers = piece.views.get(dtype)
    if numbers is None:
        numbers = piece.views[dtype] = piece.memory.view(dtype)
    if poison_now() is not None:
        poison(numbers)
    return piece, numbers


def give_back(piece: Piece | None) -> None:
    """Keep a piece for the next who asks; nothing, where none was lent."""
    if piece is not None:
        insort(_kept.pieces, piece)


def _new_piece(size: int) -> Piece:
    if len(_kept.pieces) >= KEPT:
        _kept.pieces.pop(0)  # the smallest, which is of little use
    memory = aligned_empty(-(-size // CACHE_LINE) * (CACHE_LINE // 8), np.dtype(np.float64))
    return Piece(memory.nbytes, memory.ctypes.data, memory, {})
