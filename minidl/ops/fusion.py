"""Which ops run as one, and how: each rule gives the result of two ops from what the first, which waits, was asked for.

| what follows | a convolution | batch-norm in training | batch-norm at rest |
|---|---|---|---|
| batch-norm at rest | scales the weights, moves the bias | | |
| + a tensor of the same shape | added before the result leaves the cache | in the pass that scales | likewise |
| ReLU | likewise | likewise | likewise |
| leaky ReLU, ReLU6 | | likewise, without a residual | likewise |

A transposed convolution takes batch-norm at rest and the ReLU. How an op waits: `core/defer.py`.
"""

from __future__ import annotations

from typing import Any

from minidl.core import Tensor, Waiting, absorbs, waiting
from minidl.ops.batch_norm import BatchNormalize, BatchNormalizeAddRelu, BatchScale
from minidl.ops.batch_norm.activation import NONE, RELU, Activation
from minidl.ops.conv.then import ConvThen
from minidl.ops.conv_transpose import ConvTranspose, ConvTransposeRelu

__all__: list[str] = []

Inputs = tuple[Tensor, ...]
# How many inputs each op that can add a residual has without one.
_PLAIN = {BatchNormalize: 5, BatchScale: 3, ConvThen: 3}


@absorbs("add", "batch_normalize")
@absorbs("add", "batch_scale")
@absorbs("add", "conv_then")
def add_residual(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """f(x) + residual as one op, which waits for a ReLU yet."""
    residual, op = inputs[1 - position], waits.op
    is_free = op is not None and len(waits.inputs) == _PLAIN[op] and waits.params["activation"] in (NONE, "none")
    if op is None or not is_free or residual.spec != waits.spec:
        return None
    return waiting(op, waits.spec, (*waits.inputs, residual), waits.params)


@absorbs("relu", "batch_normalize")
@absorbs("relu", "batch_scale")
def norm_then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """relu(batch_norm(x) [+ residual]) as one op."""
    if waits.op is BatchNormalize and len(waits.inputs) > _PLAIN[BatchNormalize]:
        return BatchNormalizeAddRelu.run(waits.inputs, {**waits.params, "activation": RELU})  # type: ignore[no-any-return]
    return _activated(waits, RELU)


@absorbs("leaky_relu", "batch_normalize")
@absorbs("leaky_relu", "batch_scale")
def norm_then_leaky_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return _unless_added(waits, ("leaky_relu", params["negative_slope"]))


@absorbs("clamp", "batch_normalize")
@absorbs("clamp", "batch_scale")
def norm_then_clamp(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """ReLU6, and any clamp between 0 and a bound."""
    is_from_zero = params["min"] == 0 and params["max"] is not None and params["max"] >= 0
    return _unless_added(waits, ("clamp", float(params["max"]))) if is_from_zero else None


@absorbs("relu", "conv_then")
def then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """relu(conv(x) [+ residual]) as one op."""
    return _activated(waits, "relu")


def _unless_added(waits: Waiting, activation: Activation) -> Tensor | None:
    """Their backward passes need the sum with the residual, which is not kept."""
    is_added = waits.op is not None and len(waits.inputs) > _PLAIN[waits.op]
    return None if is_added or (waits.op is BatchScale and waits.requires_grad) else _activated(waits, activation)


def _activated(waits: Waiting, activation: Activation | str) -> Tensor | None:
    """What waits, with an activation at its end, unless it has one."""
    if waits.op is None or waits.params["activation"] not in (NONE, "none"):
        return None
    return waits.op.run(waits.inputs, {**waits.params, "activation": activation})  # type: ignore[no-any-return]


@absorbs("add", "conv")
def conv_then_add(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return add_residual(_then(waits), position, inputs, params)


@absorbs("relu", "conv")
def conv_then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return then_relu(_then(waits), position, inputs, params)


@absorbs("batch_scale", "conv")
def conv_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """conv(x, weight) * scale + shift as a convolution by scaled weights; where gradients are wanted, as it is."""
    if position or waits.requires_grad or any(t.requires_grad for t in inputs):
        return None
    (_, scale, shift), (x, weight, bias) = inputs, _then(waits).inputs
    scaled = Tensor.of(weight.array * scale.array.reshape(-1, *[1] * (weight.ndim - 1)))  # no op each: 10 us
    moved = Tensor.of(bias.array * scale.array + shift.array)
    return waiting(ConvThen, waits.spec, (x, scaled, moved), {**waits.params, "activation": "none"})


@absorbs("relu", "conv_transpose")
def transpose_then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return ConvTransposeRelu.run(waits.inputs, waits.params)  # type: ignore[no-any-return]


@absorbs("batch_scale", "conv_transpose")
def transpose_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """As `conv_then_scale`; the weight is (C, K / groups, *kernel)."""
    if position or waits.params["groups"] > 1 or waits.requires_grad or any(t.requires_grad for t in inputs):
        return None
    (_, scale, shift), (x, weight, *bias) = inputs, waits.inputs
    scaled = Tensor.of(weight.array * scale.array.reshape(-1, *[1] * (weight.ndim - 2)))
    moved = Tensor.of(bias[0].array * scale.array + shift.array) if bias else shift
    return waiting(ConvTranspose, waits.spec, (x, scaled, moved), waits.params)


def _then(waits: Waiting) -> Waiting:
    """A waiting convolution as one that can take more along."""
    x, weight, *rest = waits.inputs
    bias = rest[0] if rest else Tensor.of(x.device.xp.zeros(weight.shape[0], waits.dtype))
    return waiting(ConvThen, waits.spec, (x, weight, bias), {**waits.params, "activation": "none"})
