"""Spec: what is known of an array before it is computed."""

from __future__ import annotations

import math
from typing import NamedTuple

from minidl.device import Array
from minidl.device.dtypes import DType


class Spec(NamedTuple):
    """Shape and element type of an array."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)

    def with_shape(self, *shape: int) -> Spec:
        return Spec(shape, self.dtype)

    def with_dtype(self, dtype: DType) -> Spec:
        return Spec(self.shape, dtype)


def spec_of(array: Array) -> Spec:
    """The spec of an array that is there; without the named tuple's own `__new__`, which takes twice as long."""
    return tuple.__new__(Spec, (array.shape, array.dtype))
