"""conv1d, conv2d, conv3d: weighted sums over a window that slides over the image.

Three bilinear ops, each the others' gradient, so that derivatives of any order need nothing more: `conv` (image, weight
to windows), `conv_grad_input` (windows, weight to image: also the transposed convolution) and `conv_grad_weight`
(image, windows to weight).

The reference lays every window out as a column of a matrix (im2col) and leaves the sums to BLAS: 2·N·K·L·C·k²
operations for N images, C to K channels, L windows of k² taps. The columns hold each pixel k² times, so images go
through in blocks whose columns stay near 4 MB, about what the caches hold.
Source: Chellapilla et al., "High performance convolutional neural networks for document processing", 2006.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device.dtypes import promote
from minidl.errors import ShapeError
from minidl.ops.pad import pad
from minidl.ops.views import basic_slice
from minidl.ops.windows import Sizes, sizes, taps, window_count

__all__ = ["conv1d", "conv2d", "conv3d"]

COLUMN_BYTES = 4 << 20


class Conv(Op):
    """(N, C, *image) and (K, C / groups, *kernel) to (N, K, *windows)."""

    name = "conv"
    saves = ("x", "weight")

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
        matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
        for images, columns in _columns(xp, x, out.shape[2:], weight.shape[2:], stride, padding, dilation, groups):
            block = out[images]
            block[...] = xp.matmul(matrix, columns).reshape(-1, len(block), *out.shape[2:]).swapaxes(0, 1)
        if bias is not None:
            out += bias.reshape(-1, *[1] * (out.ndim - 2))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight = node.saved
        gx = ConvGradInput.apply(g, weight, image=x.shape[2:], **node.params) if node.needs[0] else None
        gw = ConvGradWeight.apply(x, g, kernel=weight.shape[2:], **node.params) if node.needs[1] else None
        if len(node.needs) == 2:
            return gx, gw
        return gx, gw, g.sum([d for d in range(g.ndim) if d != 1]) if node.needs[2] else None


class ConvGradInput(Op):
    """The adjoint of `conv` in its image: every window spread over the pixels that it saw."""

    name = "conv_grad_input"
    saves = ("g", "weight")

    @staticmethod
    def infer(
        g: Spec, weight: Spec, *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
    ) -> Spec:
        return Spec((g.shape[0], weight.shape[1] * groups, *image), promote(g.dtype, weight.dtype))

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, weight: Array,
        *, image: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        windows, kernel = g.shape[2:], weight.shape[2:]
        matrix = weight.reshape(groups, weight.shape[0] // groups, -1).swapaxes(1, 2)
        out[...] = 0
        for images in _blocks(len(g), out.shape[1] * math.prod(kernel) * math.prod(windows) * out.itemsize):
            block, spread = g[images], out[images].swapaxes(0, 1)
            rows = xp.ascontiguousarray(block.swapaxes(0, 1)).reshape(groups, g.shape[1] // groups, -1)
            columns = xp.matmul(matrix, rows).reshape(out.shape[1], *kernel, len(block), *windows)
            for tap in taps(image, windows, kernel, stride, padding, dilation):
                spread[(..., *tap.pixels)] += columns[(slice(None), *tap.offset, slice(None), *tap.windows)]

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        windows, weight = node.saved
        params = {name: value for name, value in node.params.items() if name != "image"}
        g_windows = None
        if node.needs[0]:  # a large output_padding leaves room for windows that the forward pass had not
            g_windows = basic_slice(Conv.apply(g, weight, **params), (..., *map(slice, windows.shape[2:])))
        gw = ConvGradWeight.apply(g, windows, kernel=weight.shape[2:], **params) if node.needs[1] else None
        return g_windows, gw


class ConvGradWeight(Op):
    """The adjoint of `conv` in its weight: for every tap, pixels times windows, summed over images and windows."""

    name = "conv_grad_weight"
    saves = ("x", "g")

    @staticmethod
    def infer(x: Spec, g: Spec, *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int) -> Spec:
        return Spec((g.shape[1], x.shape[1] // groups, *kernel), promote(x.dtype, g.dtype))

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, g: Array,
        *, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        out[...] = 0
        total = out.reshape(groups, out.shape[0] // groups, -1)
        for images, columns in _columns(xp, x, g.shape[2:], kernel, stride, padding, dilation, groups):
            rows = xp.ascontiguousarray(g[images].swapaxes(0, 1)).reshape(groups, g.shape[1] // groups, -1)
            total += xp.matmul(rows, columns.swapaxes(1, 2))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, windows = node.saved
        params = {name: value for name, value in node.params.items() if name != "kernel"}
        gx = ConvGradInput.apply(windows, g, image=x.shape[2:], **params) if node.needs[0] else None
        return gx, Conv.apply(x, g, **params) if node.needs[1] else None


def _blocks(images: int, bytes_each: int) -> Iterator[slice]:
    """Slices of a few images each; how many depends on their size alone, so sums always run in one order."""
    step = max(1, COLUMN_BYTES // max(bytes_each, 1))
    return (slice(start, min(start + step, images)) for start in range(0, images, step))


def _columns(
    xp: Any, x: Array, windows: Sizes, kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int
) -> Iterator[tuple[slice, Array]]:
    """Block by block, the images and their columns: (groups, C / groups · taps, images · windows)."""
    channels = x.shape[1]
    buffer = None
    for images in _blocks(len(x), channels * math.prod(kernel) * math.prod(windows) * x.itemsize):
        block = x[images].swapaxes(0, 1)
        if buffer is None or buffer.shape[1 + len(kernel)] != block.shape[1]:
            buffer = xp.zeros((channels, *kernel, block.shape[1], *windows), x.dtype)  # padding stays zero
        for tap in taps(x.shape[2:], windows, kernel, stride, padding, dilation):
            buffer[(slice(None), *tap.offset, slice(None), *tap.windows)] = block[(..., *tap.pixels)]
        yield images, buffer.reshape(groups, channels // groups * math.prod(kernel), -1)


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
    name = f"conv{dims}d"
    check_ranks(name, dims, input, weight)
    if input.ndim == dims + 1:
        return _conv(dims, input.unsqueeze(0), weight, bias, stride, padding, dilation, groups).squeeze(0)
    stride = sizes(name, "stride", stride, dims, least=1)
    dilation = sizes(name, "dilation", dilation, dims, least=1)
    sizes(name, "groups", groups, 1, least=1)
    if padding == "same":
        if any(s != 1 for s in stride):
            raise ShapeError(f"{name}: padding 'same' needs stride 1, got {stride}; give the padding in pixels")
        spans = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        if any(span % 2 for span in spans):  # an even kernel: one pixel more behind than before
            input = pad(input, [n for span in reversed(spans) for n in (0, span % 2)])
        padding = tuple(span // 2 for span in spans)
    elif isinstance(padding, str) and padding != "valid":
        raise ShapeError(f"{name}: padding must be whole numbers, 'same' or 'valid', got {padding!r}")
    else:
        padding = sizes(name, "padding", 0 if padding == "valid" else padding, dims, least=0)
    tensors = (input, weight) if bias is None else (input, weight, bias)
    result: Tensor = Conv.apply(*tensors, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return result


def check_ranks(name: str, dims: int, input: Tensor, weight: Tensor) -> None:
    """Raise a ShapeError unless both have `dims` spatial dimensions."""
    if input.ndim not in (dims + 1, dims + 2) or weight.ndim != dims + 2:
        letters = ", ".join("DHW"[3 - dims :])
        raise ShapeError(
            f"{name}: input must be (N, C, {letters}) and weight have {dims + 2} dimensions, "
            f"got {input.shape} and {weight.shape}"
        )
