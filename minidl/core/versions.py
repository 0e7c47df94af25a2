"""Versions of memory: how often it was changed in place, when last, and by which op.

Time is counted in ticks: every recorded step takes one, and every change. So a step can tell whether what it saved was
changed after it. Views of one array share its version. Memory that was never changed has no entry and costs nothing.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NamedTuple

from minidl.device import Array

# The next tick; atomic, so that threads need no lock.
tick = itertools.count(1).__next__
# The tick of the last change of anything: a step made after it need not look at its own values.
latest = 0


class Change(NamedTuple):
    """What is known of the changes of one piece of memory."""

    version: int
    tick: int
    op: str
    memory: weakref.ref[Any]  # takes the entry away when the memory dies


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
    key = id(memory)
    before = _changes.get(key)
    if before is None:
        before = Change(0, 0, op, weakref.ref(memory, lambda _: _changes.pop(key, None)))
    now = tick()
    _changes[key] = Change(before.version + 1, now, op, before.memory)
    latest = max(latest, now)


def change_of(array: Array) -> Change | None:
    """The last change of the memory of `array`; None if there was none."""
    return _changes.get(id(memory_of(array)))
