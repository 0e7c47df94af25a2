"""How far results in 16 bits are from exact ones, counted in what one step of the type is there."""

from __future__ import annotations

import numpy as np

from minidl.device.dtypes import DType, finfo


def distance(given: np.ndarray, exact: np.ndarray, dtype: DType) -> np.ndarray:
    """|given - exact| in steps of `dtype` at `exact`, less the error of float32 arithmetic; 0 where both are NaN.

    Rounding once to the nearest is at most half a step. The error of float32 is PyTorch's bound for that type,
    1.3e-6 relative and 1e-5 absolute. An exact number beyond the range of `dtype` rounds to infinity.
    """
    limits = finfo(dtype)
    with np.errstate(all="ignore"):
        step = 2.0 ** np.floor(np.log2(np.maximum(np.abs(exact), limits.tiny))) * limits.eps
        off = (np.abs(given - exact) - 1.3e-6 * np.abs(exact) - 1e-5) / step
        rounded = exact.astype(dtype).astype(float)
    same = (given == exact) | (given == rounded) | (np.isnan(given) & np.isnan(exact))
    return np.where(same, 0.0, off)
