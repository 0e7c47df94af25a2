"""What a convolution does to a result before it leaves the registers: bias, residual, ReLU."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device.dtypes import DType


class Epilogue(NamedTuple):
    """result = activation(sum + bias + residual); each step on its own would be one more pass over memory.

    This is what is known of it beforehand. A run gets the numbers: `bias` (K,), or None, and `residual`, which lies as
    the result does, C-contiguous (N, *space, K) and other memory than the result. `activation` is "none" or "relu".
    """

    activation: str = "none"
    has_residual: bool = False

    @property
    def is_more(self) -> bool:
        """Whether there is anything but a bias."""
        return self.has_residual or self.activation != "none"

    @property
    def floor(self) -> float:
        """The least result: 0 after a ReLU."""
        return 0.0 if self.activation == "relu" else -math.inf

    def apply(self, result: Array, bias: Array | None, residual: Array | None) -> None:
        """All of it in passes of its own, for kernels that do not take it along."""
        if bias is not None:
            result += bias
        if residual is not None:
            result += residual
        if self.activation == "relu":
            np.maximum(result, 0, out=result)


def lifts_of(count: int, dtype: DType) -> Callable[[Array | None], Array]:
    """What gives a bias as kernels take it: that of filter k at k, zeros where there is none, up to `count`."""
    zeros = np.zeros(count, dtype)

    def lift(bias: Array | None) -> Array:
        if bias is None:
            return zeros
        if bias.size == count and bias.dtype == dtype:
            return bias
        longer = zeros.copy()
        longer[: bias.size] = bias
        return longer

    return lift


def flat_residuals_of(dtype: DType) -> Callable[[Array | None], Array]:
    """What gives a residual in one dimension; of no length if there is none."""
    none = np.empty(0, dtype)
    return lambda residual: none if residual is None else residual.reshape(-1)


def nothing(out: Array, *given: Array | None) -> None:
    """The run of a convolution without results."""


def clear(out: Array, *given: Array) -> None:
    """The gradient of a weight that met no window."""
    out[...] = 0
