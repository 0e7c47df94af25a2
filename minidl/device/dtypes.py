"""THE table of element types: the default, promotion, accumulators.

Promotion is NumPy 2's with two changes, so that nothing turns into float64 silently: an integer tensor that meets a
floating one takes the floating type (NumPy gives int64 + float32 = float64), and an integer tensor that meets a Python
float, or is divided, takes the default float type.
"""

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np

DType: TypeAlias = "np.dtype[Any]"

float16: DType = np.dtype(np.float16)
float32: DType = np.dtype(np.float32)
float64: DType = np.dtype(np.float64)
int8: DType = np.dtype(np.int8)
int16: DType = np.dtype(np.int16)
int32: DType = np.dtype(np.int32)
int64: DType = np.dtype(np.int64)
uint8: DType = np.dtype(np.uint8)
uint16: DType = np.dtype(np.uint16)
uint32: DType = np.dtype(np.uint32)
uint64: DType = np.dtype(np.uint64)
bool_: DType = np.dtype(np.bool_)

DEFAULT_FLOAT = float32
DEFAULT_INT = int64


def is_floating(dtype: DType) -> bool:
    """Whether `dtype` is a floating type, and so can carry gradients."""
    return dtype.kind == "f"


@functools.cache
def promote(*dtypes: DType) -> DType:
    """The element type of a result made of tensors with these types.

    >>> promote(int64, float32), promote(float32, float64), promote(uint8, int8)
    (dtype('float32'), dtype('float64'), dtype('int16'))
    """
    floating = [d for d in dtypes if is_floating(d)]
    return functools.reduce(np.promote_types, floating or dtypes)


def scalar_dtype(value: Any, dtype: DType) -> DType:
    """The type that a Python number takes beside a tensor of `dtype`: the tensor's, unless that cannot hold its kind.

    >>> scalar_dtype(2.5, float16), scalar_dtype(2, uint8), scalar_dtype(2.5, int64), scalar_dtype(True, int64)
    (dtype('float16'), dtype('uint8'), dtype('float32'), dtype('int64'))
    """
    if isinstance(value, (float, np.floating)):
        return dtype if is_floating(dtype) else DEFAULT_FLOAT
    if isinstance(value, (bool, np.bool_)):
        return dtype
    return DEFAULT_INT if dtype == bool_ else dtype


@functools.cache
def as_float(dtype: DType) -> DType:
    """The floating type in which a division or an exponential of `dtype` is computed."""
    return dtype if is_floating(dtype) else DEFAULT_FLOAT


@functools.cache
def accumulator(dtype: DType) -> DType:
    """The type in which sums of `dtype` are kept: float16 sums of 4096 terms in float16 lose three digits."""
    if dtype == float16:
        return float32
    return dtype if is_floating(dtype) else DEFAULT_INT
