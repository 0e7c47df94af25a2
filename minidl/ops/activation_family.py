"""The rest of the activations. `inplace` is taken for PyTorch's sake and ignored."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError
from minidl.ops.activation_rows import Celu, HardSigmoid, HardSwish, LogSigmoid, Mish, Selu
from minidl.ops.elementwise import float_of
from minidl.ops.shrinking import HardShrink, SoftShrink, SoftSign, TanhShrink, Threshold
from minidl.ops.softmax import softmax

__all__ = [
    "celu", "hardshrink", "hardsigmoid", "hardswish", "logsigmoid", "mish", "selu", "softmin",
    "softshrink", "softsign", "tanhshrink", "threshold",
]  # fmt: skip


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above zero, alpha * (exp(x / alpha) - 1) below. Source: Barron, arXiv:1704.07483.

    Raises:
        ArgumentError: if `alpha` is 0.
    """
    if alpha == 0:
        raise ArgumentError("celu: alpha must not be 0, for x is divided by it")
    result: Tensor = Celu.apply(float_of(input), alpha=float(alpha))
    return result


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """A scaled elu that keeps mean 0 and variance 1 from layer to layer. Source: Klambauer et al., NeurIPS 2017.

    >>> selu(Tensor([1.0]))
    tensor([1.050701])
    """
    result: Tensor = Selu.apply(float_of(input))
    return result


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2, held between 0 and 1."""
    result: Tensor = HardSigmoid.apply(float_of(input))
    return result


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x). Source: Howard et al., ICCV 2019."""
    result: Tensor = HardSwish.apply(float_of(input))
    return result


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where it is beyond ±lambd, zero between."""
    result: Tensor = HardShrink.apply(float_of(input), lambd=float(lambd))
    return result


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards zero by lambd, and zero where it would cross.

    Raises:
        ArgumentError: if `lambd` is negative.
    """
    if lambd < 0:
        raise ArgumentError(f"softshrink: lambd must be 0 or more, got {lambd}")
    result: Tensor = SoftShrink.apply(float_of(input), lambd=float(lambd))
    return result


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where it is above `threshold`, `value` elsewhere."""
    result: Tensor = Threshold.apply(input, threshold=float(threshold), value=float(value))
    return result


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)). Source: Misra, BMVC 2020.

    >>> round(mish(Tensor([1.0])).item(), 6)
    0.865098
    """
    result: Tensor = Mish.apply(float_of(input))
    return result


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)), exact where sigmoid would round to zero."""
    result: Tensor = LogSigmoid.apply(float_of(input))
    return result


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    result: Tensor = SoftSign.apply(float_of(input))
    return result


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    result: Tensor = TanhShrink.apply(float_of(input))
    return result


def softmin(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """softmax(-x) along `dim`."""
    return softmax(-(float_of(input) if dtype is None else input.to(dtype)), dim)
