"""The long short-term memory: a cell that keeps what it holds unless gates open.

    i, f, o = sigmoid,  g = tanh   of the four parts of x · W_ihᵀ + h · W_hhᵀ + b, in the order i f g o
    c' = f c + i g
    h' = o tanh(c')

Saved for backward: the gates after their functions, four numbers for each state, and the cells. Saving less would mean
to multiply by the weights again; tanh(c') is cheap to work out again. Nothing is saved when nothing is recorded.

Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); the forget gate is from Gers et al., Neural
Computation 12 (2000).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, is_recording
from minidl.ops.rnn import cpu_lstm
from minidl.ops.rnn.sweep import (
    before,
    by_direction,
    check_shapes,
    chosen,
    fitted,
    given,
    one_type,
    or_zeros,
    sigmoid,
    steps,
    write_gradients,
)
from minidl.ops.rnn.unrolled import layer_gradients, lstm_step


class LSTMSequence(Op):
    """Gives all states h, zero on padding, the last h and c of each row, and what backward needs: gates and cells.

    Without `keep`, gates and cells have no steps.
    """

    name = "lstm_sequence"
    saves = ("x", "h0", "c0", "weight_ih", "weight_hh", "bias", "lengths", "out")
    cpu = staticmethod(cpu_lstm.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, c0: Spec, weight_ih: Spec, weight_hh: Spec, bias: Spec, lengths: Spec | None = None,
        *, keep: bool,
    ) -> tuple[Spec, Spec, Spec, Spec, Spec]:  # fmt: skip
        states = {"h0": h0, "c0": c0}
        output, state = check_shapes("lstm_sequence", 4, x, weight_ih, weight_hh, lengths, {"bias": bias}, states)
        directions, n, hidden = state.shape
        kept = (x.shape[0] if keep else 0, n, directions)
        return output, state, state, state.with_shape(*kept, 4 * hidden), state.with_shape(*kept, hidden)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array, Array], x: Array, h0: Array, c0: Array, weight_ih: Array,
        weight_hh: Array, bias: Array, lengths: Array | None = None, *, keep: bool,
    ) -> None:  # fmt: skip
        output, last_h, last_c, gates, cells = out
        for d, states in enumerate(by_direction(output, len(h0))):
            sums = x @ weight_ih[d].T + bias[d]
            h, c = h0[d], c0[d]
            for t, rows in steps(len(x), lengths, reverse=d == 1):
                i, f, g, o = xp.split(sums[t] + h @ weight_hh[d].T, 4, axis=1)
                i, f, g, o = sigmoid(xp, i), sigmoid(xp, f), xp.tanh(g), sigmoid(xp, o)
                cell = f * c + i * g
                new = o * xp.tanh(cell)
                states[t] = chosen(xp, rows, new, 0)
                if keep:
                    gates[t, :, d] = chosen(xp, rows, xp.concatenate((i, f, g, o), axis=1), 0)
                    cells[t, :, d] = chosen(xp, rows, cell, 0)
                h, c = chosen(xp, rows, new, h), chosen(xp, rows, cell, c)
            last_h[d], last_c[d] = h, c

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, h0, c0, weight_ih, weight_hh, bias, lengths, (output, h, c, gates, cells) = node.saved
        if is_recording():
            return layer_gradients(node, lstm_step, g[:3], x, (h0, c0), (weight_ih, weight_hh, bias), lengths)
        grads = or_zeros(g[0], output), or_zeros(g[1], h), or_zeros(g[2], c)
        saved = (output, gates, cells, x, h0, c0, weight_ih, weight_hh)
        return fitted(node, *LSTMSequenceGrad.apply(*grads, *saved, *given(lengths), wants_x=node.needs[0]))


class LSTMSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0, c0, both weights and the bias.

    Without `wants_x`, the first of them has no steps.
    """

    name = "lstm_sequence_grad"
    cpu = staticmethod(cpu_lstm.backward)

    @staticmethod
    def infer(
        g: Spec, g_h: Spec, g_c: Spec, output: Spec, gates: Spec, cells: Spec, x: Spec, h0: Spec, c0: Spec,
        weight_ih: Spec, weight_hh: Spec, lengths: Spec | None = None, *, wants_x: bool,
    ) -> tuple[Spec, ...]:  # fmt: skip
        shapes = (h0.shape, c0.shape, weight_ih.shape, weight_hh.shape, weight_ih.shape[:2])
        g_x = output.with_shape(x.shape[0] if wants_x else 0, *x.shape[1:])
        return (g_x, *[output.with_shape(*shape) for shape in shapes])

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, g_h: Array, g_c: Array, output: Array, gates: Array, cells: Array,
        x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, lengths: Array | None = None,
        *, wants_x: bool,
    ) -> None:  # fmt: skip
        g_x, first_h, first_c, g_weight_ih, g_weight_hh, g_bias = out
        g_x[...] = 0
        above = by_direction(g, len(h0))
        for d, states in enumerate(by_direction(output, len(h0))):
            reverse, g_sums = d == 1, xp.empty_like(gates[:, :, d])
            gh, gc = g_h[d], g_c[d]
            for t, rows in steps(len(g), lengths, not reverse):
                i, f, new, o = xp.split(gates[t, :, d], 4, axis=1)
                squashed = xp.tanh(cells[t, :, d])
                total = gh + above[d][t]
                cell = gc + total * o * (1 - squashed * squashed)
                c = before(xp, t, cells[:, :, d], c0[d], lengths, reverse)
                parts = (
                    cell * new * i * (1 - i), cell * c * f * (1 - f), cell * i * (1 - new * new),
                    total * squashed * o * (1 - o),
                )  # fmt: skip
                g_sums[t] = chosen(xp, rows, xp.concatenate(parts, axis=1), 0)
                gh, gc = chosen(xp, rows, g_sums[t] @ weight_hh[d], gh), chosen(xp, rows, cell * f, gc)
            first_h[d], first_c[d], g_bias[d] = gh, gc, g_sums.sum((0, 1))
            grads = (g_x, g_weight_ih, g_weight_hh)
            write_gradients(xp, d, grads, g_sums, g_sums, x, weight_ih, states, h0, lengths)
