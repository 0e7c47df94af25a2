"""A batch as a structure, which is small and can be sent, and the memory of its arrays, which is mapped."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.core import Tensor

_ALIGNMENT = 64


@dataclass(frozen=True)
class Place:
    """Where an array of a batch lies."""

    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    is_tensor: bool


@dataclass(frozen=True)
class Inline:
    """A tensor that is small: its array."""

    array: Any


class Packed:
    """The arrays of a batch, put aside."""

    def __init__(self) -> None:
        self.arrays: list[tuple[int, Any]] = []
        self.size = 0

    def add(self, value: Any) -> Any:
        """`value` with a `Place` for each array in it."""
        if not isinstance(value, (Tensor, np.ndarray)) or value.dtype.hasobject:
            return _mapped(self.add, value)
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        offset = self.size
        self.arrays.append((offset, array))
        self.size = -(-(offset + array.nbytes) // _ALIGNMENT) * _ALIGNMENT
        return Place(offset, array.shape, array.dtype, isinstance(value, Tensor))

    def write(self, memory: mmap.mmap) -> None:
        """Copy the arrays to their places."""
        for offset, array in self.arrays:
            np.ndarray(array.shape, array.dtype, memory, offset)[...] = array


def inlined(value: Any) -> Any:
    """`value` with tensors as plain arrays."""
    return Inline(value.detach().numpy()) if isinstance(value, Tensor) else _mapped(inlined, value)


def unpacked(structure: Any, memory: mmap.mmap | None) -> Any:
    """The batch, its arrays in `memory`, which lives as long as they do."""
    if isinstance(structure, Inline):
        return Tensor.of(structure.array)
    if isinstance(structure, Place):
        assert memory is not None
        array: Any = np.ndarray(structure.shape, structure.dtype, memory, structure.offset)
        return Tensor.of(array) if structure.is_tensor else array
    return _mapped(lambda part: unpacked(part, memory), structure)


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `function` applied to the parts of a list, tuple or dict; anything else as it is."""
    if type(value) is dict:
        return {key: function(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(function, value))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(function, value))
    return value
