"""Which ops run as one, and how: each rule gives the result of two ops from what the first, which waits, was asked for.

| what follows | a convolution | batch-norm in training | batch-norm at rest |
|---|---|---|---|
| batch-norm at rest | scales the weights, moves the bias | | |
| + a tensor of the same shape | added before the result leaves the cache | in the pass that scales | likewise |
| ReLU | likewise | likewise | likewise |
| leaky ReLU, ReLU6 | at rest | likewise, without a residual | likewise |
| ELU, SiLU, GELU, hardswish | at rest | likewise, without a residual | likewise |

Group and instance norm of channels-last images take an activation as batch-norm in training does. A transposed
convolution takes batch-norm at rest and the ReLU; a linear map takes batch-norm at rest (of many rows), the sum with a
tensor of the same shape, and ReLU, GELU, SiLU, sigmoid and tanh. At rest two linear maps with an activation between
them become the op `feed_forward`, the sum behind them included. Between map and sum dimensions may be permuted.
softmax(q @ k.mT * scale) @ v, written so, becomes the op `attention`.
How an op waits: `core/defer.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from minidl.core import Array, Op, Tensor, Waiting, absorbs, is_recording, waiting
from minidl.core.defer import absorbed
from minidl.core.remember import remembered
from minidl.device.determinism import is_batch_invariant
from minidl.device.dtypes import DType, is_narrow
from minidl.ops.attention.pieces import ScaledProduct, WeightsOfProduct, attention_of
from minidl.ops.batch_norm import (
    BatchNormalize,
    BatchNormalizeAddRelu,
    BatchNormalizeAtRest,
    BatchNormalizeAtRestAddRelu,
)
from minidl.ops.batch_norm.activation import ACTIVATIONS, RELU, Activation, activation_of
from minidl.ops.conv.then import ConvThen, ConvThenActivated, ConvThenRelu
from minidl.ops.conv_transpose import ConvTranspose, ConvTransposeRelu
from minidl.ops.matmul import Linear, finish
from minidl.ops.matmul.feed_forward import FeedForward, joined
from minidl.ops.matmul.then import LinearAdd, LinearPermuted, linear_then
from minidl.ops.normalize import GroupNormalize
from minidl.ops.views import permute

__all__: list[str] = []

Inputs = tuple[Tensor, ...]
LEAST_ROWS = 8  # a batch of fewer than 1 in so many features is scaled instead of the weights
# How many inputs each op that waits for more has without a residual.
_PLAIN = {BatchNormalize: 5, BatchNormalizeAtRest: 5, ConvThen: 3, GroupNormalize: 5}
# What a norm with a residual under a ReLU becomes.
_ADD_RELU: dict[type[Op] | None, type[Op]] = {
    BatchNormalize: BatchNormalizeAddRelu,
    BatchNormalizeAtRest: BatchNormalizeAtRestAddRelu,
}


@absorbs("add", "batch_normalize")
@absorbs("add", "batch_normalize_at_rest")
@absorbs("add", "conv_then")
def add_residual(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """f(x) + residual as one op, which waits for a ReLU yet."""
    residual, op = inputs[1 - position], waits.op
    if op is None or _is_added(waits) or residual.spec != waits.spec:
        return None
    return waiting(op, waits.spec, (*waits.inputs, residual), waits.params)


def _after_norm(name: str) -> None:
    """Let activation `name` join the norm before it."""

    @absorbs(name, "batch_normalize")
    @absorbs(name, "batch_normalize_at_rest")
    @absorbs(name, "group_normalize")
    def norm_then(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
        """activation(norm(x) [+ residual]) as one op; group and instance norm take no residual."""
        activation, is_added = activation_of(name, params), _is_added(waits)
        if activation is None or (
            is_added and activation != RELU
        ):  # what it is given is not kept; a ReLU's result tells
            return None
        return _activated(_ADD_RELU[waits.op] if is_added else waits.op, waits, activation)


def _after_conv(name: str) -> None:
    """Let activation `name` join the convolution before it, at rest."""

    @absorbs(name, "conv_then")
    @absorbs(name, "conv")
    def conv_then(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
        activation = activation_of(name, params)
        return None if activation is None else _at_rest_activated(waits, activation)


for _name in ACTIVATIONS:
    _after_norm(_name)
    if _name != "relu":  # which joins it in training too
        _after_conv(_name)


def _is_added(waits: Waiting) -> bool:
    """Whether a residual is among its inputs."""
    return waits.op is not None and len(waits.inputs) > _PLAIN[waits.op]


def _activated(
    op: type[Op] | None, waits: Waiting, activation: Activation, given: Inputs | None = None
) -> Tensor | None:
    """`op` on what waits, or on what it would be given itself, with an activation at its end."""
    return None if op is None else op.run(given or waits.inputs, {**waits.params, "activation": activation})


@absorbs("add", "conv")
def conv_then_add(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return add_residual(_then(waits), position, inputs, params)


@absorbs("relu", "conv")
def conv_then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return then_relu(_then(waits), position, inputs, params)


@absorbs("relu", "conv_then")
def then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """relu(conv(x) [+ residual]) as one op."""
    return ConvThenRelu.run(waits.inputs, waits.params)  # type: ignore[no-any-return]


def _at_rest_activated(waits: Waiting, activation: Activation) -> Tensor | None:
    if waits.requires_grad:
        return None
    given = waits.inputs if waits.op is ConvThen else _biased(waits)
    return _activated(ConvThenActivated, waits, activation, given)


@absorbs("relu", "conv_transpose")
def transpose_then_relu(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    return ConvTransposeRelu.run(waits.inputs, waits.params)  # type: ignore[no-any-return]


def _after_linear(activation: str) -> None:
    @absorbs(activation, "linear")
    def then(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
        return linear_then(waits.inputs, activation, waits.requires_grad)


for _activation in finish.ACTIVATIONS[1:]:
    _after_linear(_activation)


@absorbs("add", "linear")
def linear_then_add(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """linear(x) + residual as one op."""
    residual = inputs[1 - position]
    if residual.spec != waits.spec:
        return None
    x, weight, *bias = waits.inputs
    return LinearAdd.run((x, weight, residual, *bias), {})  # type: ignore[no-any-return]


@absorbs("linear", "linear_then")
def two_linear_maps(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """linear(activation(linear(x))) as one op at rest, which waits for a residual yet."""
    if position or is_recording() or waits.device.type != "cpu":
        return None
    x, *first = waits.inputs
    maps = [x]
    for weight, *bias in (first, inputs[1:]):
        maps += (weight, bias[0] if bias else _zeros(weight.device.xp, weight.shape[0], weight.dtype))
    spec = joined(*[t.spec for t in maps], is_invariant=is_batch_invariant())
    return None if spec is None else waiting(FeedForward, spec, tuple(maps), waits.params)


@absorbs("add", "feed_forward")
def feed_forward_then_add(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    residual = inputs[1 - position]
    if residual.spec != waits.spec:
        return None
    return FeedForward.run((*waits.inputs, residual), waits.params)  # type: ignore[no-any-return]


@absorbs("permute", "linear")
@absorbs("permute", "feed_forward")
def linear_then_permute(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """linear(pixels).permute(...), which waits for a shortcut yet."""
    return waiting(LinearPermuted, LinearPermuted.infer(waits.spec, **params), inputs, params)


@absorbs("add", "linear_permuted")
def linear_permuted_then_add(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """The same with the shortcut, where that lies as the result does: the sum is made pixel by pixel."""
    (x,), residual = waits.inputs, inputs[1 - position]
    if type(x) is not Waiting or residual.spec != waits.spec:
        return None
    dims: tuple[int, ...] = waits.params["dims"]
    pixels = permute(residual, *sorted(range(len(dims)), key=dims.__getitem__))
    if not pixels.array.flags.c_contiguous:
        return None
    total = absorbed("add", (x, pixels), {})
    return None if total is None else permute(total, *dims)


@absorbs("mul", "matmul")
def product_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """x @ y * scale by a number."""
    factor = inputs[1 - position]
    if factor.ndim or factor.requires_grad or factor.dtype != waits.dtype:
        return None
    return waiting(ScaledProduct, waits.spec, waits.inputs, {"scale": float(factor.array), "by": "mul"})


@absorbs("div", "matmul")
def product_then_divide(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    factor = inputs[1 - position]
    if position or factor.ndim or factor.requires_grad or factor.dtype != waits.dtype:
        return None
    return waiting(ScaledProduct, waits.spec, waits.inputs, {"scale": float(factor.array), "by": "div"})


@absorbs("softmax", "matmul")
@absorbs("softmax", "scaled_product")
def product_then_softmax(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    if params["dim"] != waits.ndim - 1 or waits.op is None:
        return None
    return waiting(WeightsOfProduct, waits.spec, waits.inputs, {"product": waits.op, **waits.params})


@absorbs("matmul", "weights_of_product")
def weights_then_values(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """softmax(q @ k.mT * scale) @ v."""
    return None if position else attention_of(waits.inputs, inputs[1], waits.params)


@absorbs("batch_normalize_at_rest", "conv")
def conv_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """conv(x, weight) * scale + shift as a convolution by scaled weights; where gradients are wanted, as it is."""
    return _scaled(ConvThen, waits, _biased(waits), inputs, params["eps"], filters=0)


@absorbs("batch_normalize_at_rest", "conv_transpose")
def transpose_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """The same for its adjoint, whose weight is (C, K / groups, *kernel)."""
    return (
        None
        if waits.params["groups"] > 1
        else _scaled(ConvTranspose, waits, _biased(waits), inputs, params["eps"], filters=1)
    )


@absorbs("batch_normalize_at_rest", "linear")
def linear_then_scale(waits: Waiting, position: int, inputs: Inputs, params: dict[str, Any]) -> Tensor | None:
    """The same for a linear map of rows, whose features are the channels.

    Not of few rows: whether the weights have changed is seen by reading them, which takes as long as such a product.
    """
    weight = waits.inputs[1]
    if waits.ndim != 2 or (LEAST_ROWS * waits.shape[0] < weight.shape[1] and not is_batch_invariant()):
        return None
    return _scaled(Linear, waits, _biased(waits), inputs, params["eps"], filters=0)


def _scaled(op: type[Op], waits: Waiting, given: Inputs, inputs: Inputs, eps: float, filters: int) -> Tensor | None:
    """`op` on `given` (image, weight, bias), by weights that are scaled along the dimension `filters`."""
    first, *norm = inputs
    if first is not waits or waits.requires_grad or (is_recording() and any(t.requires_grad for t in norm)):
        return None
    if is_narrow(waits.dtype):
        return None  # scaled weights would be rounded once more
    x, weight, bias = given
    arrays = (weight.array, bias.array, *[t.array for t in norm])
    scaled, moved = remembered(("scaled", filters, eps), arrays, lambda: _scaled_weights(arrays, eps, filters))
    return waiting(op, waits.spec, (x, Tensor.of(scaled), Tensor.of(moved)), waits.params)


def _scaled_weights(arrays: tuple[Array, ...], eps: float, filters: int) -> tuple[Array, Array]:
    weight, bias, scale, shift, mean, var = arrays
    factor = (scale / (var.astype(np.float64) + eps) ** 0.5).astype(weight.dtype)
    return weight * factor.reshape(-1, *[1] * (weight.ndim - 1 - filters)), (bias - mean) * factor + shift


def _then(waits: Waiting) -> Waiting:
    """A waiting convolution as one that can take more along."""
    return waiting(ConvThen, waits.spec, _biased(waits), waits.params)


def _biased(waits: Waiting) -> Inputs:
    """Image, weight and bias of a waiting convolution; zeros if it has none."""
    x, weight, *bias = waits.inputs
    return x, weight, bias[0] if bias else _zeros(x.device.xp, waits.shape[1], waits.dtype)


@functools.lru_cache(maxsize=64)
def _zeros(xp: Any, count: int, dtype: DType) -> Tensor:
    return Tensor.of(xp.zeros(count, dtype))
