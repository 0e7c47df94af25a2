"""More pooling layers: maxima of windows that cover the image, p-norms, and the way back from max pooling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.core import Tensor
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.nn.module import Module

__all__ = [
    "AdaptiveMaxPool1d", "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d",
    "LPPool1d", "LPPool2d", "LPPool3d", "MaxUnpool1d",
    "MaxUnpool2d", "MaxUnpool3d",
]  # fmt: skip

Size = int | Sequence[int]


class _AdaptiveMaxPool(Module):
    """The largest value of each of `output_size` windows that cover the image, whatever its size."""

    def __init__(self, output_size: Any, return_indices: bool = False) -> None:
        self.output_size, self.return_indices = output_size, return_indices

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """Maxima of windows that cover the signal. Maps (N, C, L) to (N, C, output_size)."""

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool1d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """Maxima of windows that cover the image. Maps (N, C, H, W) to (N, C, *output_size)."""

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool2d(input, self.output_size, self.return_indices)


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """Maxima of windows that cover the volume. Maps (N, C, D, H, W) to (N, C, *output_size)."""

    def forward(self, input: Tensor) -> Any:
        return F.adaptive_max_pool3d(input, self.output_size, self.return_indices)


class _FractionalMaxPool(Module):
    """What both share."""

    def __init__(
        self, kernel_size: Size, output_size: Size | None = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> None:  # fmt: skip
        if (output_size is None) == (output_ratio is None):
            raise ArgumentError(
                f"{type(self).__name__}: needs either output_size or output_ratio, got {output_size} and {output_ratio}"
            )
        self.kernel_size, self.output_size, self.output_ratio = kernel_size, output_size, output_ratio
        self.return_indices = return_indices
        self.register_buffer("_random_samples", _random_samples)

    def _settings(self) -> tuple[Any, ...]:
        samples = vars(self)["_random_samples"]
        return self.kernel_size, self.output_size, self.output_ratio, self.return_indices, samples

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, output_size={self.output_size}, output_ratio={self.output_ratio}"


class FractionalMaxPool2d(_FractionalMaxPool):
    """Maxima of windows whose steps are drawn. Maps (N, C, H, W) to (N, C, *output_size).

    Arguments as for `functional.fractional_max_pool2d`, one of `output_size` and `output_ratio` among them.

    Raises:
        ArgumentError: if both of them are given, or none.

    Source: Graham, arXiv:1412.6071.
    """

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool2d(input, *self._settings())


class FractionalMaxPool3d(_FractionalMaxPool):
    """`FractionalMaxPool2d` over volumes. Maps (N, C, D, H, W) to (N, C, *output_size)."""

    def forward(self, input: Tensor) -> Any:
        return F.fractional_max_pool3d(input, *self._settings())


class _LPPool(Module):
    """The p-norm of each window; arguments as for `functional.lp_pool2d`."""

    def __init__(
        self, norm_type: float, kernel_size: Size, stride: Size | None = None, ceil_mode: bool = False
    ) -> None:
        self.norm_type, self.kernel_size, self.stride, self.ceil_mode = norm_type, kernel_size, stride, ceil_mode

    def extra_repr(self) -> str:
        return (
            f"norm_type={self.norm_type}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"ceil_mode={self.ceil_mode}"
        )


class LPPool1d(_LPPool):
    """The p-norm of each window. Maps (N, C, L) to (N, C, L')."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool1d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool2d(_LPPool):
    """The p-norm of each window. Maps (N, C, H, W) to (N, C, H', W')."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool2d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class LPPool3d(_LPPool):
    """The p-norm of each window. Maps (N, C, D, H, W) to (N, C, D', H', W')."""

    def forward(self, input: Tensor) -> Tensor:
        return F.lp_pool3d(input, float(self.norm_type), self.kernel_size, self.stride, self.ceil_mode)


class _MaxUnpool(Module):
    """Values back at the pixels that max pooling took them from; arguments as for `functional.max_unpool2d`."""

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxUnpool1d(_MaxUnpool):
    """Undo max pooling but for what lost. Maps (N, C, L') to (N, C, L)."""

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.max_unpool1d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool2d(_MaxUnpool):
    """Undo max pooling but for what lost. Maps (N, C, H', W') to (N, C, H, W)."""

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.max_unpool2d(input, indices, self.kernel_size, self.stride, self.padding, output_size)


class MaxUnpool3d(_MaxUnpool):
    """Undo max pooling but for what lost. Maps (N, C, D', H', W') to (N, C, D, H, W)."""

    def forward(self, input: Tensor, indices: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        return F.max_unpool3d(input, indices, self.kernel_size, self.stride, self.padding, output_size)
