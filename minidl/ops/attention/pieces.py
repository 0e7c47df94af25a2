"""Attention written as matmul, multiplication, softmax and matmul: what waits in between, see `ops/fusion.py`.

Where the chain breaks off (somebody looks at the weights, or drops some), the ops run one by one, as written.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Op, Spec, Tensor, as_tensor
from minidl.ops.attention import Attention
from minidl.ops.binary import Div, Mul
from minidl.ops.matmul import MatMul
from minidl.ops.softmax import Softmax

__all__: list[str] = []


class ScaledProduct(Op):
    """x @ y, multiplied with or divided by (`by`) a number."""

    name = "scaled_product"

    @staticmethod
    def infer(x: Spec, y: Spec, *, scale: float, by: str) -> Spec:
        return MatMul.infer(x, y)

    @classmethod
    def run(cls, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        product = MatMul.run(inputs, {})
        op = Mul if params["by"] == "mul" else Div
        return op.run((product, as_tensor(params["scale"], like=product)), {})


class WeightsOfProduct(Op):
    """softmax of a product, along the last dimension; `product` is its op, the other parameters are that one's."""

    name = "weights_of_product"

    @staticmethod
    def infer(x: Spec, y: Spec, *, product: type[Op], **params: Any) -> Spec:
        return MatMul.infer(x, y)

    @classmethod
    def run(cls, inputs: tuple[Tensor, ...], params: dict[str, Any]) -> Any:
        scores = params["product"].run(inputs, {name: v for name, v in params.items() if name != "product"})
        return Softmax.run((scores,), {"dim": scores.ndim - 1})


def attention_of(product: tuple[Tensor, ...], value: Tensor, params: dict[str, Any]) -> Tensor | None:
    """softmax(x @ y * scale) @ value as one op, or None where that has other demands."""
    query, turned = product
    key = turned.mT
    alike = query.dtype == key.dtype == value.dtype and query.dtype.kind == "f"
    if not alike or not query.shape[:-2] == key.shape[:-2] == value.shape[:-2] or not (query.numel() and key.numel()):
        return None
    scale = 1 / params["scale"] if params.get("by") == "div" else params.get("scale", 1.0)
    result: Tensor = Attention.run((query, key, value), {"scale": scale, "is_causal": False, "is_safe": False})[0]
    return result
