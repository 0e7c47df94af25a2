"""The rest of the activations as layers. `inplace` is taken for PyTorch's sake and ignored."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.activation import _Inplace
from minidl.nn.linear import blank
from minidl.nn.module import Module

__all__ = [
    "CELU", "GLU", "SELU", "Hardshrink", "Hardsigmoid", "Hardswish", "LogSigmoid", "Mish", "PReLU", "RReLU",
    "Softmax2d", "Softmin", "Softshrink", "Softsign", "Tanhshrink", "Threshold",
]  # fmt: skip


class SELU(_Inplace):
    """A scaled ELU that keeps mean 0 and variance 1 from layer to layer. Source: Klambauer et al., NeurIPS 2017."""

    def forward(self, input: Tensor) -> Tensor:
        return F.selu(input)


class Hardsigmoid(_Inplace):
    """x / 6 + 1/2, held between 0 and 1."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardsigmoid(input)


class Hardswish(_Inplace):
    """x * hardsigmoid(x). Source: Howard et al., ICCV 2019."""

    def forward(self, input: Tensor) -> Tensor:
        return F.hardswish(input)


class Mish(_Inplace):
    """x * tanh(softplus(x)). Source: Misra, BMVC 2020."""

    def forward(self, input: Tensor) -> Tensor:
        return F.mish(input)


class LogSigmoid(Module):
    """log(sigmoid(x))."""

    def forward(self, input: Tensor) -> Tensor:
        return F.logsigmoid(input)


class Softsign(Module):
    """x / (1 + |x|)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.softsign(input)


class Tanhshrink(Module):
    """x - tanh(x)."""

    def forward(self, input: Tensor) -> Tensor:
        return F.tanhshrink(input)


class CELU(Module):
    """x above zero, alpha * (exp(x / alpha) - 1) below. Source: Barron, arXiv:1704.07483."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.celu(input, self.alpha)

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"


class Hardshrink(Module):
    """x where it is beyond ±lambd, zero between."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Softshrink(Module):
    """x moved towards zero by lambd, and zero where it would cross."""

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        return str(self.lambd)


class Threshold(Module):
    """x where it is above `threshold`, `value` elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.threshold(input, self.threshold, self.value)

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class GLU(Module):
    """The first half along `dim` times the sigmoid of the second. Source: Dauphin et al., ICML 2017."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmin(Module):
    """softmax(-x) along `dim`."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        return F.softmin(input, self.dim)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W), at each pixel."""

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in (3, 4):
            raise ShapeError(f"Softmax2d: input must be (N, C, H, W) or (C, H, W), got {input.shape}")
        return F.softmax(input, -3)


class PReLU(Module):
    """x above zero, weight * x below, the weight being learned. Source: He et al., ICCV 2015.

    Args:
        num_parameters: one weight for all, or one for each channel (dimension 1).
        init: where they start.
    """

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:  # fmt: skip
        self.num_parameters, self.init = num_parameters, init
        self.weight = blank(num_parameters, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every weight back to `init`."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"


class RReLU(Module):
    """x above zero, a drawn slope * x below; in eval the mean slope. Source: Xu et al., arXiv:1505.00853."""

    def __init__(self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False) -> None:
        if lower > upper:
            raise ArgumentError(f"RReLU: lower must be at most upper, got {lower} and {upper}")
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        return F.rrelu(input, self.lower, self.upper, self.training)

    def extra_repr(self) -> str:
        return f"lower={self.lower}, upper={self.upper}"
