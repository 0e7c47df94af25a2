"""What a convolution does to a result before it leaves the registers: bias, residual, ReLU."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device.dtypes import DType


class Epilogue(NamedTuple):
    """result = activation(sum + bias + residual); each step on its own would be one more pass over memory.

    `bias` is (K,), `residual` lies as the result does, C-contiguous (N, *space, K) and other memory than the result,
    `activation` is "none" or "relu". Kernels take them as the four values below.
    """

    bias: Array | None = None
    activation: str = "none"
    residual: Array | None = None

    @property
    def is_more(self) -> bool:
        """Whether there is anything but a bias."""
        return self.residual is not None or self.activation != "none"

    @property
    def floor(self) -> float:
        """The least result: 0 after a ReLU."""
        return 0.0 if self.activation == "relu" else -math.inf

    def apply(self, result: Array) -> None:
        """All of it in passes of its own, for kernels that do not take it along."""
        if self.bias is not None:
            result += self.bias
        if self.residual is not None:
            result += self.residual
        if self.activation == "relu":
            np.maximum(result, 0, out=result)

    def lift(self, count: int, dtype: DType) -> Array:
        """The bias of filter k at k, zeros where there is none, up to `count`."""
        bias = self.bias
        if bias is not None and bias.size == count and bias.dtype == dtype:
            return bias
        lift = np.zeros(count, dtype)
        if bias is not None:
            lift[: bias.size] = bias
        return lift

    def added(self, dtype: DType) -> Array:
        """The residual in one dimension; of no length if there is none."""
        return np.empty(0, dtype) if self.residual is None else self.residual.reshape(-1)
