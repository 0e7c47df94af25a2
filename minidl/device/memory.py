"""Fresh memory for results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from minidl.device.device import Array, Device
from minidl.device.dtypes import DType

_poisoned: ContextVar[bool] = ContextVar("poisoned", default=False)


def empty(device: Device, shape: tuple[int, ...], dtype: DType) -> Array:
    """An array whose values are not set."""
    array = device.xp.empty(shape, dtype)
    if _poisoned.get():
        array.fill(np.nan if dtype.kind == "f" else 1 if dtype.kind == "b" else np.iinfo(dtype).max)
    return array


@contextmanager
def poisoned_memory() -> Iterator[None]:
    """Fill fresh memory with NaN (integers: their largest value), so that a kernel that leaves gaps is found out."""
    token = _poisoned.set(True)
    try:
        yield
    finally:
        _poisoned.reset(token)
