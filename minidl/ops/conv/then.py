"""conv_then: a convolution with the residual and the ReLU that follow it, applied before its result leaves the cache.

Nobody calls it: `ops/fusion.py` makes it of a convolution and what comes after. Each step on its own would read and
write the whole image once more for one operation on each number.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Grads, Node, Spec, Tensor
from minidl.errors import ShapeError
from minidl.ops.activation import ReluGrad
from minidl.ops.conv import Conv, Convolution, convolve, gradients
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.windows import Sizes


class ConvThen(Convolution):
    """act(conv(x, weight) + bias [+ residual])."""

    name = "conv_then"
    saves = ("x", "weight", "out")
    saves_for = {"x": ("weight",), "weight": ("x",)}  # noqa: RUF012 - never changed
    images = ("x", "residual", "out")
    defers = True

    @staticmethod
    def infer(
        x: Spec, weight: Spec, bias: Spec, residual: Spec | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, activation: str,
    ) -> Spec:  # fmt: skip
        out = Conv.infer(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        if residual is not None and residual != out:
            raise ShapeError(f"conv: residual must be like the result {out.shape}, got {residual.shape}")
        return out

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, activation: str,
    ) -> None:  # fmt: skip
        Conv.reference(xp, out, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        if residual is not None:
            out += residual
        if activation == "relu":
            xp.maximum(out, 0, out=out)

    @staticmethod
    def cpu(
        out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int, activation: str,
    ) -> None:  # fmt: skip
        convolve(out, x, weight, Epilogue(bias, activation, residual), stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, y = node.saved
        params = {name: value for name, value in node.params.items() if name != "activation"}
        if node.params["activation"] == "relu":
            g = ReluGrad.apply(g, y.detach())
        return *gradients(node, x, weight, g, params), *((g,) if len(node.needs) > 3 else ())
