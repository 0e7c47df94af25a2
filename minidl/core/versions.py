"""Versions of memory: how often it was changed in place, when last, and by which op.

Time is counted in ticks: every recorded step takes one, and every change. So a step can tell whether what it saved was
changed after it. Views of one array share its version. Memory that was never changed has no entry and costs nothing.
"""

from __future__ import annotations

import itertools
import weakref

from minidl.device import Array

# The next tick; atomic, so that threads need no lock.
tick = itertools.count(1).__next__
# The tick of the last change of anything: a step made after it need not look at its own values.
latest = 0


class Change:
    """What is known of the changes of one piece of memory: how many, and tick and op of the last."""

    __slots__ = ("memory", "op", "tick", "version")

    def __init__(self, memory: Array) -> None:
        key = id(memory)
        self.memory = weakref.ref(memory, lambda _: _changes.pop(key, None))  # forgotten with the memory
        self.version, self.tick, self.op = 0, 0, ""


_changes: dict[int, Change] = {}


def memory_of(array: Array) -> Array:
    """The array that owns the memory of `array`: itself, or what it is a view of."""
    while (base := array.base) is not None and hasattr(base, "dtype"):
        array = base
    return array


def note_change(array: Array, op: str) -> None:
    """Remember that `op` has changed `array` in place."""
    global latest
    memory = memory_of(array)
    change = _changes.get(id(memory))
    if change is None:
        change = _changes[id(memory)] = Change(memory)
    change.version += 1
    change.op, change.tick = op, tick()
    latest = max(latest, change.tick)


def change_of(array: Array) -> Change | None:
    """The last change of the memory of `array`; None if there was none."""
    return _changes.get(id(memory_of(array)))
