"""Elements held, replaced or mixed by others: clamps between tensors, NaN replaced, points between two."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Tensor, as_tensor
from minidl.device.dtypes import finfo, is_floating
from minidl.errors import ArgumentError, DTypeError
from minidl.ops.binary import div, mul
from minidl.ops.compare import eq, ge, isfinite, isnan, le
from minidl.ops.elementwise import pair
from minidl.ops.reduce import all as all_
from minidl.ops.unary import abs as abs_
from minidl.ops.unary import clamp
from minidl.ops.where import where

__all__ = [
    "addcdiv", "addcmul", "allclose", "clamp_max", "clamp_min", "clip", "fmax", "fmin", "isclose", "lerp", "nan_to_num",
    "true_divide",
]  # fmt: skip


def clip(input: Tensor, min: Any = None, max: Any = None) -> Tensor:
    """The same as `clamp`, as NumPy calls it."""
    return clamp(input, min, max)


def clamp_min(input: Tensor, min: Any) -> Tensor:
    """Each element, or `min` where it is below."""
    return clamp(input, min=min)


def clamp_max(input: Tensor, max: Any) -> Tensor:
    """Each element, or `max` where it is above."""
    return clamp(input, max=max)


def fmax(input: Tensor, other: Tensor) -> Tensor:
    """The larger of two elements; a number wins over NaN, and a tie's gradient goes to `input`."""
    x, y = pair(input, other)
    return where(ge(x, y) + isnan(y), x, y)


def fmin(input: Tensor, other: Tensor) -> Tensor:
    """The smaller of two elements; a number wins over NaN, and a tie's gradient goes to `input`."""
    x, y = pair(input, other)
    return where(le(x, y) + isnan(y), x, y)


def nan_to_num(
    input: Tensor, nan: float | None = None, posinf: float | None = None, neginf: float | None = None
) -> Tensor:
    """`input` with NaN replaced by `nan` (0), and infinities by `posinf`, `neginf` (the largest numbers there are).

    >>> nan_to_num(Tensor([math.nan, 1.0]), nan=5.0)
    tensor([5., 1.])
    """
    x = as_tensor(input)
    if not is_floating(x.dtype):
        return x.clone()
    largest = finfo(x.dtype).max
    x = where(isnan(x), 0.0 if nan is None else float(nan), x)
    x = where(eq(x, math.inf), largest if posinf is None else float(posinf), x)
    return where(eq(x, -math.inf), -largest if neginf is None else float(neginf), x)


def lerp(input: Tensor, end: Tensor, weight: Any) -> Tensor:
    """input + weight * (end - input): the point between two, 0 for `input`, 1 for `end`.

    >>> lerp(Tensor([0.0]), Tensor([10.0]), 0.25)
    tensor([2.5])
    """
    return input + as_tensor(weight, like=input) * (end - input)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 * tensor2."""
    product = mul(tensor1, tensor2)
    return input + (product if value == 1 else product * value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, *, value: float = 1) -> Tensor:
    """input + value * tensor1 / tensor2."""
    quotient = div(tensor1, tensor2)
    return input + (quotient if value == 1 else quotient * value)


def true_divide(input: Any, other: Any) -> Tensor:
    """The same as `div`."""
    return div(input, other)


def isclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
    """Whether |input - other| <= atol + rtol * |other|, element by element; equal infinities are close.

    Args:
        rtol, atol: from 0 up.
        equal_nan: whether NaN is close to NaN.

    Raises:
        ArgumentError: if a bound is negative.
    """
    if rtol < 0 or atol < 0:
        raise ArgumentError(f"isclose: rtol and atol must be 0 or more, got {rtol} and {atol}")
    if input.dtype != other.dtype:
        raise DTypeError(f"isclose: both must have one element type, got {input.dtype} and {other.dtype}")
    if input.dtype.kind == "b":
        input, other = input.float(), other.float()
    near = le(abs_(input - other), atol + rtol * abs_(other))
    near = eq(input, other) + isfinite(input) * isfinite(other) * near
    return near + isnan(input) * isnan(other) if equal_nan else near


def allclose(input: Tensor, other: Tensor, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
    """Whether all elements are close: see `isclose`."""
    return bool(all_(isclose(input, other, rtol, atol, equal_nan)))
