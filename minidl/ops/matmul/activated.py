"""linear_then: a linear map with the activation behind it, applied to each block of its result before it leaves the
cache.

Nobody calls it: `ops/fusion.py` makes it of a linear map and what comes after. On its own, an activation reads and
writes the whole result once more. Going back needs what the activation was given, or its result where that tells the
slope.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, registry
from minidl.ops.matmul import Linear, gradients, rows_and_weight
from minidl.ops.matmul.cpu import bound_product
from minidl.ops.matmul.finish import ACTIVATIONS, BY_RESULT

__all__: list[str] = []


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
        is_alike = x.dtype == weight.dtype == arrays[-1].dtype
        return is_alike and x.size > 0 and weight.size > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def bind(out: Any, x: Array, weight: Array, bias: Array | None = None, *, activation: str) -> Run:
        return bound_product(*rows_and_weight(out, x, weight), activation=ACTIVATIONS.index(activation))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight, y = node.saved
        return gradients(node, x, weight, g, y, node.params["activation"])


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
    def bind(out: tuple[Array, Array], x: Array, weight: Array, bias: Array | None = None, *, activation: str) -> Run:
        number = ACTIVATIONS.index(activation)
        multiply = bound_product(*rows_and_weight(out[0], x, weight), activation=number, is_kept=True)

        def run(out: tuple[Array, Array], x: Array, weight: Array, bias: Array | None = None) -> None:
            multiply(out[0], x, weight, bias, out[1])

        return run

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, weight, (_, given) = node.saved
        if g[0] is None:  # only for a second derivative: what was given is used, its activation is not
            return gradients(node, x, weight, g[1])
        found = gradients(node, x, weight, g[0], given, node.params["activation"])
        if g[1] is None:
            return found
        more = gradients(node, x, weight, g[1])
        return tuple(None if a is None or b is None else a + b for a, b in zip(found, more, strict=True))


def linear_then(inputs: tuple[Tensor, ...], activation: str, needs_gradient: bool) -> Tensor:
    """activation(linear(*inputs)) as one op."""
    if needs_gradient and activation not in BY_RESULT:
        return LinearThenKept.run(inputs, {"activation": activation})[0]  # type: ignore[no-any-return]
    return LinearThen.run(inputs, {"activation": activation})  # type: ignore[no-any-return]
