"""The activations that a norm or a convolution takes along: a table of what each makes of a number, and of a gradient.

A row names an op; its formulas are those of the op and of the op of its slope, brought to one form: both are told by
what the activation is given, which backward passes compute anew from what the norm was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from minidl.core import Array, Tensor, registry
from minidl.device import inline
from minidl.device.inline import Inline
from minidl.device.scalar_math import typed
from minidl.ops.activation import (
    _elu,
    _elu_slope,
    _gelu,
    _gelu_slope,
    _gelu_tanh,
    _gelu_tanh_slope,
    _leaky,
    _leaky_slope,
    _relu,
    _relu_slope,
    _silu,
    _silu_slope,
)  # fmt: skip
from minidl.ops.activation_rows import _hardswish, _hardswish_slope
from minidl.ops.unary import _clamp, _clamp_slope

# Its name and its parameter: ("relu", 0.0), ("leaky_relu", slope below zero), ("clamp", bound above; below it is 0).
Activation = tuple[str, float]
NONE: Activation = ("none", 0.0)
RELU: Activation = ("relu", 0.0)


class Formula(NamedTuple):
    """An activation in numbers; `level` is its parameter.

    Attributes:
        value: (v, level) to what it makes of v.
        slope: (g, v, level) to g times its derivative at v.
        parameter: the op's name of the level, if it has one.
        is_long: whether the slope takes longer than to write it and read it again.
    """

    value: Inline
    slope: Inline
    parameter: str | None = None
    is_long: bool = False


def _plain(value: Inline, slope: Inline, *, is_long: bool = False) -> Formula:
    """Of formulas that have no parameter."""

    @inline
    def value_at(v: Any, level: Any) -> Any:
        return value(v)

    @inline
    def slope_at(g: Any, v: Any, level: Any) -> Any:
        return slope(g, v)

    return Formula(value_at, slope_at, is_long=is_long)


@inline
def _itself(v: Any, level: Any) -> Any:
    return v


@inline
def _all(g: Any, v: Any, level: Any) -> Any:
    return g


@inline
def _capped(v: Any, level: Any) -> Any:
    return _clamp(v, typed(0, v), level)


@inline
def _between(g: Any, v: Any, level: Any) -> Any:
    return _clamp_slope(g, v, typed(0, v), level)


FORMULAS = {
    "none": Formula(_itself, _all),
    "relu": _plain(_relu, _relu_slope),
    "leaky_relu": Formula(_leaky, _leaky_slope, "negative_slope"),
    "clamp": Formula(_capped, _between),
    "elu": Formula(_elu, _elu_slope, "alpha", is_long=True),
    "silu": _plain(_silu, _silu_slope, is_long=True),
    "gelu": _plain(_gelu, _gelu_slope, is_long=True),
    "gelu_tanh": _plain(_gelu_tanh, _gelu_tanh_slope, is_long=True),
    "hardswish": _plain(_hardswish, _hardswish_slope),
}
ACTIVATIONS = tuple(FORMULAS)[1:]  # names of ops


def activation_of(name: str, params: Mapping[str, Any]) -> Activation | None:
    """Op `name` as an activation of this table; None for a clamp that does not begin at 0."""
    if name != "clamp":
        parameter = FORMULAS[name].parameter
        return name, 0.0 if parameter is None else float(params[parameter])
    low, high = params["min"], params["max"]
    return (name, float(high)) if low == 0 and high is not None and high >= 0 else None


def activate(xp: Any, y: Array, activation: Activation) -> None:
    """y = act(y)."""
    if activation != NONE:
        registry.ops[activation[0]].reference(xp, y, y.copy(), **_numbers(activation, "min", "max"))


def held_back(xp: Any, g: Array, v: Array, activation: Activation) -> Array:
    """g times the derivative of the activation at v."""
    if activation == NONE:
        return g
    passed_on: Array = xp.empty(g.shape, g.dtype)
    registry.ops[f"{activation[0]}_grad"].reference(xp, passed_on, g, v, **_numbers(activation, "low", "high"))
    return passed_on


def passed(g: Tensor, v: Tensor, activation: Activation) -> Tensor:
    """The same in ops."""
    if activation == NONE:
        return g
    result: Tensor = registry.ops[f"{activation[0]}_grad"].apply(g, v, **_numbers(activation, "low", "high"))
    return result


def _numbers(activation: Activation, *bounds: str) -> dict[str, float]:
    """The parameters of its op, or of that of its slope, which call the bounds of a clamp so."""
    kind, level = activation
    parameter = FORMULAS[kind].parameter
    if kind == "clamp":
        return dict(zip(bounds, (0.0, level), strict=True))
    return {} if parameter is None else {parameter: level}
