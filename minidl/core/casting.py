"""What `autocast` has asked for in this block: a 16-bit type for each device, and the weights cast already.

Public functions ask here (`ops/precision.py`); ops themselves do not, and backward passes run without.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from minidl.core import registry, versions
from minidl.core.tape import is_recording
from minidl.device.dtypes import DType, is_narrow

if TYPE_CHECKING:
    from minidl.core.tensor import Tensor

# (leaf, whether steps were recorded, type) -> the leaf, its version, and the cast
Cache = dict[tuple[int, bool, Any], "tuple[Tensor, int, Tensor]"]


class Casting(NamedTuple):
    """The type that functions compute in, by the device's type, and where casts of weights are kept, if they are."""

    types: Mapping[str, DType]
    cache: Cache | None

    def cast(self, t: Tensor, dtype: DType) -> Tensor:
        """`t` in another type; a weight is cast once in a block, as long as nobody changes it in place."""
        if self.cache is None or not (t.requires_grad and t.node is None and t.origin is None) or not is_narrow(dtype):
            return registry.call("cast", t, dtype)  # type: ignore[no-any-return]
        change = versions.change_of(t.array)
        key, version = (id(t), is_recording(), dtype), 0 if change is None else change.version
        found = self.cache.get(key)
        if found is None or found[1] != version:
            found = self.cache[key] = (t, version, registry.call("cast", t, dtype))
        return found[2]


_casting: ContextVar[Casting | None] = ContextVar("casting", default=None)
# What is asked for now; None outside of all blocks.
current_casting = _casting.get


class casting:
    """Ask for this in the block; None computes in the types that are there."""

    __slots__ = ("_asked", "_token")

    def __init__(self, asked: Casting | None) -> None:
        self._asked = asked

    def __enter__(self) -> None:
        self._token = _casting.set(self._asked)

    def __exit__(self, *error: object) -> None:
        _casting.reset(self._token)


def is_castable(t: Tensor, to: DType) -> bool:
    """Whether autocast changes the type of `t`: float32 and 16 bits it does, float64 and whole numbers it leaves."""
    return t.dtype != to and (t.dtype == np.float32 or is_narrow(t.dtype))
