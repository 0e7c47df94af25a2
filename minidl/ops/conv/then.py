"""conv_then: a convolution with the residual and the ReLU that follow it, applied before its result leaves the cache.

Nobody calls it: `ops/fusion.py` makes it of a convolution and what comes after. Each step on its own would read and
write the whole image once more for one operation on each number.
"""

from __future__ import annotations

from typing import Any, ClassVar

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor
from minidl.device import device_of, kernel
from minidl.device.inline import Inline
from minidl.device.threads import Blocks
from minidl.errors import ShapeError
from minidl.ops.activation import ReluGrad
from minidl.ops.batch_norm.activation import ACTIVATIONS, FORMULAS, Activation, activate
from minidl.ops.conv import Conv, Convolution, forward, gradients, on_gpu
from minidl.ops.conv.epilogue import Epilogue
from minidl.ops.windows import Sizes


class ConvThen(Convolution):
    """conv(x, weight) + bias [+ residual]."""

    name = "conv_then"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight")
    saves_for = {"x": ("weight",), "weight": ("x",)}  # noqa: RUF012 - never changed
    images = ("x", "residual", "out")
    defers, joins = True, 0
    activation = "none"

    @staticmethod
    def infer(
        x: Spec, weight: Spec, bias: Spec, residual: Spec | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Spec:  # fmt: skip
        out = Conv.infer(x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        if residual is not None and residual != out:
            raise ShapeError(f"conv: residual must be like the result {out.shape}, got {residual.shape}")
        return out

    @classmethod
    def reference(
        cls, xp: Any, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        Conv.reference(xp, out, x, weight, bias, stride=stride, padding=padding, dilation=dilation, groups=groups)
        if residual is not None:
            out += residual
        if cls.activation == "relu":
            xp.maximum(out, 0, out=out)

    @classmethod
    def bind(
        cls, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Run:  # fmt: skip
        epilogue = Epilogue(cls.activation, residual is not None)
        return forward(out, x, weight, epilogue, stride, padding, dilation, groups)

    @classmethod
    def cuda(
        cls, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> None:  # fmt: skip
        epilogue = on_gpu.Epilogue(bias, residual, cls.activation == "relu")
        on_gpu.convolve(out, x, weight, epilogue, stride, padding, dilation, groups)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, *result = node.saved
        if result:
            g = ReluGrad.apply(g, result[0].detach())
        return *gradients(node, x, weight, g, node.params), *((g,) if len(node.needs) > 3 else ())


class ConvThenActivated(ConvThen):
    """The same with another activation behind it, at rest: on the memory of the result, before anything else."""

    name = "conv_then_activated"
    defers = False

    @staticmethod
    def infer(  # type: ignore[override]
        x: Spec, weight: Spec, bias: Spec, residual: Spec | None = None,
        *, activation: Activation, stride: Sizes, padding: Sizes, dilation: Sizes, groups: int,
    ) -> Spec:  # fmt: skip
        return ConvThen.infer(
            x, weight, bias, residual, stride=stride, padding=padding, dilation=dilation, groups=groups
        )

    @classmethod
    def reference(  # type: ignore[override]
        cls, xp: Any, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, activation: Activation, **how: Any,
    ) -> None:  # fmt: skip
        super().reference(xp, out, x, weight, bias, residual, **how)
        activate(xp, out, activation)

    @classmethod
    def bind(  # type: ignore[override]
        cls, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, activation: Activation, **how: Any,
    ) -> Run:  # fmt: skip
        kind, level = activation
        convolve = super().bind(out, x, weight, bias, residual, **how)
        activate = Blocks(_IN_PLACE[kind], out.size, size=out.nbytes)

        def run(out: Array, *given: Array) -> None:
            convolve(out, *given)
            activate(out.reshape(-1), level)

        return run

    @classmethod
    def cuda(  # type: ignore[override]
        cls, out: Array, x: Array, weight: Array, bias: Array, residual: Array | None = None,
        *, activation: Activation, **how: Any,
    ) -> None:  # fmt: skip
        super().cuda(out, x, weight, bias, residual, **how)
        activate(device_of(out).xp, out, activation)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return Op.vjp(node, g)  # the rules of fusion make it where no gradient is wanted


def _in_place(activation: Inline) -> Any:
    @kernel("T[::1], T", T=("float32", "float64"))
    def activate_in_place(begin: int, end: int, y: Array, level: float) -> None:
        for i in range(begin, end):
            y[i] = activation(y[i], level)

    return activate_in_place


_IN_PLACE = {name: _in_place(FORMULAS[name].value) for name in ACTIVATIONS[1:]}


class ConvThenRelu(ConvThen):
    """The same, with the ReLU behind it."""

    name = "conv_then_relu"
    saves = ("x", "weight", "out")
    activation = "relu"
