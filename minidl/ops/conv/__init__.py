"""conv1d, conv2d, conv3d: weighted sums over a window that slides over the image.

Three bilinear ops, each the others' gradient, so that derivatives of any order need nothing more: `conv` (image, weight
to windows), `conv_grad_input` (windows, weight to image: also the transposed convolution) and `conv_grad_weight`
(image, windows to weight).

On the CPU, the kernels beside this file run (`choice.py` says which): "implicit" reads windows in place,
"winograd" does a quarter of the multiplications of 3×3 windows and less of most others, "direct" is for few channels,
"depthwise" for channels that do not meet.

On a GPU the kernels of `conv.cuh` run.

The reference (`im2col.py`) lays every window out as a column of a matrix and leaves the sums to BLAS.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device.dtypes import promote
from minidl.errors import ShapeError
from minidl.ops.conv import (
    depthwise,
    direct,
    direct_weights,
    im2col,
    implicit,
    implicit_weights,
    on_gpu,
    winograd,
    winograd_weights,
)
from minidl.ops.conv.choice import algorithm, conv_algorithms, has_kernel, set_conv_algorithm, set_conv_precision
from minidl.ops.conv.epilogue import Epilogue, clear, nothing
from minidl.ops.pad import pad
from minidl.ops.reduce import Sum
from minidl.ops.views import basic_slice
from minidl.ops.windows import Sizes, found_once, sizes, window_count

__all__ = ["conv1d", "conv2d", "conv3d", "conv_algorithms", "set_conv_algorithm", "set_conv_precision"]


class Convolution(Op):
    """What the three ops share: when there are fast kernels for them."""

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        is_one_type = all(a.dtype == arrays[0].dtype for a in arrays)
        return super().cpu_takes(arrays, params) and is_one_type and has_kernel(len(params["stride"]))

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cuda_takes(arrays, params) and all(a.dtype == arrays[0].dtype for a in arrays)


class Conv(Convolution):
    """(N, C, *image) and (K, C / groups, *kernel) to (N, K, *windows)."""

    name = "conv"
    saves = ("x", "weight")
    saves_for = {"x": ("weight",), "weight": ("x",)}  # noqa: RUF012 - never changed
    images = ("x", "out")
    defers, joins = True, 0

    @staticmethod
    def infer(
        x: Spec, weight: Spec, bias: Spec | None = None, *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
    ) -> Spec:
        name = f"conv{len(stride)}d"
        if x.shape[1] != weight.shape[1] * groups:
            raise ShapeError(
                f"{name}: input has {x.shape[1]} channels but weight {weight.shape} takes {weight.shape[1]} per group "
                f"(groups={groups})"
            )
        if weight.shape[0] % groups:
            raise ShapeError(f"{name}: weight makes {weight.shape[0]} channels, which {groups} groups do not divide")
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"{name}: bias must be ({weight.shape[0]},) beside weight {weight.shape}, got {bias.shape}"
            )
        windows = window_count(name, x.shape[2:], weight.shape[2:], stride, padding, dilation)
        return Spec((x.shape[0], weight.shape[0], *windows), promote(x.dtype, weight.dtype))

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        im2col.convolve(xp, out, x, weight, stride, padding, dilation, groups)
        if bias is not None:
            out += bias.reshape(-1, *[1] * (out.ndim - 2))

    @staticmethod
    def bind(
        out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Run:  # fmt: skip
        return forward(out, x, weight, Epilogue(), stride, padding, dilation, groups)

    @staticmethod
    def cuda(
        out: Array, x: Array, weight: Array, bias: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        on_gpu.convolve(out, x, weight, on_gpu.Epilogue(bias), stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight = node.saved
        return gradients(node, x, weight, g, node.params)


def forward(
    out: Array, x: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Run:
    """The chosen algorithm for images like these, (N, *space, C): run(out, x, weight, bias=None, residual=None)."""
    if not out.size:
        return nothing
    chosen = algorithm("forward", len(x), weight.shape, out.shape[1:-1], stride, dilation, groups)
    if chosen == "direct":
        return direct.forward(out, x, weight, epilogue, stride, padding, dilation)
    if chosen == "winograd":
        return winograd.forward(out, x, weight, epilogue, stride, padding, dilation)
    if chosen == "depthwise":
        return depthwise.forward(out, x, weight, epilogue, stride, padding, dilation)
    return implicit.forward(out, x, weight, epilogue, stride, padding, dilation, groups)


def gradients(node: Node, x: Tensor, weight: Tensor, g: Tensor, params: dict[str, Any]) -> Grads:
    """Those of image, weight and bias (if there is one), as far as they are needed."""
    needs, image, kernel = node.needs, node.specs[0].shape[2:], node.specs[1].shape[2:]
    gx = ConvGradInput.apply(g, weight, *node.joined(), image=image, **params) if needs[0] else None
    gw = ConvGradWeight.apply(x, g, kernel=kernel, **params) if needs[1] else None
    if len(needs) == 2:
        return gx, gw
    return gx, gw, bias_gradient(g) if needs[2] else None


def bias_gradient(g: Tensor) -> Tensor:
    """The sum over all but the filters."""
    result: Tensor = Sum.apply(g, dims=(0, *range(2, g.ndim)), keepdim=False)
    return result


class ConvGradInput(Convolution):
    """The adjoint of `conv` in its image: every window spread over the pixels that it saw, beside what is `present`."""

    name = "conv_grad_input"
    saves = ("g", "weight")
    images = ("g", "present", "out")

    @staticmethod
    def infer(
        g: Spec, weight: Spec, present: Spec | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Spec:  # fmt: skip
        return Spec((g.shape[0], weight.shape[1] * groups, *image), promote(g.dtype, weight.dtype))

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, weight: Array, present: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        im2col.convolve_back(xp, out, g, weight, stride, padding, dilation, groups)
        if present is not None:
            out += present

    @staticmethod
    def bind(
        out: Array, g: Array, weight: Array, present: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Run:  # fmt: skip
        run = backward(out, g, weight, Epilogue(has_residual=present is not None), stride, padding, dilation, groups)
        return run if present is None else lambda out, g, weight, present: run(out, g, weight, None, present)

    @staticmethod
    def cuda(
        out: Array, g: Array, weight: Array, present: Array | None = None,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        epilogue = on_gpu.Epilogue(residual=present)
        on_gpu.convolve_back(out, g, weight, epilogue, stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        windows, weight = node.saved
        params = {name: value for name, value in node.params.items() if name != "image"}
        return *back_gradients(node, windows, weight, g, params), *((g,) if len(node.needs) > 2 else ())


def backward(
    out: Array, g: Array, weight: Array, epilogue: Epilogue, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Run:
    """The same for the adjoint in the image: run(out, g, weight, bias=None, residual=None)."""
    if not out.size:
        return nothing
    chosen = algorithm("input", len(g), weight.shape, g.shape[1:-1], stride, dilation, groups)
    if chosen == "direct":
        return direct.backward(out, g, weight, epilogue, padding, dilation)
    if chosen == "winograd":
        return winograd.backward(out, g, weight, epilogue, stride, padding, dilation)
    if chosen == "depthwise":
        return depthwise.backward(out, g, weight, epilogue, stride, padding, dilation)
    return implicit.backward(out, g, weight, epilogue, stride, padding, dilation, groups)


def back_gradients(node: Node, windows: Tensor, weight: Tensor, g: Tensor, params: dict[str, Any]) -> Grads:
    """The gradients of windows and weight of the adjoint, as far as they are needed."""
    g_windows = None
    if node.needs[0]:  # a large output_padding leaves room for windows that the forward pass had not
        g_windows = basic_slice(Conv.apply(g, weight, **params), (..., *map(slice, node.specs[0].shape[2:])))
    gw = ConvGradWeight.apply(g, windows, kernel=node.specs[1].shape[2:], **params) if node.needs[1] else None
    return g_windows, gw


class ConvGradWeight(Convolution):
    """The adjoint of `conv` in its weight: for every tap, pixels times windows, summed over images and windows."""

    name = "conv_grad_weight"
    saves = ("x", "g")
    images = ("x", "g")

    @staticmethod
    def infer(x: Spec, g: Spec, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Spec:
        return Spec((g.shape[1], x.shape[1] // groups, *kernel), promote(x.dtype, g.dtype))

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, g: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        im2col.weight_gradient(xp, out, x, g, stride, padding, dilation, groups)

    @staticmethod
    def bind(
        out: Array, x: Array, g: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Run:  # fmt: skip
        if not g.size:
            return clear
        chosen = algorithm("weight", len(x), out.shape, g.shape[1:-1], stride, dilation, groups)
        if chosen == "direct":
            return direct_weights.weight_gradient(out, x, g, stride, padding, dilation)
        if chosen == "winograd":
            return winograd_weights.weight_gradient(out, x, g, stride, padding, dilation)
        if chosen == "depthwise":
            return depthwise.weight_gradient(out, x, g, stride, padding, dilation)
        return implicit_weights.weight_gradient(out, x, g, stride, padding, dilation, groups)

    @staticmethod
    def cuda(
        out: Array, x: Array, g: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        on_gpu.weight_gradient(out, x, g, stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, windows = node.saved
        params = {name: value for name, value in node.params.items() if name != "kernel"}
        gx = ConvGradInput.apply(windows, g, image=x.shape[2:], **params) if node.needs[0] else None
        return gx, Conv.apply(x, g, **params) if node.needs[1] else None


def conv1d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`conv2d` along one dimension: (N, C, L) and (K, C / groups, k)."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """Slide `weight` over `input` and sum the products in each window (no flip: cross-correlation).

    Args:
        input: (N, C, H, W), floating; (C, H, W) for one image.
        weight: (K, C / groups, kH, kW).
        bias: (K,), or None.
        stride: step between windows, in pixels; a number, or one for each dimension.
        padding: zeros around the image, in pixels; "same" keeps the size (stride 1 only), "valid" is none.
        dilation: step between the taps of a window, in pixels.
        groups: channels are split into so many parts, each convolved alone; C groups: a depthwise convolution.

    Returns:
        (N, K, OH, OW) with OH = (H + 2 padding - dilation (kH - 1) - 1) // stride + 1, and OW likewise.

    Raises:
        ShapeError: if channels, groups or sizes do not fit.

    Source: LeCun et al., "Gradient-based learning applied to document recognition", Proc. IEEE 1998.

    >>> conv2d(Tensor([[[[1, 2, 3]]]]), Tensor([[[[1, -1]]]]))
    tensor([[[[-1., -1.]]]])
    """
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Tensor, weight: Tensor, bias: Tensor | None = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
    groups: int = 1,
) -> Tensor:  # fmt: skip
    """`conv2d` over volumes: (N, C, D, H, W) and (K, C / groups, kD, kH, kW)."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def _conv(
    dims: int, input: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, padding: Any, dilation: Any, groups: int
) -> Tensor:
    params, border = _settings(dims, input.shape, weight.shape, stride, padding, dilation, groups)
    if len(input.shape) == dims + 1:
        return _conv(dims, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    if border:
        input = pad(input, border)
    tensors = (input, weight) if bias is None else (input, weight, bias)
    result: Tensor = Conv.apply(*tensors, **params)
    return result


@found_once
def _settings(
    dims: int, input: Sizes, weight: Sizes, stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[dict[str, Any], list[int]]:
    """The parameters of the op, after all was found to fit, and what is to be padded before: (0, 1) and so on."""
    name = f"conv{dims}d"
    (groups,) = sizes(name, "groups", groups, 1, least=1)
    check_operands(name, dims, input, weight)
    stride = sizes(name, "stride", stride, dims, least=1)
    dilation = sizes(name, "dilation", dilation, dims, least=1)
    border: list[int] = []
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ShapeError(f"{name}: padding 'same' needs stride 1, got {stride}; give the padding in pixels")
        spans = [d * (k - 1) for d, k in zip(dilation, weight[2:], strict=True)]
        if any(span % 2 for span in spans):  # an even kernel: one pixel more behind than before
            border = [n for span in reversed(spans) for n in (0, span % 2)]
        padding = tuple(span // 2 for span in spans)
    elif isinstance(padding, str) and padding != "valid":
        raise ShapeError(f"{name}: padding must be whole numbers, 'same' or 'valid', got {padding!r}")
    else:
        padding = sizes(name, "padding", 0 if padding == "valid" else padding, dims, least=0)
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}, border


def check_operands(name: str, dims: int, input: Sizes, weight: Sizes) -> None:
    """Raise a ShapeError unless both have `dims` spatial dimensions, and pixels and weights in them."""
    if len(input) not in (dims + 1, dims + 2) or len(weight) != dims + 2:
        letters = ", ".join("DHW"[3 - dims :])
        raise ShapeError(
            f"{name}: input must be (N, C, {letters}) and weight have {dims + 2} dimensions, got {input} and {weight}"
        )
    if not math.prod(weight) or not math.prod(input[-dims:]):
        raise ShapeError(f"{name}: input {input} and weight {weight} must not be empty; only N may be 0")
