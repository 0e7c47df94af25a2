"""Fresh memory for results."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import numpy as np

from minidl.device.device import Array, Device
from minidl.device.dtypes import DType
from minidl.device.layout import empty_channels_last

_poisoned: ContextVar[bool] = ContextVar("poisoned", default=False)


def empty(device: Device, shape: tuple[int, ...], dtype: DType, *, channels_last: bool = False) -> Array:
    """An array whose values are not set; `channels_last`: one of images, on the CPU, that lies so."""
    array = empty_channels_last(shape, dtype) if channels_last else device.xp.empty(shape, dtype)
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
