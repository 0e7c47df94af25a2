"""Fresh memory for results: large blocks are used again and again.

The system hands out memory by pages of 4 KiB and zeroes each at its first use, which takes 0.25 us a page: for an
element-wise op on 8 MiB half as long as the op itself, at every step. So large blocks stay here when their arrays are
gone. No array is told so: every array that looks into a block, however indirectly, keeps a reference to it, and a block
to which only this pool refers is free.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple, TypeAlias

import numpy as np

from minidl.device.device import CPU, Array, Device
from minidl.device.dtypes import DType, is_floating
from minidl.device.layout import last_order, undone

LEAST_BYTES = 1 << 16  # of a block: smaller arrays come from memory that the C library keeps itself
ALIGNMENT = 64  # a vector across two cache lines costs two reads
SLACK = 1.125  # how far the pool may exceed the bytes that were once in use at the same time
# A request of at most SMALL_BYTES may take an idle block up to WASTE times as large: otherwise sizes push each other
# out at every step (1,500 page faults in an MBConv net's). Larger ones may not: what a U-Net holds grew by a fifth.
SMALL_BYTES, WASTE = 1 << 20, 4
FREE_BYTES = 1 << 24  # that it may hold in any case: a small net's results are of more sizes than are alive at once

_poison: ContextVar[float | None] = ContextVar("poison", default=None)
# What fresh memory is filled with; None outside of `poisoned_memory`.
poison_now = _poison.get


Block: TypeAlias = tuple[Array, int]  # memory, and where in it aligned memory begins (asking NumPy takes 1 us)


def _references(block: Block) -> int:
    return sys.getrefcount(block[0])


_ONLY_LISTED = _references((np.empty(0), 0))  # what Python counts for an object that only a block of a list holds


class Pool:
    """Blocks of memory by size, each lent to one array at a time; sizes not asked for lately go back first.

    Blocks in use and idle ones together never exceed `SLACK` times the bytes that were once in use at the same time, or
    `FREE_BYTES`.
    """

    def __init__(self) -> None:
        self.blocks: dict[int, list[Block]] = {}  # the size asked for last at the end
        self.peak = 0
        self.lock = threading.Lock()

    def lend(self, size: int) -> Block:
        """A block of at least `size` bytes that nobody uses."""
        step = 1 << max(0, size.bit_length() - 4)
        size = -(-size // step) * step  # at most an eighth more, so that results of nearly equal sizes share blocks
        with self.lock:
            self.blocks.setdefault(size, [])
            for at_least in itertools.chain((size,), self._larger(size)):
                if (block := self._idle(at_least)) is not None:
                    self.blocks[at_least] = self.blocks.pop(at_least)
                    return block
            self._make_room(size)
            whole = np.empty(size + ALIGNMENT, np.uint8)
            alike = self.blocks[size] = self.blocks.pop(size)
            alike.append((whole, -whole.ctypes.data % ALIGNMENT))
            return alike[-1]

    def _idle(self, size: int) -> Block | None:
        """A block of just this size that nobody uses."""
        for block in self.blocks[size]:
            if sys.getrefcount(block[0]) == _ONLY_LISTED:
                return block
        return None

    def _larger(self, size: int) -> Iterator[int]:
        """Sizes of blocks that may stand in, those that waste least first."""
        if size <= SMALL_BYTES:
            yield from sorted([key for key in self.blocks if size < key <= WASTE * size])

    def release(self) -> None:
        """Give all idle blocks back to the system."""
        with self.lock:
            self.peak = 0
            self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Let idle blocks go until one of `size` bytes fits under the limit."""
        total, idle = 0, []
        for key, alike in self.blocks.items():
            total += key * len(alike)
            for i in range(len(alike) - 1, -1, -1):
                if sys.getrefcount(alike[i][0]) == _ONLY_LISTED:
                    idle.append((key, i))
        used = total - sum([key for key, _ in idle])
        self.peak = max(self.peak, used + size)
        limit = max(SLACK * self.peak, FREE_BYTES) if size else 0
        for key, i in idle:
            if total + size <= limit:
                break
            del self.blocks[key][i]
            total -= key


_pool = Pool()


class Place(NamedTuple):
    """How an array whose values are not set yet is to lie."""

    device: Device
    shape: tuple[int, ...]  # as it lies in memory
    dtype: DType
    size: int  # bytes
    back: tuple[int, ...] | None  # the order of its dimensions, if it is another one than that of memory


def place_of(device: Device, shape: tuple[int, ...], dtype: DType, order: tuple[int, ...] | None = None) -> Place:
    """The place of an array of this shape.

    Args:
        order: on the CPU, its dimensions as they lie in memory, those that are furthest apart first; None for C's.
    """
    lies, back = (shape, None) if order is None else (tuple([shape[d] for d in order]), undone(order))
    return Place(device, lies, dtype, math.prod(shape) * dtype.itemsize, back)


def fresh(place: Place) -> Array:
    """A new array at such a place."""
    device, shape, dtype, size, back = place
    if device is not CPU:
        array = device.xp.empty(shape, dtype)
    elif size < LEAST_BYTES:
        array = np.empty(shape, dtype)
    else:
        array = np.ndarray(shape, dtype, *_pool.lend(size))
    if poison_now() is not None:
        poison(array)
    return array if back is None else array.transpose(back)


def empty(device: Device, shape: tuple[int, ...], dtype: DType, *, channels_last: bool = False) -> Array:
    """An array whose values are not set.

    Args:
        channels_last: on the CPU, images (N, C, *space) lie so.
    """
    if channels_last and len(shape) > 2:
        return fresh(place_of(device, shape, dtype, last_order(len(shape))))
    return fresh(tuple.__new__(Place, (device, shape, dtype, math.prod(shape) * dtype.itemsize, None)))


if hasattr(os, "register_at_fork"):  # the child has no thread that could let go of the lock
    os.register_at_fork(after_in_child=lambda: setattr(_pool, "lock", threading.Lock()))


def release_memory() -> None:
    """Give the memory that is kept for later results back to the system."""
    _pool.release()


@contextmanager
def poisoned_memory(value: float = math.nan) -> Iterator[None]:
    """Fill fresh memory with NaN (integers: their largest value), so that a kernel that leaves gaps is found out.

    Another `value` goes into all memory as it is. Results that differ between two values depend on what was there.
    """
    token = _poison.set(value)
    try:
        yield
    finally:
        _poison.reset(token)


def poison(array: Array) -> None:
    """Fill fresh memory, inside of a `poisoned_memory` block."""
    value = poison_now()
    if value is None:
        return
    if math.isnan(value) and not is_floating(array.dtype):
        array.fill(1 if array.dtype.kind == "b" else np.iinfo(array.dtype).max)
    else:
        array.fill(value)
