"""default_collate: a list of samples made one batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.core import Tensor, as_tensor
from minidl.device.dtypes import is_known
from minidl.errors import DTypeError, ShapeError
from minidl.ops import stack


def default_collate(batch: Sequence[Any]) -> Any:
    """Tensors, arrays and numbers are stacked along a new first dimension; tuples, lists and dicts item by item.

    Texts stay a list. Python's floats become float32, as everywhere here; PyTorch makes float64 of them.

    Raises:
        ShapeError: if samples differ in shape or length.
        DTypeError: for samples of another kind.

    >>> default_collate([(1, 2.0), (3, 4.0)])
    [tensor([1, 3]), tensor([2., 4.])]
    """
    first = batch[0]
    if isinstance(first, (Tensor, np.ndarray)):
        if any(a.shape != first.shape for a in batch):
            raise ShapeError(
                f"collate: samples must have one shape, got {sorted({a.shape for a in batch})}; pass collate_fn"
            )
        return stack(batch) if isinstance(first, Tensor) else _numbers(np.stack(batch))
    if isinstance(first, np.generic) and not isinstance(first, (str, bytes)):
        return _numbers(np.array(batch))
    if isinstance(first, (bool, int, float)):
        return as_tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        if any(sample.keys() != first.keys() for sample in batch):
            raise ShapeError("collate: samples must have the same keys as each other; pass collate_fn")
        return {key: default_collate([sample[key] for sample in batch]) for key in first}
    if isinstance(first, (tuple, list)):
        if any(len(sample) != len(first) for sample in batch):
            counts = sorted({len(sample) for sample in batch})
            raise ShapeError(f"collate: samples must have as many parts as each other, got {counts}; pass collate_fn")
        parts = [default_collate(part) for part in zip(*batch, strict=True)]
        return type(first)(*parts) if hasattr(first, "_fields") else parts
    raise DTypeError(f"collate: cannot batch samples of type {type(first).__name__}; pass collate_fn")


def default_convert(data: Any) -> Any:
    """Arrays and NumPy's numbers in a sample as tensors, tuples, lists and dicts item by item; all else as it is.

    >>> default_convert({"x": np.ones(2), "name": "a"})
    {'x': tensor([1., 1.], dtype=float64), 'name': 'a'}
    """
    if isinstance(data, (np.ndarray, np.generic)) and not isinstance(data, (str, bytes)):
        return as_tensor(np.asarray(data)) if np.asarray(data).dtype.kind in "biuf" else data
    if isinstance(data, Mapping):
        return {key: default_convert(value) for key, value in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(default_convert, data))
    return type(data)(map(default_convert, data)) if type(data) in (tuple, list) else data


def _numbers(array: np.ndarray[Any, Any]) -> Tensor:
    if not is_known(array.dtype):
        raise DTypeError(f"collate: cannot make a tensor of element type {array.dtype}; pass collate_fn")
    return Tensor.of(array)
