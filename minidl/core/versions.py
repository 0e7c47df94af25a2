"""Versions of memory: how often it was changed in place, when last, and by which op.

Time is counted in ticks: every recorded step takes one, and every change. So a step can tell whether what it saved was
changed after it. Views of one array share its version. Memory that was never changed has no entry and costs nothing.
"""

from __future__ import annotations

import functools
import itertools
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from mmap import mmap
from typing import Any

from minidl.device import Array

# The next tick; atomic, so that threads need no lock.
tick = itertools.count(1).__next__
# The tick of the last change of anything: a step made after it need not look at its own values.
latest = 0


@dataclass(slots=True)
class Change:
    """What is known of the changes of one piece of memory; the last one is written over the one before."""

    version: int
    tick: int
    op: str
    memory: weakref.ref[Any]  # takes the entry away when the memory dies


_changes: dict[int, Change] = {}


def memory_of(array: Array) -> Array:
    """The array that owns the memory of `array`: itself, or what it is a view of."""
    while (base := array.base) is not None and type(base) is not mmap and hasattr(base, "dtype"):
        array = base
    return array


def note_change(array: Array, op: str) -> None:
    """Remember that `op` has changed `array` in place."""
    note_changes((array,), op)


def note_changes(arrays: Iterable[Array], op: str) -> None:
    """Remember that `op` has changed arrays in place, all in one tick: a step of an optimiser changes hundreds."""
    global latest
    now = tick()
    for array in arrays:
        memory = array if array.base is None else memory_of(array)
        change = _changes.get(id(memory))
        if change is None:
            _changes[id(memory)] = Change(1, now, op, weakref.ref(memory, functools.partial(_changes.pop, id(memory))))
        else:
            change.version += 1
            change.tick, change.op = now, op
    latest = max(latest, now)


def last_changes(arrays: Iterable[Array]) -> tuple[int, ...]:
    """The tick of the last change of the memory of each array; 0 if there was none."""
    ticks = []
    for array in arrays:
        base = array.base
        memory = array if base is None or type(base) is mmap else memory_of(array)  # most lie in the arena
        change = _changes.get(id(memory))
        ticks.append(0 if change is None else change.tick)
    return tuple(ticks)


def change_of(array: Array) -> Change | None:
    """The last change of the memory of `array`; None if there was none."""
    return _changes.get(id(memory_of(array)))
