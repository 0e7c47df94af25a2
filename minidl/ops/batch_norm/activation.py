"""The activations that batch-norm takes along: what they make of its result and let through of a gradient."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Tensor
from minidl.ops.compare import ge, gt, le
from minidl.ops.indexing import where

# Its name and its parameter: ("relu", 0.0), ("leaky_relu", slope below zero), ("clamp", bound above; below it is 0).
Activation = tuple[str, float]
NONE: Activation = ("none", 0.0)
RELU: Activation = ("relu", 0.0)


def activate(xp: Any, y: Array, activation: Activation) -> None:
    """y = act(y)."""
    kind, level = activation
    if kind == "relu":
        xp.maximum(y, 0, out=y)
    elif kind == "clamp":
        xp.clip(y, 0, level, out=y)
    elif kind == "leaky_relu":
        y[...] = xp.where(y > 0, y, y * level)


def slope_at(xp: Any, v: Array, activation: Activation) -> Array:
    """The derivative of the activation at v."""
    kind, level = activation
    if kind == "clamp":
        return (v >= 0) & (v <= level)
    return xp.where(v > 0, v.dtype.type(1), v.dtype.type(level))


def passed(g: Tensor, v: Tensor, activation: Activation) -> Tensor:
    """The gradient g behind the activation at v, in ops."""
    kind, level = activation
    if kind == "none":
        return g
    if kind == "clamp":
        return g * (ge(v, 0) & le(v, level)).to(g.dtype)
    return where(gt(v, 0), g, g * level)
