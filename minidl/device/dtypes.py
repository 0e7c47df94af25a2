"""THE table of element types: the default, promotion, accumulators, what each can hold.

Promotion is PyTorch's: a floating type wins over whole numbers, so that nothing turns into float64 silently (NumPy
gives int64 + float32 = float64); among types of one kind the wider one wins, and of the two floating types of 16 bits,
of which neither holds the other, float32. `docs/reference/promotion.md` has the whole table.

Types of 16 bits are for storage: ops compute in float32 and round each result once (`core.op`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from minidl.errors import DTypeError

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

# NumPy has no bfloat16; that of the package ml_dtypes counts as "void", like all types that NumPy does not know.
FLOATING = "fV"


def __getattr__(name: str) -> Any:
    """`bfloat16`, whose package is loaded when it is first asked for: 8 ms of an import that takes 90."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    raise AttributeError(f"module 'minidl.device.dtypes' has no attribute {name!r}")


def is_floating(dtype: DType) -> bool:
    """Whether `dtype` is a floating type, and so can carry gradients."""
    return dtype.kind in FLOATING


def is_narrow(dtype: DType) -> bool:
    """Whether `dtype` is float16 or bfloat16: for storage, not for arithmetic."""
    return dtype.itemsize == 2 and dtype.kind in FLOATING


def in_float32(array: Any) -> Any:
    """An array of 16-bit floats as float32, which holds every one of their values; any other as it is."""
    return array.astype(np.float32) if is_narrow(array.dtype) else array


def round_back(computed: Iterable[Any], given: Iterable[Any]) -> None:
    """Round what was computed in place of 16-bit arrays (`in_float32`) into them, to the nearest, ties to even."""
    with np.errstate(over="ignore"):  # beyond float16's range is infinity
        for wide, array in zip(computed, given, strict=False):
            if wide is not array:
                array[...] = wide


def is_known(dtype: DType) -> bool:
    """Whether tensors can have this element type."""
    return dtype.kind in "fiub" or dtype.name == "bfloat16"


@functools.cache
def promote(*dtypes: DType) -> DType:
    """The element type of a result made of tensors with these types.

    >>> promote(int64, float32), promote(float32, float64), promote(uint8, int8)
    (dtype('float32'), dtype('float64'), dtype('int16'))
    """
    floating = {d for d in dtypes if is_floating(d)}
    wide = {d for d in floating if not is_narrow(d)}
    if floating and not wide:
        return floating.pop() if len(floating) == 1 else float32
    return functools.reduce(np.promote_types, wide or dtypes)


def _kind(dtype: DType) -> int:
    """Bools, whole numbers, floating numbers: a kind holds those before it."""
    return 2 if is_floating(dtype) else int(dtype != bool_)


@functools.cache
def beside(whole: DType, single: DType) -> DType:
    """The type of a result made of a tensor and a single number (a tensor without dimensions): mostly the tensor's.

    >>> beside(float32, float64), beside(int8, int64), beside(int64, float64)
    (dtype('float32'), dtype('int8'), dtype('float64'))
    """
    return promote(whole, single) if _kind(single) > _kind(whole) else whole


@functools.cache
def scalar_dtype(kind: type, dtype: DType) -> DType:
    """The type that a Python number of type `kind` takes beside a tensor of `dtype`: the tensor's, if it can hold it.

    Beside 16 bits it is float32, so that it is not rounded twice; the result has the tensor's type all the same.

    >>> scalar_dtype(float, float16), scalar_dtype(int, uint8), scalar_dtype(float, int64), scalar_dtype(bool, int64)
    (dtype('float32'), dtype('uint8'), dtype('float32'), dtype('int64'))
    """
    if issubclass(kind, (bool, np.bool_)):
        return dtype
    if is_floating(dtype):
        return float32 if is_narrow(dtype) else dtype
    if issubclass(kind, (float, np.floating)):
        return DEFAULT_FLOAT
    return DEFAULT_INT if dtype == bool_ else dtype


@functools.cache
def as_float(dtype: DType) -> DType:
    """The floating type in which a division or an exponential of `dtype` is computed."""
    return dtype if is_floating(dtype) else DEFAULT_FLOAT


@functools.cache
def accumulator(dtype: DType) -> DType:
    """The type in which sums of `dtype` are kept: float16 sums of 4096 terms in float16 lose three digits."""
    if is_narrow(dtype):
        return float32
    return dtype if is_floating(dtype) else DEFAULT_INT


@functools.cache
def can_cast(from_: DType, to: DType) -> bool:
    """Whether an op may put a value of type `from_` into one of type `to`: not from a kind that holds more.

    >>> can_cast(float64, float16), can_cast(float32, int64), can_cast(int64, uint8), can_cast(int8, bool_)
    (True, False, True, False)
    """
    return _kind(from_) <= _kind(to)


class FloatInfo(NamedTuple):
    """What a floating type can hold, in Python's numbers."""

    bits: int
    eps: float  # from 1 to the next larger number
    max: float
    min: float
    tiny: float  # the smallest positive number of full precision
    smallest_normal: float
    resolution: float  # of decimal digits that can be relied on
    dtype: str


class IntInfo(NamedTuple):
    """What a type of whole numbers can hold."""

    bits: int
    max: int
    min: int
    dtype: str


@functools.cache
def finfo(type: DType = DEFAULT_FLOAT) -> FloatInfo:
    """The limits of a floating type.

    >>> finfo(float16).max, finfo(float16).eps
    (65504.0, 0.0009765625)
    """
    dtype = np.dtype(type)
    if not is_floating(dtype):
        raise DTypeError(f"finfo: needs a floating type, got {dtype}; iinfo has the limits of whole numbers")
    limits: Any = np.finfo
    if dtype.kind != "f":
        from ml_dtypes import finfo as limits
    known = limits(dtype)
    eps, largest, tiny = float(known.eps), float(known.max), float(known.tiny)
    return FloatInfo(8 * dtype.itemsize, eps, largest, -largest, tiny, tiny, 10.0**-known.precision, dtype.name)


def iinfo(type: DType) -> IntInfo:
    """The limits of a type of whole numbers.

    >>> iinfo(uint8).max
    255
    """
    dtype = np.dtype(type)
    if dtype.kind not in "iu":
        raise DTypeError(f"iinfo: needs a type of whole numbers, got {dtype}; finfo has the limits of floating ones")
    known = np.iinfo(dtype)
    return IntInfo(known.bits, int(known.max), int(known.min), dtype.name)
