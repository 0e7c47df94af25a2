"""What all recurrent layers share: shapes, the order of the steps, rows of unequal length, gradients of weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Spec, Tensor
from minidl.device.dtypes import promote
from minidl.errors import DTypeError, ShapeError


def check_shapes(
    name: str, gates: int, x: Spec, weight_ih: Spec, weight_hh: Spec, lengths: Spec | None,
    biases: Mapping[str, Spec], states: Mapping[str, Spec],
) -> tuple[Spec, Spec]:  # fmt: skip
    """The specs of the output, (T, N, D H), and of one state, (D, N, H), after all shapes were found to fit."""
    if weight_hh.ndim != 3 or weight_hh.shape[0] not in (1, 2) or weight_hh.shape[1] != gates * weight_hh.shape[2]:
        raise ShapeError(
            f"{name}: weight_hh must be (directions, {gates} * hidden_size, hidden_size) with 1 or 2 directions, "
            f"got {weight_hh.shape}"
        )
    directions, rows, hidden = weight_hh.shape
    if weight_ih.ndim != 3 or weight_ih.shape[:2] != (directions, rows) or not weight_ih.shape[2]:
        raise ShapeError(
            f"{name}: weight_ih must be ({directions}, {rows}, input_size) beside weight_hh {weight_hh.shape}, "
            f"with at least one input, got {weight_ih.shape}"
        )
    if x.ndim != 3 or not x.shape[0] or x.shape[2] != weight_ih.shape[2]:
        raise ShapeError(
            f"{name}: input must be (steps, batch, {weight_ih.shape[2]}) beside weight_ih {weight_ih.shape}, "
            f"with at least one step, got {x.shape}"
        )
    state = (directions, x.shape[1], hidden)
    for kind, spec in states.items():
        if spec.shape != state:
            raise ShapeError(f"{name}: {kind} must be (directions, batch, hidden_size) = {state}, got {spec.shape}")
    for kind, spec in biases.items():
        if spec.shape != (directions, rows):
            raise ShapeError(
                f"{name}: {kind} must be {(directions, rows)} beside weight_hh {weight_hh.shape}, got {spec.shape}"
            )
    if lengths is not None:
        if lengths.shape != x.shape[1:2]:
            raise ShapeError(f"{name}: lengths must be one number for each of {x.shape[1]} rows, got {lengths.shape}")
        if lengths.dtype.kind not in "iu":
            raise DTypeError(f"{name}: lengths must be whole numbers, got {lengths.dtype}")
    given = [spec.dtype for spec in (x, weight_ih, weight_hh, *biases.values(), *states.values())]
    dtype = promote(*given)
    return Spec((*x.shape[:2], directions * hidden), dtype), Spec(state, dtype)


def one_type(arrays: tuple[Array, ...]) -> bool:
    """Whether all numbers are of one type, which the compiled kernels need."""
    return all(a.dtype == arrays[0].dtype for a in arrays if a.dtype.kind == "f")


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


def by_direction(output: Array, directions: int) -> list[Array]:
    """Each direction's part of (T, N, D H), or of gates and cells (T, N, D, .), as views (T, N, .)."""
    parts = output.reshape(*output.shape[:2], directions, -1 if output.size else output.shape[-1] // directions)
    return [parts[:, :, d] for d in range(directions)]


def sigmoid(xp: Any, x: Array) -> Array:
    e = xp.exp(-xp.abs(x))  # never overflows
    return xp.where(x >= 0, 1, e) / (1 + e)


def write_gradients(
    xp: Any, d: int, out: tuple[Array, Array, Array], g_x_sums: Array, g_h_sums: Array, x: Array, weight_ih: Array,
    output: Array, h0: Array, lengths: Array | None,
) -> None:  # fmt: skip
    """Add direction d's part to the gradient of x, and write those of its weights.

    Args:
        out: the gradients of x (no steps if nobody wants it), weight_ih and weight_hh.
        g_x_sums, g_h_sums: (T, N, G H), the gradients of the input's and the state's share of the sums.
        output: (T, N, H), this direction's states.
    """
    g_x, g_weight_ih, g_weight_hh = out
    if len(g_x):
        g_x += g_x_sums @ weight_ih[d]
    if lengths is not None:  # padding, whatever it is, times a gradient of zero must be zero
        x = xp.where((xp.arange(len(x))[:, None] < lengths)[:, :, None], x, 0)
    g_weight_ih[d] = _over_steps(g_x_sums).T @ _over_steps(x)
    g_weight_hh[d] = _weight_gradient(xp, g_h_sums, output, h0[d], lengths, reverse=d == 1)


def _weight_gradient(
    xp: Any, g_sums: Array, output: Array, h0: Array, lengths: Array | None, *, reverse: bool
) -> Array:
    """The sum over all steps of g_sums[t]ᵀ times the state before step t, as one product of matrices."""
    later, earlier = (g_sums[:-1], output[1:]) if reverse else (g_sums[1:], output[:-1])
    total = _over_steps(later).T @ _over_steps(earlier)
    if not reverse:
        first = g_sums[0]
    elif lengths is None:
        first = g_sums[-1]
    else:
        first = g_sums[lengths - 1, xp.arange(len(lengths))]
    total += first.T @ h0
    return total


def _over_steps(x: Array) -> Array:
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2])


def or_zeros(g: Tensor | None, like: Tensor) -> Tensor:
    """`g`, or zeros for a result that nobody used."""
    return Tensor.of(like.device.xp.zeros(like.shape, like.dtype)) if g is None else g


def given(*inputs: Tensor | None) -> tuple[Tensor, ...]:
    """The inputs without those left out at the end."""
    return tuple(t for t in inputs if t is not None)


def fitted(node: Node, g_x: Tensor, *grads: Tensor | None) -> Grads:
    """As many gradients as the op had inputs; x has none if nobody wants it, and lengths never do."""
    return (g_x if node.needs[0] else None, *grads, None)[: len(node.needs)]
