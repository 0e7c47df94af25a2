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
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.core import versions
from minidl.device import Array, numba_enabled
from minidl.device.digest import Seal
from minidl.device.dtypes import DType
from minidl.device.scratch import scratch
from minidl.device.vectors import aligned_empty


@dataclass(slots=True)
class _Memory:
    """What was made of some arrays: when an op had changed them last, what they were then, and the watch over them."""

    ticks: tuple[int, ...]
    watch: tuple[weakref.ref[Any], ...]
    latest: int  # the last change of anything when this was looked at
    seal: Seal | None = None  # over those arrays that somebody may change
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


def prepared(what: Hashable, weight: Array, size: int, fill: Callable[[Array], None]) -> AbstractContextManager[Array]:
    """At least `size` numbers that `fill` writes, which depend on `what` and `weight` alone; for reading, inside only.

    While the weight keeps changing this is scratch memory.
    """
    memory = _memory_of(what, (weight,))
    if memory is None:
        return _Filled(size, weight.dtype, fill)
    if memory.made is None:
        room = aligned_empty(size, weight.dtype)
        fill(room)
        memory.made = room
    return nullcontext(memory.made)


class _Filled(scratch):
    """Scratch memory that is filled at the beginning."""

    __slots__ = ("_fill",)

    def __init__(self, size: int, dtype: DType, fill: Callable[[Array], None]) -> None:
        super().__init__(size, dtype)
        self._fill = fill

    def __enter__(self) -> Array:
        room = super().__enter__()
        self._fill(room)
        return room


def _memory_of(what: Hashable, arrays: tuple[Array, ...]) -> _Memory | None:
    """Where to keep it; None if it is asked for the first time since an op changed an array."""
    key = (what, *map(id, arrays))
    known = _memories.get(key)
    if known is None:
        if numba_enabled() and all(type(a) is np.ndarray for a in arrays):
            forget = functools.partial(_memories.pop, key)  # no function of ours: those go before the last arrays do
            _memories[key] = _Memory(_ticks(arrays), tuple([weakref.ref(a, forget) for a in arrays]), versions.latest)
        return None
    if known.latest != versions.latest:
        ticks = _ticks(arrays)
        if ticks != known.ticks:  # an op has changed them since
            _memories[key] = _Memory(ticks, known.watch, versions.latest)
            return None
        known.latest = versions.latest
    loose = [a for a in arrays if id(a) not in _fixed]
    if known.seal is None:
        known.seal = Seal(loose)
    elif loose and not known.seal.holds(loose):  # somebody has written to their memory
        _memories[key] = _Memory(known.ticks, known.watch, known.latest)
        return _memory_of(what, arrays)
    return known


def _ticks(arrays: tuple[Array, ...]) -> tuple[int, ...]:
    """When an op changed each of them last."""
    return tuple(map(versions.last_change, arrays))
