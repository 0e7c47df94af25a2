"""linear_then: a linear map with the activation behind it, applied to each block of its result before it leaves the
cache.

Nobody calls it: `ops/fusion.py` makes it of a linear map and what comes after. On its own, an activation reads and
writes the whole result once more. Going back needs what the activation was given, or its result where that tells the
slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, registry
from minidl.ops import activation as activations
from minidl.ops.matmul import Linear, gradients
from minidl.ops.matmul.cpu import product
from minidl.ops.matmul.finish import ACTIVATIONS

__all__: list[str] = []

# The activations whose results tell their slopes.
BY_RESULT = ("relu", "sigmoid", "tanh")
_SLOPES: Mapping[str, type[Op]] = {
    "relu": activations.ReluGrad, "sigmoid": activations.SigmoidGrad, "tanh": activations.TanhGrad,
    "gelu": activations.GeluGrad, "gelu_tanh": activations.GeluTanhGrad, "silu": activations.SiluGrad,
}  # fmt: skip


class LinearThen(Op):
    """activation(x times the transposed weight, plus bias); with a gradient only for those of `BY_RESULT`."""

    name = "linear_then"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight", "out")

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec | None = None, *, activation: str) -> Any:
        return Linear.infer(x, weight, bias)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, weight: Array, bias: Array | None = None, *, activation: str) -> None:
        Linear.reference(xp, out, x, weight, bias)
        registry.ops[activation].reference(xp, out, out.copy())

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, weight = arrays[:2]
        return x.dtype == weight.dtype == arrays[-1].dtype and x.size > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, x: Array, weight: Array, bias: Array | None = None, *, activation: str) -> None:
        rows = out.reshape(-1, len(weight)), x.reshape(-1, x.shape[-1])
        product(*rows, weight.T, bias, ACTIVATIONS.index(activation))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, y = node.saved
        return gradients(node, x, weight, _SLOPES[node.params["activation"]].apply(g, y))


class LinearThenKept(LinearThen):
    """The same, and what the activation was given."""

    name = "linear_then_kept"
    saves_results = (1,)

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec | None = None, *, activation: str) -> tuple[Spec, Spec]:
        out = Linear.infer(x, weight, bias)
        return out, out

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array, weight: Array, bias: Array | None = None, *, activation: str
    ) -> None:
        result, given = out
        Linear.reference(xp, given, x, weight, bias)
        registry.ops[activation].reference(xp, result, given)

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, weight: Array, bias: Array | None = None, *, activation: str) -> None:
        result, given = (a.reshape(-1, len(weight)) for a in out)
        product(result, x.reshape(-1, x.shape[-1]), weight.T, bias, ACTIVATIONS.index(activation), given)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, given) = node.saved
        if g[0] is None:  # only for a second derivative: what was given is used, its activation is not
            return gradients(node, x, weight, g[1])
        slope = _SLOPES[node.params["activation"]].apply(g[0], given)
        return gradients(node, x, weight, slope if g[1] is None else slope + g[1])


def linear_then(inputs: tuple[Tensor, ...], activation: str, needs_gradient: bool) -> Tensor:
    """activation(linear(*inputs)) as one op."""
    if needs_gradient and activation not in BY_RESULT:
        return LinearThenKept.run(inputs, {"activation": activation})[0]  # type: ignore[no-any-return]
    return LinearThen.run(inputs, {"activation": activation})  # type: ignore[no-any-return]
