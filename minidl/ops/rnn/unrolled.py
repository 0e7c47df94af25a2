"""Recurrent layers step by step in plain ops: slower than a sweep, and differentiable as often as one likes.

The cells of `nn` take single steps from here. A sweep's gradient, where it is to be differentiated itself, is that of
the same sweep unrolled: `taped_gradients` runs the forward pass once more in plain ops and walks it back on the tape.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from minidl.core import Grads, Node, Tensor
from minidl.core.walk import walk_back
from minidl.ops.activation import relu, sigmoid, tanh
from minidl.ops.concat import cat, stack
from minidl.ops.matmul import linear
from minidl.ops.views import chunk, unbind
from minidl.ops.where import where

# (the input's share of the sums, the state's share, the states before) to the states after it, h first. Gates lie along
# dimension 1, behind that of the batch; one row alone has no other.
Step = Callable[[Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, ...]]


def rnn_step(nonlinearity: str) -> Step:
    function = tanh if nonlinearity == "tanh" else relu
    return lambda of_x, of_h, states: (function(of_x + of_h),)


def lstm_step(of_x: Tensor, of_h: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    i, f, g, o = _parts(of_x + of_h, 4)
    c = sigmoid(f) * states[1] + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(c), c


def gru_step(of_x: Tensor, of_h: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    x_r, x_z, x_n = _parts(of_x, 3)
    h_r, h_z, m = _parts(of_h, 3)
    n = tanh(x_n + sigmoid(x_r + h_r) * m)
    return (n + sigmoid(x_z + h_z) * (states[0] - n),)


def _parts(sums: Tensor, count: int) -> Sequence[Tensor]:
    return chunk(sums, count, dim=min(1, sums.ndim - 1))


def unroll(
    step: Step, of_x: Tensor, product: Callable[[Tensor], Tensor], states: Sequence[Tensor], lengths: Tensor | None,
    *, reverse: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """All steps in one direction: the states h (T, N, ...), zero where a row has no step, and the last states.

    Args:
        of_x: (T, N, ...), the input's share of the sums.
        product: the state's share of them.
        lengths: (N,), how many steps each row has; all of them when None.
    """
    count, sums = of_x.shape[0], unbind(of_x)
    output: dict[int, Tensor] = {}
    for t in reversed(range(count)) if reverse else range(count):
        new = step(sums[t], product(states[0]), states)
        if lengths is None:
            output[t], states = new[0], new
        else:
            rows = (lengths > t).reshape(-1, *[1] * (new[0].ndim - 1))
            output[t] = where(rows, new[0], 0.0)
            states = [where(rows, after, before) for after, before in zip(new, states, strict=True)]
    return stack([output[t] for t in range(count)]), *states


def layer_gradients(
    node: Node, step: Step, grads: Sequence[Tensor | None], x: Tensor, states: Sequence[Tensor],
    weights: Sequence[Tensor], lengths: Tensor | None,
) -> Grads:  # fmt: skip
    """The gradients of a sweep's inputs, x, states and weights in this order, on the tape."""
    if lengths is not None:  # whatever padding holds, times a gradient of zero must be zero
        x = where(has_step(x, lengths), x, 0.0)
    count = 1 + len(states)

    def layer(*inputs: Tensor) -> Sequence[Tensor]:
        return _layer(step, inputs[0], inputs[1:count], inputs[count:], lengths)

    inputs = (x, *states, *weights)
    found = taped_gradients(layer, inputs, grads, node.needs[: len(inputs)])
    return (*found, None)[: len(node.needs)]


def _layer(
    step: Step, x: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor], lengths: Tensor | None
) -> Sequence[Tensor]:
    """A layer on vectors in all its directions: what its sweep gives, from the same inputs."""
    ends: list[tuple[Tensor, ...]] = []
    for d in range(weights[0].shape[0]):
        weight_ih, weight_hh, bias_ih, *bias_hh = (w[d] for w in weights)
        product = functools.partial(linear, weight=weight_hh, bias=bias_hh[0] if bias_hh else None)
        starts = [s[d] for s in states]
        ends.append(unroll(step, linear(x, weight_ih, bias_ih), product, starts, lengths, reverse=d == 1))
    outputs, *last = zip(*ends, strict=True)
    return cat(outputs, dim=-1), *[stack(of_kind) for of_kind in last]


def has_step(x: Tensor, lengths: Tensor) -> Tensor:
    """(T, N, 1, ...), whether row n has step t."""
    steps = Tensor.of(x.device.xp.arange(x.shape[0])[:, None])
    return (steps < lengths).reshape(*x.shape[:2], *[1] * (x.ndim - 2))


def taped_gradients(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], grads: Sequence[Tensor | None],
    needs: Sequence[bool],
) -> Grads:  # fmt: skip
    """The gradients of those `inputs` of `function` that are needed, given those of its results, on the tape.

    The function sees copies of its inputs, so that the walk ends there even where one input is made from another.
    """
    copies = [t.clone() for t in inputs]
    results = function(*copies)
    roots = [(result, g) for result, g in zip(results, grads, strict=True) if g is not None]
    wanted = [t for t, needed in zip(copies, needs, strict=True) if needed]
    found = iter(walk_back(roots, retain_graph=True, create_graph=True, wanted=wanted, accumulate=False))
    return tuple([next(found) if needed else None for needed in needs])
