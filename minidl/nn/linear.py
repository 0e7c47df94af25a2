"""Linear: every output is a weighted sum of all inputs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Tensor
from minidl.device import Device
from minidl.device import device as find_device
from minidl.device.dtypes import DEFAULT_FLOAT, DType
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["Identity", "Linear"]


def blank(*shape: int, device: Device | str | None = None, dtype: DType | None = None) -> Parameter:
    """A weight whose values are set later."""
    return Parameter(Tensor.of(np.empty(shape, dtype or DEFAULT_FLOAT)).to(find_device(device or "cpu")))


def reset_weight_and_bias(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's starting values of linear and convolution layers: both uniform within 1 / sqrt(fan_in)."""
    init.kaiming_uniform_(weight, a=math.sqrt(5))
    fan_in, _ = init.fans(weight)
    if bias is not None and fan_in:
        init.uniform_(bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))


class Linear(Module):
    """input @ weight.T + bias. Maps (..., in_features) to (..., out_features).

    Weight (out_features, in_features) and bias (out_features,) start uniform within 1 / sqrt(in_features).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        self.in_features, self.out_features = in_features, out_features
        self.weight = blank(out_features, in_features, device=device, dtype=dtype)
        self.bias = blank(out_features, device=device, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the starting values again."""
        reset_weight_and_bias(self.weight, self.bias)

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Identity(Module):
    """Its input; stands where a layer is left out. Takes and ignores any arguments."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        return input
