"""conv_transpose1d to 3d: the adjoint of convolution as a layer of its own, which enlarges images."""

from __future__ import annotations

from typing import Any, ClassVar

from minidl.core import Array, Grads, Node, Run, Spec, Tensor
from minidl.errors import ShapeError
from minidl.ops.activation import ReluGrad
from minidl.ops.conv import ConvGradInput, Convolution, back_gradients, backward, bias_gradient, check_operands, on_gpu
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.windows import Sizes, sizes

__all__ = ["conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]


class ConvTranspose(Convolution):
    """The adjoint of a convolution in its image, plus bias."""

    name = "conv_transpose"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    images = ("x", "out")
    defers = True
    activation = "none"

    @staticmethod
    def infer(
        x: Spec, weight: Spec, bias: Spec | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Spec:  # fmt: skip
        return ConvGradInput.infer(
            x, weight, image=image, stride=stride, padding=padding, dilation=dilation, groups=groups
        )

    @classmethod
    def reference(
        cls, xp: Any, out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        ConvGradInput.reference(
            xp, out, x, weight, image=image, stride=stride, padding=padding, dilation=dilation, groups=groups
        )
        if bias is not None:
            out += bias.reshape(-1, *[1] * len(image))
        if cls.activation == "relu":
            xp.maximum(out, 0, out=out)

    @classmethod
    def bind(
        cls, out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Run:  # fmt: skip
        return backward(out, x, weight, Epilogue(cls.activation), stride, padding, dilation, groups)

    @classmethod
    def cuda(
        cls, out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        epilogue = on_gpu.Epilogue(bias, relu=cls.activation == "relu")
        on_gpu.convolve_back(out, x, weight, epilogue, stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, *result = node.saved
        if result:
            g = ReluGrad.apply(g, result[0].detach())
        params = {name: value for name, value in node.params.items() if name != "image"}
        gb = bias_gradient(g) if node.needs[2:] == (True,) else None
        return (*back_gradients(node, x, weight, g, params), gb)[: len(node.needs)]


class ConvTransposeRelu(ConvTranspose):
    """The same, with the ReLU behind it (`ops/fusion.py`)."""

    name = "conv_transpose_relu"
    saves = ("x", "weight", "out")
    activation = "relu"


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
    check_operands(name, dims, input.shape, weight.shape)
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
    result: Tensor = ConvTranspose.apply(
        *(input, weight) if bias is None else (input, weight, bias),
        image=image, stride=stride, padding=padding, dilation=dilation, groups=groups,
    )  # fmt: skip
    return result
