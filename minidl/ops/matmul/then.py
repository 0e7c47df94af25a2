"""A linear map with what comes behind it: an activation, or a sum with a tensor of the same shape.

Both are applied to each block of the result before it leaves the cache; on their own, they read and write the whole
result once more. Nobody calls these ops: `ops/fusion.py` makes them of a linear map and what comes after. Going back
through an activation needs what it was given, or its result where that tells the slope.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, registry
from minidl.ops.matmul import Linear, gradients, rows_and_weight
from minidl.ops.matmul.cpu import bound_product
from minidl.ops.matmul.finish import ACTIVATIONS, BY_RESULT
from minidl.ops.matmul.plan import FEW
from minidl.ops.views import Permute

__all__: list[str] = []


class LinearThen(Op):
    """activation(x times the transposed weight, plus bias); with a gradient only for those of `BY_RESULT`."""

    name = "linear_then"
    saves: ClassVar[tuple[str, ...]] = ("x", "weight", "out")
    defers = True  # at rest, for another linear map, see `feed_forward.py`
    joins = 0

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
        return gradients(node.needs, x, weight, g, y, node.params["activation"], node.joined())


class LinearThenKept(LinearThen):
    """The same, and what the activation was given."""

    name = "linear_then_kept"
    saves_results = (1,)
    defers = False

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
            return gradients(node.needs, x, weight, g[1], present=node.joined())
        found = gradients(node.needs, x, weight, g[0], given, node.params["activation"], node.joined())
        if g[1] is None:
            return found
        more = gradients(node.needs, x, weight, g[1])
        return tuple(None if a is None or b is None else a + b for a, b in zip(found, more, strict=True))


class LinearAdd(Op):
    """x times the transposed weight, plus bias, plus a residual of the result's shape."""

    name = "linear_add"
    saves = ("x", "weight")
    saves_for: ClassVar[Mapping[str, tuple[str, ...]]] = Linear.saves_for
    joins = 0

    @staticmethod
    def infer(x: Spec, weight: Spec, residual: Spec, bias: Spec | None = None) -> Spec:
        return Linear.infer(x, weight, bias)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, weight: Array, residual: Array, bias: Array | None = None) -> None:
        Linear.reference(xp, out, x, weight, bias)
        xp.add(out, residual, out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return Linear.cpu_takes(arrays, params)

    @staticmethod
    def bind(out: Array, x: Array, weight: Array, residual: Array, bias: Array | None = None) -> Run:
        multiply = bound_product(*rows_and_weight(out, x, weight), is_added=True)

        def run(out: Array, x: Array, weight: Array, residual: Array, bias: Array | None = None) -> None:
            multiply(out, x, weight, bias, None, residual)

        return run

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight = node.saved
        of_x, of_weight, of_residual, *of_bias = node.needs
        gx, gw, *gb = gradients((of_x, of_weight, *of_bias), x, weight, g, present=node.joined())
        return (gx, gw, g if of_residual else None, *gb)


class LinearPermuted(Op):
    """What a linear map gives, with its dimensions in another order: images that lie channels-last, pixel by pixel.

    It waits for a sum only, and is two ops by itself.
    """

    name = "linear_permuted"

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...]) -> Spec:
        return Permute.infer(x, dims=dims)

    @classmethod
    def run(cls, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        inputs[0].array  # noqa: B018 - no longer waits
        return Permute.apply(*inputs, **params)


def linear_then(inputs: tuple[Tensor, ...], activation: str, needs_gradient: bool) -> Tensor:
    """activation(linear(*inputs)) as one op, which waits for another linear map where there are many rows, at rest."""
    if needs_gradient and activation not in BY_RESULT:
        return LinearThenKept.run(inputs, {"activation": activation})[0]  # type: ignore[no-any-return]
    if needs_gradient or math.prod(inputs[0].shape[:-1]) <= FEW:
        return LinearThen.run(inputs, {"activation": activation})  # type: ignore[no-any-return]
    return LinearThen.apply(*inputs, activation=activation)  # type: ignore[no-any-return]
