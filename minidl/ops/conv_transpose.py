"""conv_transpose1d to 3d: the adjoint of convolution as a layer of its own, which enlarges images."""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.ops.conv import ConvGradInput, check_operands
from minidl.ops.windows import sizes

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


def conv_transpose1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """`conv_transpose2d` along one dimension."""
    return _conv_transpose(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """Spread each input value over a window of the output, weighted by `weight`: the adjoint of `conv2d`.

    Args:
        input: (N, C, H, W), floating; (C, H, W) for one image.
        weight: (C, K / groups, kH, kW).
        bias: (K,), or None.
        stride: step between windows in the output, in pixels.
        padding: pixels cut off around the output.
        output_padding: pixels added at its lower and right edge; less than stride or dilation.
        groups, dilation: as in `conv2d`.

    Returns:
        (N, K, OH, OW) with OH = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1, and OW likewise.

    Raises:
        ShapeError: if channels, groups or sizes do not fit.

    Source: Zeiler et al., "Deconvolutional networks", CVPR 2010.

    >>> conv_transpose2d(Tensor([[[[1, 2]]]]), Tensor([[[[1, 10]]]]), stride=2)
    tensor([[[[ 1., 10.,  2., 20.]]]])
    """
    return _conv_transpose(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Tensor:  # fmt: skip
    """`conv_transpose2d` over volumes."""
    return _conv_transpose(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _conv_transpose(
    dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, output_padding: Any,
    groups: int, dilation: Any,
) -> Tensor:  # fmt: skip
    name = f"conv_transpose{dims}d"
    (groups,) = sizes(name, "groups", groups, 1, least=1)
    check_operands(name, dims, input, weight)
    if input.ndim == dims + 1:
        one = input.unsqueeze(0)
        return _conv_transpose(dims, one, weight, bias, stride, padding, output_padding, groups, dilation).squeeze(0)
    stride, dilation = sizes(name, "stride", stride, dims, least=1), sizes(name, "dilation", dilation, dims, least=1)
    padding = sizes(name, "padding", padding, dims, least=0)
    extra = sizes(name, "output_padding", output_padding, dims, least=0)
    channels = weight.shape[1] * groups
    if input.shape[1] != weight.shape[0] or weight.shape[0] % groups:
        raise ShapeError(
            f"{name}: input has {input.shape[1]} channels but weight {weight.shape} takes {weight.shape[0]} "
            f"(groups={groups})"
        )
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(f"{name}: bias must be ({channels},) beside weight {weight.shape}, got {bias.shape}")
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise ShapeError(f"{name}: output_padding {extra} must be less than stride {stride} or dilation {dilation}")
    image = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, s, p, d, k, e in zip(input.shape[2:], stride, padding, dilation, weight.shape[2:], extra, strict=True)
    )
    if any(n < 1 for n in image):
        raise ShapeError(f"{name}: padding {padding} leaves nothing of an output of {image}")
    result: Tensor = ConvGradInput.apply(
        input, weight, image=image, stride=stride, padding=padding, dilation=dilation, groups=groups
    )
    return result if bias is None else result + bias.reshape(-1, *[1] * dims)
