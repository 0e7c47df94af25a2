"""Tensors made from nothing but a shape: zeros, ones, ranges, identities."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.device import Device, device
from minidl.device.dtypes import DEFAULT_FLOAT, DEFAULT_INT, DType
from minidl.errors import ArgumentError
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


def _like(make: Any, input: Tensor, dtype: DType | None, place: Device | str | None, requires_grad: bool) -> Tensor:
    t = Tensor.of(make(input.shape, dtype or input.dtype))
    return (t if place is None else t.to(device(place))).requires_grad_(requires_grad)


def zeros_like(input: Tensor, *, dtype: DType | None = None, device: Device | str | None = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Zeros in the shape, element type and on the device of `input`."""
    return _like(input.device.xp.zeros, input, dtype, device, requires_grad)


def ones_like(input: Tensor, *, dtype: DType | None = None, device: Device | str | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones in the shape, element type and on the device of `input`."""
    return _like(input.device.xp.ones, input, dtype, device, requires_grad)


def empty_like(input: Tensor, *, dtype: DType | None = None, device: Device | str | None = None,
               requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Values that are not set, in the shape, element type and on the device of `input`."""
    return _like(input.device.xp.empty, input, dtype, device, requires_grad)


def full_like(input: Tensor, fill_value: float, *, dtype: DType | None = None, device: Device | str | None = None,
              requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`fill_value` in the shape, element type and on the device of `input`."""

    def make(shape: Any, kind: DType) -> Any:
        return input.device.xp.full(shape, fill_value, kind)

    return _like(make, input, dtype, device, requires_grad)


def arange(start: float, end: float | None = None, step: float = 1, *, dtype: DType | None = None,
           device: Device | str = "cpu", requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Numbers from `start` (0 if only one is given) up to, not including, `end`.

    Raises:
        ArgumentError: if `step` is 0 or leads away from `end`.

    >>> arange(3)
    tensor([0, 1, 2])
    """
    start, end = (0, start) if end is None else (start, end)
    if not (math.isfinite(start) and math.isfinite(end)):
        raise ArgumentError(f"arange: start and end must be finite, got {start} and {end}")
    if step == 0 or (end - start) * step < 0:
        raise ArgumentError(f"arange: step {step} does not lead from {start} to {end}")
    whole = dtype is not None and np.dtype(dtype).kind in "iu"
    if whole:  # as PyTorch has it: the ends are cut to whole numbers first
        start, end, step = int(start), int(end), int(step)
        if step == 0:
            raise ArgumentError("arange: step is below 1, and so no whole number")
    values = np.arange(start, end, step)
    kind = dtype or (DEFAULT_FLOAT if values.dtype.kind == "f" else values.dtype)
    return _placed(values.astype(kind, copy=False), device, requires_grad)


def linspace(start: Any, end: Any, steps: int, *, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu",
             requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`steps` numbers evenly spaced from `start` to `end`, both included.

    Raises:
        ArgumentError: if `steps` is negative.
    """
    low, high = _number("linspace", start), _number("linspace", end)
    if steps < 0:
        raise ArgumentError(f"linspace: steps must be 0 or more, got {steps}")
    return _placed(_spaced(low, high, steps, dtype).astype(dtype), device, requires_grad)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, dtype: DType = DEFAULT_FLOAT,
             device: Device | str = "cpu", requires_grad: bool = False) -> Tensor:  # fmt: skip
    """`steps` numbers from base^start to base^end, with exponents evenly spaced.

    >>> logspace(0, 2, 3)
    tensor([  1.,  10., 100.])
    """
    low, high = _number("logspace", start), _number("logspace", end)
    if steps < 0:
        raise ArgumentError(f"logspace: steps must be 0 or more, got {steps}")
    with np.errstate(all="ignore"):
        return _placed((float(base) ** _spaced(low, high, steps, dtype)).astype(dtype), device, requires_grad)


def _spaced(low: float, high: float, steps: int, dtype: DType) -> Any:
    """Evenly spaced numbers; for whole numbers, as PyTorch has it, between ends that are cut to whole ones."""
    if np.dtype(dtype).kind not in "iu" or steps < 2:
        return np.linspace(low, high, steps)
    low, high = int(low), int(high)
    step, i = (high - low) / (steps - 1), np.arange(steps)
    return np.where(i < steps // 2, low + step * i, high - step * (steps - 1 - i))


def _number(name: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.ndim:
        raise ArgumentError(f"{name}: start and end must be single numbers, got a tensor of shape {value.shape}")
    return value.item() if isinstance(value, Tensor) else value  # type: ignore[no-any-return]


def eye(n: int, m: int | None = None, *, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu",
        requires_grad: bool = False) -> Tensor:  # fmt: skip
    """Ones on the diagonal of an (n, m) tensor of zeros."""
    if n < 0 or (m is not None and m < 0):
        raise ArgumentError(f"eye: lengths must be 0 or more, got {n} and {m}")
    return _placed(np.eye(n, m, dtype=dtype), device, requires_grad)


def scalar_tensor(value: float, *, dtype: DType = DEFAULT_FLOAT, device: Device | str = "cpu",
                  requires_grad: bool = False) -> Tensor:  # fmt: skip
    """One number, without dimensions; float32 unless `dtype` says otherwise."""
    return _placed(np.asarray(value, dtype), device, requires_grad)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: DType = DEFAULT_INT,
                 device: Device | str = "cpu") -> Tensor:  # fmt: skip
    """Rows and columns of the elements on and below a diagonal of a (row, col) matrix: (2, n).

    >>> tril_indices(2, 2)
    tensor([[0, 1, 1],
            [0, 0, 1]])
    """
    return _placed(np.stack(_sides("tril_indices", np.tril_indices, row, col, offset)).astype(dtype), device)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: DType = DEFAULT_INT,
                 device: Device | str = "cpu") -> Tensor:  # fmt: skip
    """Rows and columns of the elements on and above a diagonal of a (row, col) matrix: (2, n)."""
    return _placed(np.stack(_sides("triu_indices", np.triu_indices, row, col, offset)).astype(dtype), device)


def _sides(name: str, find: Any, row: int, col: int, offset: int) -> Any:
    if row < 0 or col < 0:
        raise ArgumentError(f"{name}: lengths must be 0 or more, got {row} and {col}")
    return find(row, offset, col)


def from_numpy(array: Any) -> Tensor:
    """A tensor that shares the memory of a NumPy array."""
    return Tensor.of(array)


def _placed(array: Any, place: Device | str, requires_grad: bool = False) -> Tensor:
    return Tensor.of(array).to(device(place)).requires_grad_(requires_grad)
