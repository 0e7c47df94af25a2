"""What a product does to its numbers before they leave the cache: the activation behind a linear layer."""

from __future__ import annotations

from typing import Any

from minidl.device import inline
from minidl.device.inline import separate
from minidl.device.scalar_math import normal, sigmoid, tanh, typed

# By number, as kernels know them; the names are those of the ops.
ACTIVATIONS = ("none", "relu", "gelu", "gelu_tanh", "silu", "sigmoid", "tanh")
NONE, RELU, GELU, GELU_TANH, SILU, SIGMOID, TANH = range(len(ACTIVATIONS))


@separate
def finish_row(out: Any, to: int, kept: Any, at: int, count: int, activation: int, keeps: int) -> None:
    """`count` numbers from out[to] on go to `kept` if `keeps`, and are replaced by their activation."""
    if keeps:
        for j in range(count):
            kept[at + j] = out[to + j]
    if activation == RELU:
        for j in range(count):
            out[to + j] = _relu(out[to + j])
    elif activation == GELU:
        for j in range(count):
            out[to + j] = _gelu(out[to + j])
    elif activation == GELU_TANH:
        for j in range(count):
            out[to + j] = _gelu_tanh(out[to + j])
    elif activation == SILU:
        for j in range(count):
            out[to + j] *= sigmoid(out[to + j])
    elif activation == SIGMOID:
        for j in range(count):
            out[to + j] = sigmoid(out[to + j])
    elif activation == TANH:
        for j in range(count):
            out[to + j] = tanh(out[to + j])


@inline
def _relu(x: Any) -> Any:
    return typed(0, x) if x <= typed(0, x) else x


@inline
def _gelu(x: Any) -> Any:
    share, _ = normal(x)
    return x * share


@inline
def _gelu_tanh(x: Any) -> Any:
    inner = typed(0.7978845608028654, x) * (x + typed(0.044715, x) * x * x * x)
    return x * sigmoid(inner + inner)
