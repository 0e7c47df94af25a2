"""Normalisation layers: batch, layer and group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl.core import Tensor
from minidl.core.versions import note_change
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn import init
from minidl.nn.linear import blank
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "GroupNorm", "LayerNorm"]


class _Affine(Module):
    """A layer with one scale and one shift, 1 and 0 at first; both None where they are left out."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_affine(
        self, shape: tuple[int, ...], scale: bool, shift: bool, device: Device | str | None, dtype: DType | None
    ) -> None:
        self.weight = blank(*shape, device=device, dtype=dtype) if scale else None
        self.bias = blank(*shape, device=device, dtype=dtype) if shift else None

    def reset_parameters(self) -> None:
        """Set scale and shift back to 1 and 0."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


class _BatchNorm(_Affine):
    """Normalise each channel by the batch in training, and by running averages of the batches in eval.

    Buffers: running_mean and running_var (C,), num_batches_tracked. Source: Ioffe and Szegedy, ICML 2015.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of the newest batch in the running averages; None for the plain mean of all batches.
        affine: learn a scale and a shift for each channel.
        track_running_stats: False normalises by the batch in eval too.
        bias: False leaves out the shift.
    """

    ranks: tuple[int, ...]
    takes: str
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats
        self._make_affine((num_features,), affine, affine and bias, device, dtype)
        for name in ("running_mean", "running_var"):
            blank_buffer = blank(num_features, device=device, dtype=dtype).data
            self.register_buffer(name, blank_buffer if track_running_stats else None)
        count = Tensor.of(np.zeros((), np.int64)).to(device or "cpu")
        self.register_buffer("num_batches_tracked", count if track_running_stats else None)
        self.reset_running_stats()
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the batches seen so far."""
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            init.zeros_(self.running_mean)
            init.ones_(self.running_var)
            init.zeros_(self.num_batches_tracked)

    def forward(self, input: Tensor) -> Tensor:
        if len(input.shape) not in self.ranks:
            raise ShapeError(f"{type(self).__name__}: input must be {self.takes}, got {input.shape}")
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training or self.running_mean is None,
            self._share_of_this_batch() if self.training else 0.0,
            self.eps,
        )

    def _share_of_this_batch(self) -> float:
        """Count one batch more; the momentum that it enters with."""
        if self.num_batches_tracked is not None:
            count = self.num_batches_tracked.array
            count += 1  # no step of any tape: `add_` takes five times as long
            note_change(count, "add_")
            if self.momentum is None:
                return 1.0 / int(self.num_batches_tracked)
        return self.momentum or 0.0

    def extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"bias={self.bias is not None}, track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    ranks = (2, 3)
    takes = "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    ranks = (4,)
    takes = "(N, C, H, W)"


class BatchNorm3d(_BatchNorm):
    ranks = (5,)
    takes = "(N, C, D, H, W)"


for _layer in (BatchNorm1d, BatchNorm2d, BatchNorm3d):
    _layer.__doc__ = f"{_BatchNorm.__doc__}\n    Maps {_layer.takes} to the same shape.\n    "


class LayerNorm(_Affine):
    """Normalise each sample over its last dimensions, those of `normalized_shape`.

    Args:
        normalized_shape: their lengths; one number for the last dimension alone.
        eps: added to the variance.
        elementwise_affine: learn a scale and a shift for each element.
        bias: False leaves out the shift.

    Source: Ba et al., arXiv:1607.06450.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        self._make_affine(shape, elementwise_affine, elementwise_affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}, "
            f"bias={self.bias is not None}"
        )


class GroupNorm(_Affine):
    """Normalise each sample over groups of its channels; any batch size will do. Maps (N, C, ...) to the same shape.

    Args:
        num_groups: divides num_channels.
        num_channels: C.
        eps: added to the variance.
        affine: learn a scale and a shift for each channel.
        bias: False leaves out the shift.

    Source: Wu and He, ECCV 2018.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Device | str | None = None,
        dtype: DType | None = None,
        *,
        bias: bool = True,
    ) -> None:
        if num_groups < 1 or num_channels % num_groups:
            raise ArgumentError(f"GroupNorm: num_groups must divide num_channels {num_channels}, got {num_groups}")
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        self._make_affine((num_channels,), affine, affine and bias, device, dtype)
        self.reset_parameters()

    def forward(self, input: Tensor) -> Tensor:
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
