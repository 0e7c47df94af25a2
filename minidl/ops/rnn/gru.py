"""The gated recurrent unit, in the form of PyTorch and cuDNN: the reset gate acts after the product with the weight.

    r, z = sigmoid of their parts of x + h · Wᵀ + b, in the order r z n
    n = tanh(x_n + r m)  with  m = h · W_nᵀ + b_n
    h' = (1 - z) n + z h

Saved for backward: r, z, n and m, four numbers for each state. Of these m could be had again by one product of
matrices, at a third of the forward pass's operations. Nothing is saved when nothing is recorded.

Source: Cho et al., EMNLP 2014; the place of the reset gate is that of version 1 of the paper, arXiv:1406.1078v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec
from minidl.errors import ShapeError
from minidl.ops.rnn import cpu_gru
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


class GRUSequence(Op):
    """Gives all states, zero on padding, the last one of each row, and what backward needs: r, z, n and m.

    Without `keep`, the latter have one step only, which every step writes again.
    """

    name = "gru_sequence"
    saves = ("h0", "weight", "lengths", "out")
    cpu = staticmethod(cpu_gru.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, weight: Spec, bias: Spec, lengths: Spec | None = None, *, reverse: bool, keep: bool
    ) -> tuple[Spec, Spec, Spec]:
        state = check_shapes("gru_sequence", 3, x, weight, lengths, h0=h0)
        if bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"gru_sequence: bias_hh must be ({weight.shape[0]},) beside weight_hh {weight.shape}, got {bias.shape}"
            )
        n, hidden = state.shape
        kept = x.shape[0] if keep else 1
        return state.with_shape(x.shape[0], n, hidden), state, state.with_shape(kept, n, 4 * hidden)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and gates_take(arrays, arrays[2])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], x: Array, h0: Array, weight: Array, bias: Array,
        lengths: Array | None = None, *, reverse: bool, keep: bool,
    ) -> None:  # fmt: skip
        output, h, gates = out
        h[...] = h0
        for t, rows in steps(len(x), lengths, reverse):
            x_r, x_z, x_n = xp.split(x[t], 3, axis=1)
            h_r, h_z, m = xp.split(h @ weight.T + bias, 3, axis=1)
            r, z = sigmoid(xp, x_r + h_r), sigmoid(xp, x_z + h_z)
            n = xp.tanh(x_n + r * m)
            new = n + z * (h - n)
            output[t] = chosen(xp, rows, new, 0)
            gates[t * keep] = chosen(xp, rows, xp.concatenate((r, z, n, m), axis=1), 0)
            h[...] = chosen(xp, rows, new, h)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        h0, weight, lengths, (output, h, gates) = node.saved
        grads = or_zeros(g[0], output), or_zeros(g[1], h)
        saved = (output, gates, h0, weight)
        return fitted(node, *GRUSequenceGrad.apply(*grads, *saved, *given(lengths), reverse=node.params["reverse"]))


class GRUSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0, weight and bias."""

    name = "gru_sequence_grad"
    vjp = staticmethod(refuse_second_derivative)
    cpu = staticmethod(cpu_gru.backward)

    @staticmethod
    def infer(
        g: Spec, g_h: Spec, output: Spec, gates: Spec, h0: Spec, weight: Spec, lengths: Spec | None = None,
        *, reverse: bool,
    ) -> tuple[Spec, Spec, Spec, Spec]:  # fmt: skip
        x = output.with_shape(*output.shape[:2], weight.shape[0])
        shapes = (h0.shape, weight.shape, weight.shape[:1])
        return x, *[output.with_shape(*shape) for shape in shapes]  # type: ignore[return-value]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and gates_take(arrays, arrays[5])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array], g: Array, g_h: Array, output: Array, gates: Array, h0: Array,
        weight: Array, lengths: Array | None = None, *, reverse: bool,
    ) -> None:  # fmt: skip
        gx, gh, g_weight, g_bias = out
        g_product = xp.empty_like(gx)  # of h · Wᵀ + b; differs from gx in its third part
        gh[...] = g_h
        for t, rows in steps(len(g), lengths, not reverse):
            r, z, n, m = xp.split(gates[t], 4, axis=1)
            h = before(xp, t, output, h0, lengths, reverse)
            above = gh + g[t]
            g_n = above * (1 - z) * (1 - n * n)
            g_z = above * (h - n) * z * (1 - z)
            g_r = g_n * m * r * (1 - r)
            gx[t] = chosen(xp, rows, xp.concatenate((g_r, g_z, g_n), axis=1), 0)
            g_product[t] = chosen(xp, rows, xp.concatenate((g_r, g_z, g_n * r), axis=1), 0)
            gh[...] = chosen(xp, rows, above * z + g_product[t] @ weight, gh)
        g_weight[...] = weight_gradient(xp, g_product, output, h0, lengths, reverse)
        g_bias[...] = g_product.sum((0, 1))
