"""NaN, infinities, zeros of both signs, and the smallest and largest numbers."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Array, Tensor
from minidl.errors import KernelError
from minidl.testing.launches import ulps
from minidl.testing.outcome import as_tuple

__all__ = ["check_special_values", "special_values"]

Function = Callable[..., Any]


def special_values(dtype: Any) -> Array:
    """Twelve numbers at which functions have something to decide: ±0, ±1, ±inf, NaN, ±subnormal, smallest, ±largest."""
    info = np.finfo(dtype)
    tiny = info.smallest_subnormal
    ends = (0.0, 1.0, np.inf, tiny * 8, info.max)
    return np.array([*ends, *(-e for e in ends), np.nan, info.tiny], dtype)


def check_special_values(
    function: Function, expected: Function, count: int = 1, *, dtypes: tuple[Any, ...] = (np.float32, np.float64)
) -> None:
    """`function` of the special values, of every pair of them if it takes two, equals `expected` by NumPy.

    NaN, infinities and the sign of zero must be the same, everything else within 8 ULPs of `expected` in float64.

    Raises:
        KernelError: naming the inputs, what was given and what was expected.
    """
    for dtype in dtypes:
        grid = np.array(list(itertools.product(special_values(dtype), repeat=count)), dtype)
        columns = [np.ascontiguousarray(c) for c in grid.T]
        with np.errstate(all="ignore"):
            given = as_tuple(function(*map(Tensor.of, columns)))[0].array
            exact = np.asarray(expected(*[c.astype(np.float64) for c in columns]))
            right = exact.astype(given.dtype) if given.dtype.kind == "f" else exact
        for at, ours, theirs, wide in zip(grid, given, right, exact, strict=True):
            if not _agree(ours, theirs, wide):
                shown = ", ".join(f"{float(v):g}" for v in at)
                raise KernelError(f"for ({shown}) in {np.dtype(dtype).name} it gives {ours}, expected {theirs}")


def _agree(ours: Any, theirs: Any, wide: Any) -> bool:
    if not isinstance(ours, np.floating):
        return bool(ours == theirs)
    if np.isnan(ours) or np.isnan(theirs):
        return bool(np.isnan(ours) and np.isnan(theirs))
    if ours == theirs:
        return bool(ours != 0 or np.signbit(ours) == np.signbit(theirs))
    return ulps(np.asarray([ours]), np.asarray([wide])) <= 8
