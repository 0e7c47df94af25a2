"""More normalisation layers: instance, root mean square, local response."""

from __future__ import annotations

from collections.abc import Sequence

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ShapeError
from minidl.nn import functional as F
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.norm import _Affine, _BatchNorm

__all__ = ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LocalResponseNorm", "RMSNorm"]


class _InstanceNorm(_BatchNorm):
    """Normalise each channel of each sample over its pixels. Source: Ulyanov et al., arXiv:1607.08022.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of the newest batch in the running averages.
        affine: learn a scale and a shift for each channel.
        track_running_stats: keep running averages, and use them in eval.
        bias: False leaves out the shift.
    """

    def __init__(
        self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
        track_running_stats: bool = False, device: Device | str | None = None, dtype: DType | None = None, *,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        if input.ndim not in self.ranks:
            raise ShapeError(f"{type(self).__name__}: input must be {self.takes}, got {input.shape}")
        x = input if input.ndim == max(self.ranks) else input.unsqueeze(0)
        if self.weight is not None and x.shape[1] != self.num_features:
            raise ShapeError(f"{type(self).__name__}: input must have {self.num_features} channels, got {input.shape}")
        own = self.training or self.running_mean is None
        result = F.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, own, self.momentum or 0.0, self.eps
        )
        return result if x is input else result.squeeze(0)


class InstanceNorm1d(_InstanceNorm):
    ranks = (2, 3)
    takes = "(N, C, L) or (C, L)"


class InstanceNorm2d(_InstanceNorm):
    ranks = (3, 4)
    takes = "(N, C, H, W) or (C, H, W)"


class InstanceNorm3d(_InstanceNorm):
    ranks = (4, 5)
    takes = "(N, C, D, H, W) or (C, D, H, W)"


for _layer in (InstanceNorm1d, InstanceNorm2d, InstanceNorm3d):
    _layer.__doc__ = f"{_InstanceNorm.__doc__}\n    Maps {_layer.takes} to the same shape.\n    "


class RMSNorm(_Affine):
    """Divide each sample by its root mean square over its last dimensions. Source: Zhang and Sennrich, NeurIPS 2019.

    Args:
        normalized_shape: their lengths; one number for the last dimension alone.
        eps: added to the mean square; the rounding of the element type for None.
        elementwise_affine: learn a scale for each element.
    """

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True,
        device: Device | str | None = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self.weight = blank(*shape, device=device, dtype=dtype) if elementwise_affine else None
        self.bias = None
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"


class LocalResponseNorm(Module):
    """x / (k + alpha * mean of x² over `size` neighbouring channels)^beta. Source: Krizhevsky et al., NeurIPS 2012."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
