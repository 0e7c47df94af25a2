"""The plain recurrent layer: h' = tanh(x + h · Wᵀ), or relu in the place of tanh.

Saved for backward: the states, which are the result anyway; the slope of tanh is 1 - h'², that of relu h' > 0.
Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec
from minidl.ops.rnn import cpu_elman
from minidl.ops.rnn.cpu_product import plain_takes
from minidl.ops.rnn.sweep import (
    check_shapes,
    chosen,
    fitted,
    given,
    or_zeros,
    refuse_second_derivative,
    steps,
    weight_gradient,
)


class RNNSequence(Op):
    """Gives all states, zero on padding, and the last one of each row."""

    name = "rnn_sequence"
    saves = ("h0", "weight", "lengths", "out")
    cpu = staticmethod(cpu_elman.forward)

    @staticmethod
    def infer(
        x: Spec, h0: Spec, weight: Spec, lengths: Spec | None = None, *, nonlinearity: str, reverse: bool
    ) -> tuple[Spec, Spec]:
        state = check_shapes("rnn_sequence", 1, x, weight, lengths, h0=h0)
        return state.with_shape(x.shape[0], *state.shape), state

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and plain_takes(arrays, arrays[1])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], x: Array, h0: Array, weight: Array, lengths: Array | None = None,
        *, nonlinearity: str, reverse: bool,
    ) -> None:  # fmt: skip
        output, h = out
        h[...] = h0
        for t, rows in steps(len(x), lengths, reverse):
            total = x[t] + h @ weight.T
            new = xp.tanh(total) if nonlinearity == "tanh" else xp.maximum(total, 0)
            output[t] = chosen(xp, rows, new, 0)
            h[...] = chosen(xp, rows, new, h)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        h0, weight, lengths, (output, last) = node.saved
        return fitted(
            node,
            *RNNSequenceGrad.apply(
                or_zeros(g[0], output), or_zeros(g[1], last), output, h0, weight, *given(lengths), **node.params
            ),
        )


class RNNSequenceGrad(Op):
    """Backpropagation through time: the gradients of x, h0 and weight."""

    name = "rnn_sequence_grad"
    vjp = staticmethod(refuse_second_derivative)
    cpu = staticmethod(cpu_elman.backward)

    @staticmethod
    def infer(
        g: Spec, g_last: Spec, output: Spec, h0: Spec, weight: Spec, lengths: Spec | None = None,
        *, nonlinearity: str, reverse: bool,
    ) -> tuple[Spec, Spec, Spec]:  # fmt: skip
        return output, output.with_shape(*h0.shape), output.with_shape(*weight.shape)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and plain_takes(arrays, arrays[3])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], g: Array, g_last: Array, output: Array, h0: Array, weight: Array,
        lengths: Array | None = None, *, nonlinearity: str, reverse: bool,
    ) -> None:  # fmt: skip
        gx, gh, g_weight = out
        gh[...] = g_last
        for t, rows in steps(len(g), lengths, not reverse):
            y = output[t]
            slope = 1 - y * y if nonlinearity == "tanh" else y > 0
            gx[t] = chosen(xp, rows, (gh + g[t]) * slope, 0)
            gh[...] = chosen(xp, rows, gx[t] @ weight, gh)
        g_weight[...] = weight_gradient(xp, gx, output, h0, lengths, reverse)
