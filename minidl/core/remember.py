"""Remembering: what is made of weights alone is made once, for as long as they do not change.

In inference a layer meets the same weights at every call, and turning them into the form that its kernel wants can take
longer than the kernel: with one image, Winograd's convolution of 512 channels transforms 9.4 MB of weights into 37.7 MB
for 16 tiles. In training weights change between any two calls, so keeping their forms would only take memory. Hence
something is kept when it is asked for the second time and no op has changed what it is made of since the first.

Whether an op has changed an array is known at once (`versions.py`). Whatever else writes to it, through `x.numpy()` or
`x.array`, shows in its numbers: they are read at each call (`digest.py`), which still costs a tenth of making the form.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.core import versions
from minidl.device import Array, numba_enabled
from minidl.device.digest import Seal
from minidl.device.scratch import Piece, lend
from minidl.device.vectors import aligned_empty


@dataclass(slots=True)
class _Memory:
    """What was made of some arrays: when an op had changed them last, what they were then, and the watch over them."""

    ticks: tuple[int, ...]
    watch: tuple[weakref.ref[Any], ...]
    latest: int  # the last change of anything when this was looked at
    loose: tuple[int, ...] = ()  # which of the arrays somebody may change
    seal: Seal | None = None  # over those
    made: Any = None


_memories: dict[tuple[Hashable, ...], _Memory] = {}
_fixed: dict[int, weakref.ref[Any]] = {}  # arrays that were made here, by their address: nobody changes those


def remembered(what: Hashable, arrays: tuple[Array, ...], make: Callable[[], tuple[Array, ...]]) -> tuple[Array, ...]:
    """The arrays that `make()` gives, or gave before: they depend on `what` and on `arrays`, and on nothing else.

    Nobody must change them.
    """
    memory = _memory_of(what, arrays)
    if memory is None:
        return make()
    if memory.made is None:
        memory.made = make()
        for array in memory.made:
            _fixed[id(array)] = weakref.ref(array, functools.partial(_fixed.pop, id(array)))
    return memory.made  # type: ignore[no-any-return]


class Prepared:
    """Numbers that `fill(room, weight)` makes of a weight, and of `what` alone beside it; for reading.

    While the weight keeps changing they lie in scratch memory.

    Args:
        what: equal for those that would make the same.
        size: how many numbers.
    """

    __slots__ = ("_fill", "_size", "_what")

    def __init__(self, what: Hashable, size: int, fill: Callable[[Array, Array], None]) -> None:
        self._what = _numbers.setdefault(what, len(_numbers))  # soon hashed
        self._size, self._fill = size, fill

    def of(self, weight: Array) -> tuple[Array, Piece | None]:
        """At least `size` numbers, and the memory that was lent for them, to `give_back` when they have been read."""
        memory = _memory_of(self._what, (weight,))
        if memory is None:
            lent, room = lend(self._size, weight.dtype)
            self._fill(room, weight)
            return room, lent
        if memory.made is None:
            room = aligned_empty(self._size, weight.dtype)
            self._fill(room, weight)
            memory.made = room
        return memory.made, None


_numbers: dict[Hashable, int] = {}  # of what is prepared


def _memory_of(what: Hashable, arrays: tuple[Array, ...]) -> _Memory | None:
    """Where to keep it; None if it is asked for the first time since an op changed an array."""
    key = (what, *map(id, arrays))
    known = _memories.get(key)
    if known is None:
        if numba_enabled() and all(type(a) is np.ndarray for a in arrays):
            forget = functools.partial(_memories.pop, key)  # no function of ours: those go before the last arrays do
            _memories[key] = _Memory(
                versions.last_changes(arrays), tuple([weakref.ref(a, forget) for a in arrays]), versions.latest
            )
        return None
    if known.latest != versions.latest:
        ticks = versions.last_changes(arrays)
        known.latest = versions.latest
        if ticks != known.ticks:  # an op has changed them since
            known.ticks, known.seal, known.made = ticks, None, None
            return None
    if known.seal is None:
        known.loose = tuple([i for i, a in enumerate(arrays) if id(a) not in _fixed])
        known.seal = Seal([arrays[i] for i in known.loose])
    elif known.loose and not known.seal.holds([arrays[i] for i in known.loose]):  # somebody has written to their memory
        known.seal, known.made = None, None
        return _memory_of(what, arrays)
    return known
