"""What all recurrent layers share: the order of the steps, sequences of unequal length, the gradient of the weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from minidl.core import Array, Grads, Node, Spec, Tensor
from minidl.device.dtypes import promote
from minidl.errors import DTypeError, GradError, ShapeError


def check_shapes(name: str, gates: int, x: Spec, weight: Spec, lengths: Spec | None, **states: Spec) -> Spec:
    """The specs of one state, (N, H), after all shapes were found to fit together."""
    if weight.ndim != 2 or weight.shape[0] != gates * weight.shape[1]:
        raise ShapeError(f"{name}: weight_hh must be ({gates} * hidden_size, hidden_size), got {weight.shape}")
    if x.ndim != 3 or not x.shape[0] or x.shape[2] != weight.shape[0]:
        raise ShapeError(
            f"{name}: input must be (steps, batch, {weight.shape[0]}) beside weight_hh {weight.shape}, "
            f"with at least one step, got {x.shape}"
        )
    state = (x.shape[1], weight.shape[1])
    for state_name, spec in states.items():
        if spec.shape != state:
            raise ShapeError(f"{name}: {state_name} must be (batch, hidden_size) = {state}, got {spec.shape}")
    if lengths is not None:
        if lengths.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: lengths must be one number for each of {x.shape[1]} rows, got {lengths.shape}")
        if lengths.dtype.kind not in "iu":
            raise DTypeError(f"{name}: lengths must be whole numbers, got {lengths.dtype}")
    return Spec(state, promote(x.dtype, weight.dtype, *[spec.dtype for spec in states.values()]))


def steps(count: int, lengths: Array | None, reverse: bool) -> Iterator[tuple[int, Array | None]]:
    """Each step in its order, with the rows (N, 1) whose sequence has it; None stands for all of them."""
    for t in reversed(range(count)) if reverse else range(count):
        yield t, None if lengths is None else (t < lengths)[:, None]


def chosen(xp: Any, rows: Array | None, new: Array, old: Array | float) -> Array:
    """`new` in the given rows, `old` in all others."""
    return new if rows is None else xp.where(rows, new, old)


def before(xp: Any, t: int, states: Array, start: Array, lengths: Array | None, reverse: bool) -> Array:
    """The state that step `t` began with: that of the step before it, or `start`."""
    t += 1 if reverse else -1
    if not 0 <= t < len(states):
        return start
    return states[t] if lengths is None or not reverse else xp.where((t < lengths)[:, None], states[t], start)


def all_lengths(x: Array, lengths: Array | None) -> Array:
    """The length of each row of (T, N, ...), given or T, for kernels on the CPU."""
    return np.full(x.shape[1], x.shape[0], np.int64) if lengths is None else lengths


def sigmoid(xp: Any, x: Array) -> Array:
    e = xp.exp(-xp.abs(x))  # never overflows
    return xp.where(x >= 0, 1, e) / (1 + e)


def weight_gradient(xp: Any, g_gates: Array, output: Array, h0: Array, lengths: Array | None, reverse: bool) -> Array:
    """The sum over all steps of g_gates[t]ᵀ times the state before step t, as one product of matrices.

    Padding adds nothing, for both its gates' gradients and its outputs are zero.
    """
    later, earlier = (g_gates[:-1], output[1:]) if reverse else (g_gates[1:], output[:-1])
    total = later.reshape(-1, later.shape[2]).T @ earlier.reshape(-1, earlier.shape[2])
    if not reverse:
        first = g_gates[0]
    elif lengths is None:
        first = g_gates[-1]
    else:
        first = g_gates[lengths - 1, xp.arange(len(lengths))]
    total += first.T @ h0
    return total


def or_zeros(g: Tensor | None, like: Tensor) -> Tensor:
    """`g`, or zeros for a result that nobody used."""
    return Tensor.of(like.device.xp.zeros(like.shape, like.dtype)) if g is None else g


def given(*inputs: Tensor | None) -> tuple[Tensor, ...]:
    """The inputs without those left out at the end."""
    return tuple(t for t in inputs if t is not None)


def refuse_second_derivative(node: Node, g: Any) -> NoReturn:
    raise GradError(
        f"backward: {node.op.name} cannot be differentiated, so sequences have no second derivatives; "
        "build the net of RNNCell, LSTMCell or GRUCell, which have them"
    )


def fitted(node: Node, *grads: Tensor | None) -> Grads:
    """As many gradients as the op had inputs; lengths have none."""
    return (*grads, None)[: len(node.needs)]
