"""Convolution layers, plain and transposed, over one, two or three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError, ShapeError
from minidl.nn import functional as F
from minidl.nn.linear import blank, reset_weight_and_bias
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter
from minidl.ops.windows import sizes

__all__ = ["Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d"]

_PADDING_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


class _ConvBase(Module):
    """What plain and transposed convolutions share: sizes, weights and their starting values, the line of `repr`."""

    dims: ClassVar[int]
    output_padding: tuple[int, ...]
    padding: Any  # lengths, or "same" or "valid"
    bias: Parameter | None

    def _set_up(
        self, in_channels: int, out_channels: int, kernel_size: Any, stride: Any, padding: Any, output_padding: Any,
        dilation: Any, groups: int, padding_mode: str,
    ) -> None:  # fmt: skip
        name = type(self).__name__
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{name}: groups must divide in_channels {in_channels} and out_channels {out_channels}, got {groups}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = sizes(name, "kernel_size", kernel_size, self.dims, least=1)
        self.stride = sizes(name, "stride", stride, self.dims, least=1)
        self.dilation = sizes(name, "dilation", dilation, self.dims, least=1)
        self.output_padding = sizes(name, "output_padding", output_padding, self.dims, least=0)
        self.padding = padding if isinstance(padding, str) else sizes(name, "padding", padding, self.dims, least=0)
        self.padding_mode = padding_mode

    def _make_weights(
        self, first: int, second: int, bias: bool, device: Device | str | None, dtype: DType | None
    ) -> None:
        self.weight = blank(first, second, *self.kernel_size, device=device, dtype=dtype)
        self.bias = blank(self.out_channels, device=device, dtype=dtype) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the starting values again: uniform within 1 / sqrt(fan_in)."""
        reset_weight_and_bias(self.weight, self.bias)

    def extra_repr(self) -> str:
        plain = (0,) * self.dims, (1,) * self.dims, (0,) * self.dims, 1, True, "zeros"
        shown = {
            "padding": self.padding, "dilation": self.dilation, "output_padding": self.output_padding,
            "groups": self.groups, "bias": self.bias is not None, "padding_mode": self.padding_mode,
        }  # fmt: skip
        start = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        changed = [f"{key}={value}" for (key, value), usual in zip(shown.items(), plain, strict=True) if value != usual]
        return ", ".join([start, *changed])


class _Conv(_ConvBase):
    """Slide a window over the input and take, for each output channel, the weighted sum of what is in it.

    Weight (out_channels, in_channels / groups, *kernel_size) and bias (out_channels,) start uniform within
    1 / sqrt(in_channels / groups * kernel elements).

    Args:
        in_channels, out_channels: C and K.
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        stride: step between windows, in pixels.
        padding: border around the image, in pixels; "same" keeps the size (stride 1 only), "valid" is none.
        dilation: step between the pixels of a window.
        groups: channels are split into so many parts, each convolved alone.
        bias: add a learned number to each output channel.
        padding_mode: what the border is made of: "zeros", "reflect", "replicate" or "circular".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        name = type(self).__name__
        if padding_mode not in _PADDING_MODES:
            raise ArgumentError(f"{name}: padding_mode must be one of {list(_PADDING_MODES)}, got {padding_mode!r}")
        if isinstance(padding, str) and padding not in ("same", "valid"):
            raise ArgumentError(f"{name}: padding must be whole numbers, 'same' or 'valid', got {padding!r}")
        self._set_up(
            in_channels, out_channels, kernel_size, stride, padding, 0, dilation, groups, padding_mode
        )  # fmt: skip
        if padding == "same" and any(s != 1 for s in self.stride):
            raise ArgumentError(f"{name}: padding 'same' needs stride 1, got {self.stride}; give padding in pixels")
        self._make_weights(out_channels, in_channels // groups, bias, device, dtype)

    def forward(self, input: Tensor) -> Tensor:
        convolve = (F.conv1d, F.conv2d, F.conv3d)[self.dims - 1]
        padding = self.padding
        if self.padding_mode != "zeros":
            input, padding = F.pad(input, self._border(), _PADDING_MODES[self.padding_mode]), 0
        return convolve(input, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _border(self) -> list[int]:
        """The padding as `F.pad` takes it: (before, after) of the last dimension first."""
        if self.padding == "valid":
            return [0] * 2 * self.dims
        spans = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
        pairs = [(s // 2, s - s // 2) for s in spans] if self.padding == "same" else [(p, p) for p in self.padding]
        return [int(n) for pair in reversed(pairs) for n in pair]


class _ConvTranspose(_ConvBase):
    """Spread each input value over a window of the output, weighted: the adjoint of a convolution.

    Weight (in_channels, out_channels / groups, *kernel_size) and bias (out_channels,) start uniform within
    1 / sqrt(out_channels / groups * kernel elements), as in PyTorch.

    Args:
        in_channels, out_channels: C and K.
        kernel_size: size of the window, in pixels; a number, or one for each dimension.
        stride: step between windows in the output, in pixels.
        padding: pixels cut off around the output.
        output_padding: pixels added at its far edges; less than stride or dilation.
        groups, bias, dilation: as for a convolution.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: Device | str | None = None,
        dtype: DType | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ArgumentError(f"{type(self).__name__}: padding_mode can only be 'zeros', got {padding_mode!r}")
        self._set_up(
            in_channels, out_channels, kernel_size, stride, padding, output_padding, dilation, groups, padding_mode
        )
        self._make_weights(in_channels, out_channels // groups, bias, device, dtype)

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Args: output_size: the spatial lengths wanted, instead of those that output_padding gives."""
        transposed = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.dims - 1]
        extra = self.output_padding if output_size is None else self._extra_for(input, output_size)
        return transposed(input, self.weight, self.bias, self.stride, self.padding, extra, self.groups, self.dilation)

    def _extra_for(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        wanted = tuple(output_size)[-self.dims :]
        least = [
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(
                input.shape[-self.dims :], self.stride, self.padding, self.dilation, self.kernel_size, strict=True
            )
        ]
        if len(wanted) != self.dims or any(
            not low <= n < low + s for n, low, s in zip(wanted, least, self.stride, strict=True)
        ):
            highest = [low + s - 1 for low, s in zip(least, self.stride, strict=True)]
            raise ShapeError(
                f"{type(self).__name__}: output_size must lie from {least} to {highest}, got {tuple(output_size)}"
            )
        return tuple(n - low for n, low in zip(wanted, least, strict=True))


class Conv1d(_Conv):
    dims = 1


class Conv2d(_Conv):
    dims = 2


class Conv3d(_Conv):
    dims = 3


class ConvTranspose1d(_ConvTranspose):
    dims = 1


class ConvTranspose2d(_ConvTranspose):
    dims = 2


class ConvTranspose3d(_ConvTranspose):
    dims = 3


_LETTERS = ("L", "H, W", "D, H, W")
for _layer in (Conv1d, Conv2d, Conv3d, ConvTranspose1d, ConvTranspose2d, ConvTranspose3d):
    _in, _out = _LETTERS[_layer.dims - 1], _LETTERS[_layer.dims - 1].replace(", ", "', ") + "'"
    _layer.__doc__ = f"{_layer.__base__.__doc__}\n    Maps (N, C, {_in}) to (N, K, {_out}).\n    "
