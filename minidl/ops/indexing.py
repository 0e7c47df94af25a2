"""Indexing: basic slices are views; everything else picks elements by index tensors."""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor
from minidl.ops.views import basic_slice

__all__ = ["getitem", "setitem"]


def getitem(input: Tensor, index: Any) -> Tensor:
    """input[index]."""
    return basic_slice(input, index if isinstance(index, tuple) else (index,))


def setitem(input: Tensor, index: Any, value: Any) -> None:
    """input[index] = value."""
    input.array[index] = value.array if isinstance(value, Tensor) else value
