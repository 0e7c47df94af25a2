"""The gated recurrent unit, in the form of PyTorch and cuDNN: the reset gate acts after the product with the weight.

    r, z = sigmoid of their parts of x · W_ihᵀ + b_ih + h · W_hhᵀ + b_hh, in the order r z n
    n = tanh(x · W_inᵀ + b_in + r m)  with  m = h · W_hnᵀ + b_hn
    h' = (1 - z) n + z h

Saved for backward: n, r, z and m, four numbers for each state. Of these m could be had again by one product of
matrices, at a sixth of the forward pass's operations. Nothing is saved when nothing is recorded.

Source: Cho et al., EMNLP 2014; the place of the reset gate is that of version 1 of the paper, arXiv:1406.1078v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, is_recording
from minidl.ops.rnn import cpu_gru
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
from minidl.ops.rnn.unrolled import gru_step, layer_gradients


class GRUSequence(Op):
    """Gives all states, zero on padding, the last one of each row, and what backward needs: n, r, z and m.

    Without `keep`, the latter have no steps.
    """

    name = "gru_sequence"
    saves = ("x", "h0", "weight_ih", "weight_hh", "bias_ih", "bias_hh", "lengths", "out")
    cpu = staticmethod(cpu_gru.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, weight_ih: Spec, weight_hh: Spec, bias_ih: Spec, bias_hh: Spec, lengths: Spec | None = None,
        *, keep: bool,
    ) -> tuple[Spec, Spec, Spec]:  # fmt: skip
        biases = {"bias_ih": bias_ih, "bias_hh": bias_hh}
        output, state = check_shapes("gru_sequence", 3, x, weight_ih, weight_hh, lengths, biases, {"h0": h0})
        directions, n, hidden = state.shape
        return output, state, state.with_shape(x.shape[0] if keep else 0, n, directions, 4 * hidden)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], x: Array, h0: Array, weight_ih: Array, weight_hh: Array,
        bias_ih: Array, bias_hh: Array, lengths: Array | None = None, *, keep: bool,
    ) -> None:  # fmt: skip
        output, last, gates = out
        for d, states in enumerate(by_direction(output, len(h0))):
            sums = x @ weight_ih[d].T + bias_ih[d]
            h = h0[d]
            for t, rows in steps(len(x), lengths, reverse=d == 1):
                x_r, x_z, x_n = xp.split(sums[t], 3, axis=1)
                h_r, h_z, m = xp.split(h @ weight_hh[d].T + bias_hh[d], 3, axis=1)
                r, z = sigmoid(xp, x_r + h_r), sigmoid(xp, x_z + h_z)
                n = xp.tanh(x_n + r * m)
                new = n + z * (h - n)
                states[t] = chosen(xp, rows, new, 0)
                if keep:
                    gates[t, :, d] = chosen(xp, rows, xp.concatenate((n, r, z, m), axis=1), 0)
                h = chosen(xp, rows, new, h)
            last[d] = h

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, h0, weight_ih, weight_hh, bias_ih, bias_hh, lengths, (output, h, gates) = node.saved
        if is_recording():
            return layer_gradients(node, gru_step, g[:2], x, (h0,), (weight_ih, weight_hh, bias_ih, bias_hh), lengths)
        grads = or_zeros(g[0], output), or_zeros(g[1], h)
        saved = (output, gates, x, h0, weight_ih, weight_hh)
        return fitted(node, *GRUSequenceGrad.apply(*grads, *saved, *given(lengths), wants_x=node.needs[0]))


class GRUSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0, weights and biases.

    Without `wants_x`, the first of them has no steps.
    """

    name = "gru_sequence_grad"
    cpu = staticmethod(cpu_gru.backward)

    @staticmethod
    def infer(
        g: Spec, g_h: Spec, output: Spec, gates: Spec, x: Spec, h0: Spec, weight_ih: Spec, weight_hh: Spec,
        lengths: Spec | None = None, *, wants_x: bool,
    ) -> tuple[Spec, ...]:  # fmt: skip
        bias = weight_ih.shape[:2]
        g_x = output.with_shape(x.shape[0] if wants_x else 0, *x.shape[1:])
        return (g_x, *[output.with_shape(*s) for s in (h0.shape, weight_ih.shape, weight_hh.shape, bias, bias)])

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, g_h: Array, output: Array, gates: Array, x: Array, h0: Array,
        weight_ih: Array, weight_hh: Array, lengths: Array | None = None, *, wants_x: bool,
    ) -> None:  # fmt: skip
        g_x, first, g_weight_ih, g_weight_hh, g_bias_ih, g_bias_hh = out
        g_x[...] = 0
        above = by_direction(g, len(h0))
        for d, states in enumerate(by_direction(output, len(h0))):
            g_x_sums, g_h_sums = xp.empty((2, *g.shape[:2], weight_ih.shape[1]), g.dtype)  # they differ in n
            gh = g_h[d]
            for t, rows in steps(len(g), lengths, reverse=d == 0):
                n, r, z, m = xp.split(gates[t, :, d], 4, axis=1)
                h = before(xp, t, states, h0[d], lengths, reverse=d == 1)
                total = gh + above[d][t]
                g_n = total * (1 - z) * (1 - n * n)
                g_z = total * (h - n) * z * (1 - z)
                g_r = g_n * m * r * (1 - r)
                g_x_sums[t] = chosen(xp, rows, xp.concatenate((g_r, g_z, g_n), axis=1), 0)
                g_h_sums[t] = chosen(xp, rows, xp.concatenate((g_r, g_z, g_n * r), axis=1), 0)
                gh = chosen(xp, rows, total * z + g_h_sums[t] @ weight_hh[d], gh)
            first[d], g_bias_ih[d], g_bias_hh[d] = gh, g_x_sums.sum((0, 1)), g_h_sums.sum((0, 1))
            grads = (g_x, g_weight_ih, g_weight_hh)
            write_gradients(xp, d, grads, g_x_sums, g_h_sums, x, weight_ih, states, h0, lengths)
