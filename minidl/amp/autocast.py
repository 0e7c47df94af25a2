"""autocast: functions of a block compute in 16 bits where that is safe, and in float32 where it is not.

Weights stay float32; each is cast once in the outermost block, and gradients go back through the cast, so the optimiser
sees float32. Which function takes which type stands in `ops/precision.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Self

import numpy as np

from minidl.core.casting import Casting, casting, current_casting
from minidl.device import dtypes
from minidl.device.dtypes import DType, is_narrow
from minidl.errors import ArgumentError, DTypeError

__all__ = ["autocast", "clear_autocast_cache", "get_autocast_dtype", "is_autocast_enabled"]

DEVICES = ("cpu", "cuda")


class autocast:
    """Compute in 16 bits what is mostly products of matrices: a `with` block, or a decorator of functions.

    Backward passes belong outside of the block; each step's gradient is computed in the type of its forward pass.

    Args:
        device_type: "cpu" or "cuda"; tensors on the other are left alone.
        dtype: bfloat16 or float16; None is bfloat16 on the CPU and float16 on a GPU.
        enabled: False for a block in which nothing is cast, inside another one.
        cache_enabled: whether the cast of a weight is kept for the whole of the outermost block.

    On the CPU it saves memory, not time: arithmetic is done in float32, and the casts come on top.

    >>> from minidl import nn, rand
    >>> net, x = nn.Linear(4, 2), rand(3, 4)
    >>> with autocast("cpu"):
    ...     y = net(x)
    >>> y.dtype, net.weight.dtype
    (dtype(bfloat16), dtype('float32'))
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:
        self.device_type = _checked(device_type)
        self.dtype = _default(device_type) if dtype is None else np.dtype(dtype)
        if not is_narrow(self.dtype):
            raise DTypeError(f"autocast: dtype must be bfloat16 or float16, got {self.dtype}; "
                             "for float32 throughout use enabled=False")  # fmt: skip
        self.enabled, self.cache_enabled = enabled, cache_enabled is not False
        self._open: list[AbstractContextManager[None]] = []

    def __enter__(self) -> Self:
        outer = current_casting()
        types = {} if outer is None else dict(outer.types)
        types.pop(self.device_type, None)
        if self.enabled:
            types[self.device_type] = self.dtype
        kept = {} if outer is None or outer.cache is None else outer.cache
        block = casting(Casting(types, kept if self.cache_enabled else None) if types or outer else None)
        block.__enter__()
        self._open.append(block)
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.pop().__exit__(*error)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, run in such a block; every call has one of its own."""

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with type(self)(self.device_type, self.dtype, self.enabled, self.cache_enabled):
                return function(*args, **kwargs)

        return inside


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """Whether this is inside an enabled `autocast`, for this type of device, or for any when None."""
    asked = current_casting()
    types = {} if asked is None else asked.types
    return bool(types) if device_type is None else _checked(device_type) in types


def get_autocast_dtype(device_type: str) -> DType:
    """The type that `autocast` computes in here; outside of it, the one it would take."""
    asked = current_casting()
    return _default(device_type) if asked is None else asked.types.get(_checked(device_type), _default(device_type))


def clear_autocast_cache() -> None:
    """Forget the weights cast so far in this block."""
    asked = current_casting()
    if asked is not None and asked.cache is not None:
        asked.cache.clear()


def _default(device_type: str) -> DType:
    return dtypes.bfloat16 if _checked(device_type) == "cpu" else dtypes.float16


def _checked(device_type: str) -> str:
    if device_type not in DEVICES:
        raise ArgumentError(f"autocast: device_type must be 'cpu' or 'cuda', got {device_type!r}")
    return device_type
