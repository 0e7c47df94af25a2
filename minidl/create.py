"""Tensors made from nothing but a shape: zeros, ones, ranges, identities."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.device import Device, device
from minidl.device.dtypes import DEFAULT_FLOAT, DType
from minidl.random import _lengths


def full(
    size: Any,
    fill_value: float,
    *,
    dtype: DType | None = None,
    device: Device | str = "cpu",
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of shape `size` with every element `fill_value`; int64 for a whole number, float32 otherwise."""
    if dtype is None:
        dtype = np.asarray(fill_value).dtype if isinstance(fill_value, (bool, int)) else DEFAULT_FLOAT
    shape = (size,) if isinstance(size, int) else tuple(size)
    return _placed(np.full(shape, fill_value, dtype), device, requires_grad)


def zeros(
    *size: Any, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor of zeros.

    >>> zeros(2)
    tensor([0., 0.])
    """
    return _placed(np.zeros(_lengths(size), dtype), device, requires_grad)


def ones(*size: Any, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu", requires_grad: bool = False) -> Tensor:
    """A tensor of ones."""
    return _placed(np.ones(_lengths(size), dtype), device, requires_grad)


def empty(
    *size: Any, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu", requires_grad: bool = False
) -> Tensor:
    """A tensor whose values are not set."""
    return _placed(np.empty(_lengths(size), dtype), device, requires_grad)


def zeros_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Zeros in the shape, element type and on the device of `input`."""
    return Tensor.of(input.device.xp.zeros(input.shape, dtype or input.dtype))


def ones_like(input: Tensor, *, dtype: DType | None = None) -> Tensor:
    """Ones in the shape, element type and on the device of `input`."""
    return Tensor.of(input.device.xp.ones(input.shape, dtype or input.dtype))


def full_like(input: Tensor, fill_value: float, *, dtype: DType | None = None) -> Tensor:
    """`fill_value` in the shape, element type and on the device of `input`."""
    return Tensor.of(input.device.xp.full(input.shape, fill_value, dtype or input.dtype))


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: DType | None = None,
           device: Device | str = "cpu") -> Tensor:  # fmt: skip
    """Numbers from `start` (0 if only one is given) up to, not including, `end`.

    >>> arange(3)
    tensor([0, 1, 2])
    """
    start, end = (0, start) if end is None else (start, end)
    values = np.arange(start, end, step)
    kind = dtype or (DEFAULT_FLOAT if values.dtype.kind == "f" else values.dtype)
    return _placed(values.astype(kind, copy=False), device)


def linspace(
    start: float, end: float, steps: int, *, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu"
) -> Tensor:
    """`steps` numbers evenly spaced from `start` to `end`, both included."""
    return _placed(np.linspace(start, end, steps).astype(dtype), device)


def eye(n: int, m: int | None = None, *, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu") -> Tensor:
    """Ones on the diagonal of an (n, m) tensor of zeros."""
    return _placed(np.eye(n, m, dtype=dtype), device)


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    return Tensor.of(array)


def _placed(array: Any, place: Device | str, requires_grad: bool = False) -> Tensor:
    return Tensor.of(array).to(device(place)).requires_grad_(requires_grad)
