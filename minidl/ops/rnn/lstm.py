"""The long short-term memory: a cell that keeps what it holds unless gates open.

    i, f, o = sigmoid,  g = tanh   of the four parts of x + h · Wᵀ, in the order i f g o
    c' = f c + i g
    h' = o tanh(c')

Saved for backward: the gates after their functions, four numbers for each state, and the cells. The gates take the
place of x, which nobody holds after the forward pass, so they cost no memory that x did not. Saving less would mean to
multiply by the weight again; tanh(c') is cheap to work out again. Nothing is saved when nothing is recorded.

Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); the forget gate is from Gers et al., Neural
Computation 12 (2000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec
from minidl.ops.rnn import cpu_lstm
from minidl.ops.rnn.cpu_product import gates_take
from minidl.ops.rnn.sweep import (
    before,
    check_shapes,
    chosen,
    fitted,
    given,
    or_zeros,
    refuse_second_derivative,
    sigmoid,
    steps,
    weight_gradient,
)


class LSTMSequence(Op):
    """Gives all states h, zero on padding, the last h and c of each row, and what backward needs: gates and cells.

    Without `keep`, gates and cells have one step only, which every step writes again.
    """

    name = "lstm_sequence"
    saves = ("h0", "c0", "weight", "lengths", "out")
    cpu = staticmethod(cpu_lstm.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, c0: Spec, weight: Spec, lengths: Spec | None = None, *, reverse: bool, keep: bool
    ) -> tuple[Spec, Spec, Spec, Spec, Spec]:
        state = check_shapes("lstm_sequence", 4, x, weight, lengths, h0=h0, c0=c0)
        n, hidden = state.shape
        kept = x.shape[0] if keep else 1
        output, gates = state.with_shape(x.shape[0], n, hidden), state.with_shape(kept, n, 4 * hidden)
        return output, state, state, gates, state.with_shape(kept, n, hidden)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and gates_take(arrays, arrays[3])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array, Array], x: Array, h0: Array, c0: Array, weight: Array,
        lengths: Array | None = None, *, reverse: bool, keep: bool,
    ) -> None:  # fmt: skip
        output, h, c, gates, cells = out
        h[...], c[...] = h0, c0
        for t, rows in steps(len(x), lengths, reverse):
            i, f, g, o = xp.split(x[t] + h @ weight.T, 4, axis=1)
            i, f, g, o = sigmoid(xp, i), sigmoid(xp, f), xp.tanh(g), sigmoid(xp, o)
            cell = f * c + i * g
            new = o * xp.tanh(cell)
            output[t] = chosen(xp, rows, new, 0)
            gates[t * keep] = chosen(xp, rows, xp.concatenate((i, f, g, o), axis=1), 0)
            cells[t * keep] = chosen(xp, rows, cell, 0)
            h[...], c[...] = chosen(xp, rows, new, h), chosen(xp, rows, cell, c)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        h0, c0, weight, lengths, (output, h, c, gates, cells) = node.saved
        grads = or_zeros(g[0], output), or_zeros(g[1], h), or_zeros(g[2], c)
        saved = (output, gates, cells, h0, c0, weight)
        return fitted(node, *LSTMSequenceGrad.apply(*grads, *saved, *given(lengths), reverse=node.params["reverse"]))


class LSTMSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0, c0 and weight."""

    name = "lstm_sequence_grad"
    vjp = staticmethod(refuse_second_derivative)
    cpu = staticmethod(cpu_lstm.backward)

    @staticmethod
    def infer(
        g: Spec, g_h: Spec, g_c: Spec, output: Spec, gates: Spec, cells: Spec, h0: Spec, c0: Spec, weight: Spec,
        lengths: Spec | None = None, *, reverse: bool,
    ) -> tuple[Spec, Spec, Spec, Spec]:  # fmt: skip
        state = output.with_shape(*h0.shape)
        return gates, state, state, output.with_shape(*weight.shape)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and gates_take(arrays, arrays[8])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array], g: Array, g_h: Array, g_c: Array, output: Array, gates: Array,
        cells: Array, h0: Array, c0: Array, weight: Array, lengths: Array | None = None, *, reverse: bool,
    ) -> None:  # fmt: skip
        gx, gh, gc, g_weight = out
        gh[...], gc[...] = g_h, g_c
        for t, rows in steps(len(g), lengths, not reverse):
            i, f, new, o = xp.split(gates[t], 4, axis=1)
            squashed = xp.tanh(cells[t])
            above = gh + g[t]
            cell = gc + above * o * (1 - squashed * squashed)
            c = before(xp, t, cells, c0, lengths, reverse)
            parts = (
                cell * new * i * (1 - i), cell * c * f * (1 - f), cell * i * (1 - new * new),
                above * squashed * o * (1 - o),
            )  # fmt: skip
            gx[t] = chosen(xp, rows, xp.concatenate(parts, axis=1), 0)
            gh[...] = chosen(xp, rows, gx[t] @ weight, gh)
            gc[...] = chosen(xp, rows, cell * f, gc)
        g_weight[...] = weight_gradient(xp, gx, output, h0, lengths, reverse)
