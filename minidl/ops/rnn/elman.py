"""The plain recurrent layer: h' = tanh(x · W_ihᵀ + h · W_hhᵀ + b), or relu in the place of tanh.

Saved for backward: the states, which are the result anyway; the slope of tanh is 1 - h'², that of relu h' > 0.
Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, is_recording
from minidl.ops.rnn import cpu_elman
from minidl.ops.rnn.sweep import (
    by_direction,
    check_shapes,
    chosen,
    fitted,
    given,
    one_type,
    or_zeros,
    steps,
    write_gradients,
)
from minidl.ops.rnn.unrolled import layer_gradients, rnn_step


class RNNSequence(Op):
    """Gives all states, zero on padding, and the last one of each row."""

    name = "rnn_sequence"
    saves = ("x", "h0", "weight_ih", "weight_hh", "bias", "lengths", "out")
    cpu = staticmethod(cpu_elman.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, weight_ih: Spec, weight_hh: Spec, bias: Spec, lengths: Spec | None = None,
        *, nonlinearity: str,
    ) -> tuple[Spec, Spec]:  # fmt: skip
        return check_shapes("rnn_sequence", 1, x, weight_ih, weight_hh, lengths, {"bias": bias}, {"h0": h0})

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias: Array,
        lengths: Array | None = None, *, nonlinearity: str,
    ) -> None:  # fmt: skip
        output, last = out
        for d, states in enumerate(by_direction(output, len(h0))):
            sums = x @ weight_ih[d].T + bias[d]
            h = h0[d]
            for t, rows in steps(len(x), lengths, reverse=d == 1):
                total = sums[t] + h @ weight_hh[d].T
                new = xp.tanh(total) if nonlinearity == "tanh" else xp.maximum(total, 0)
                states[t] = chosen(xp, rows, new, 0)
                h = chosen(xp, rows, new, h)
            last[d] = h

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, h0, weight_ih, weight_hh, bias, lengths, (output, last) = node.saved
        if is_recording():
            step = rnn_step(node.params["nonlinearity"])
            return layer_gradients(node, step, g, x, (h0,), (weight_ih, weight_hh, bias), lengths)
        inputs = (or_zeros(g[0], output), or_zeros(g[1], last), output, x, h0, weight_ih, weight_hh, *given(lengths))
        return fitted(node, *RNNSequenceGrad.apply(*inputs, wants_x=node.needs[0], **node.params))


class RNNSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0, both weights and the bias.

    Without `wants_x`, the first of them has no steps.
    """

    name = "rnn_sequence_grad"
    cpu = staticmethod(cpu_elman.backward)

    @staticmethod
    def infer(
        g: Spec, g_last: Spec, output: Spec, x: Spec, h0: Spec, weight_ih: Spec, weight_hh: Spec,
        lengths: Spec | None = None, *, nonlinearity: str, wants_x: bool,
    ) -> tuple[Spec, ...]:  # fmt: skip
        shapes = (h0.shape, weight_ih.shape, weight_hh.shape, weight_ih.shape[:2])
        g_x = output.with_shape(x.shape[0] if wants_x else 0, *x.shape[1:])
        return (g_x, *[output.with_shape(*shape) for shape in shapes])

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and one_type(arrays)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, g_last: Array, output: Array, x: Array, h0: Array,
        weight_ih: Array, weight_hh: Array, lengths: Array | None = None, *, nonlinearity: str, wants_x: bool,
    ) -> None:  # fmt: skip
        g_x, first, g_weight_ih, g_weight_hh, g_bias = out
        g_x[...] = 0
        above = by_direction(g, len(h0))
        for d, states in enumerate(by_direction(output, len(h0))):
            gh, g_sums = g_last[d], xp.empty_like(states)
            for t, rows in steps(len(g), lengths, reverse=d == 0):
                slope = 1 - states[t] * states[t] if nonlinearity == "tanh" else states[t] > 0
                g_sums[t] = chosen(xp, rows, (gh + above[d][t]) * slope, 0)
                gh = chosen(xp, rows, g_sums[t] @ weight_hh[d], gh)
            first[d], g_bias[d] = gh, g_sums.sum((0, 1))
            grads = (g_x, g_weight_ih, g_weight_hh)
            write_gradients(xp, d, grads, g_sums, g_sums, x, weight_ih, states, h0, lengths)
