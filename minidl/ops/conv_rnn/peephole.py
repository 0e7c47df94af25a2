"""The convolutional LSTM whose gates see the cell, in plain ops: each channel of c has a weight for i, f and o.

Shi et al. give every pixel a weight of its own, which ties a net to one size of images; here a channel shares it.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl.core import Tensor
from minidl.ops.activation import sigmoid, tanh
from minidl.ops.conv_rnn.sequence import same_convolution
from minidl.ops.rnn import row_lengths
from minidl.ops.rnn.unrolled import has_step, unroll
from minidl.ops.views import chunk
from minidl.ops.where import where


def peephole_sequence(
    input: Tensor, h0: Tensor, c0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None,
    bias_hh: Tensor | None, *, weight_ch: Tensor, lengths: Tensor | Sequence[int] | None, reverse: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """`conv_lstm_sequence` with peepholes: `weight_ch` (3, H) times c before for i and f, times c after for o.

    Source: Shi et al., NIPS 2015, eq. 3.
    """
    rows = None if lengths is None else row_lengths("conv_lstm_sequence", input, lengths)
    if rows is not None:
        input = where(has_step(input, rows), input, 0.0)
    to_i, to_f, to_o = (weight_ch[k].reshape(-1, *[1] * (h0.ndim - 2)) for k in range(3))

    def step(of_x: Tensor, of_h: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        i, f, g, o = chunk(of_x + of_h, 4, dim=1)
        before = states[1]
        c = sigmoid(f + to_f * before) * before + sigmoid(i + to_i * before) * tanh(g)
        return sigmoid(o + to_o * c) * tanh(c), c

    of_x = same_convolution(input.flatten(0, 1), weight_ih, bias_ih)
    of_x = of_x.reshape(*input.shape[:2], *of_x.shape[1:])
    return unroll(step, of_x, lambda h: same_convolution(h, weight_hh, bias_hh), (h0, c0), rows, reverse=reverse)
