"""Questions about element types under PyTorch's names; the rules themselves are in `device/dtypes.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.device.dtypes import (
    DEFAULT_FLOAT,
    DEFAULT_INT,
    DType,
    beside,
    bool_,
    finfo,
    iinfo,
    is_floating,
    promote,
)
from minidl.device.dtypes import can_cast as can_cast_dtype
from minidl.errors import DTypeError

__all__ = ["can_cast", "finfo", "iinfo", "is_floating_point", "promote_types", "result_type"]


def promote_types(type1: DType, type2: DType) -> DType:
    """The element type of a result made of tensors with these two.

    >>> import minidl
    >>> promote_types(minidl.int64, minidl.float16), promote_types(minidl.bfloat16, minidl.float16)
    (dtype('float16'), dtype('float32'))
    """
    return promote(np.dtype(type1), np.dtype(type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The element type of `tensor1 + tensor2`: each a tensor or a Python number.

    A single number keeps to the type of the tensor beside it, unless it is of a kind that this cannot hold: a Python
    number first, then a tensor without dimensions.

    >>> import minidl
    >>> result_type(minidl.zeros(2), 3.5), result_type(minidl.zeros(2, dtype=minidl.int8), 3.5)
    (dtype('float32'), dtype('float32'))
    """
    (rank1, dtype1), (rank2, dtype2) = _ranked(tensor1), _ranked(tensor2)
    if rank1 == rank2:
        return promote(dtype1, dtype2)
    return beside(dtype1, dtype2) if rank1 > rank2 else beside(dtype2, dtype1)


def _ranked(value: Any) -> tuple[int, DType]:
    """How much an operand has to say, and its type: Python numbers 0, tensors without dimensions 1, others 2."""
    if isinstance(value, Tensor):
        return 1 + bool(value.shape), value.dtype
    if isinstance(value, bool):
        return 0, bool_
    if isinstance(value, (int, float)):
        return 0, DEFAULT_FLOAT if isinstance(value, float) else DEFAULT_INT
    raise DTypeError(f"result_type: needs tensors or numbers, got {type(value).__name__}")


def can_cast(from_: DType, to: DType) -> bool:
    """Whether a value of type `from_` may be put into one of type `to`, as in-place ops do.

    Bools go to all types, whole numbers to all but bool, floating numbers to floating types.
    """
    return can_cast_dtype(np.dtype(from_), np.dtype(to))


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor is of a floating type."""
    return is_floating(input.dtype)
