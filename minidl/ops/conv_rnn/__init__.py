"""conv_lstm_sequence, conv_gru_sequence: recurrent layers whose products with weights are convolutions.

A state is an image of H channels, and the sums of the gates are two convolutions: one of the input, which waits for
nothing and is made for all T steps at once, 2·T·N·P·k·C·G·H operations for N images of P pixels and kernels of k taps,
and one of the state at each step. Between them the gates are one pass over memory. `sequence.py` has the sweep,
`cells.py` the formulas, which are those of `minidl/ops/rnn`, and `pixels.py` the compiled gates.

Kernels have odd lengths and padding that keeps the size of the image; 1 to 3 spatial dimensions are one piece of code.

Source: Shi et al., "Convolutional LSTM network: a machine learning approach for precipitation nowcasting", NIPS 2015;
with GRUs: Ballas et al., "Delving deeper into convolutional networks for learning video representations", ICLR 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

from minidl.core import Tensor, is_recording
from minidl.errors import ShapeError
from minidl.ops.conv_rnn.cells import ConvGRUSequence, ConvLSTMSequence
from minidl.ops.conv_rnn.sequence import ConvSequence
from minidl.ops.rnn import row_lengths
from minidl.ops.rnn.unrolled import has_step
from minidl.ops.where import where

__all__ = ["conv_gru_sequence", "conv_lstm_sequence"]


def conv_lstm_sequence(
    input: Tensor, h0: Tensor, c0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None, lengths: Tensor | Sequence[int] | None = None, *, reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """An LSTM over images: gates i f g o = conv(input[t], weight_ih) + bias_ih + conv(h, weight_hh) + bias_hh.

    Args:
        input: (T, N, C, *image), floating, with 1 to 3 spatial dimensions.
        h0, c0: (N, H, *image), state and cell before the first step.
        weight_ih: (4 H, C, *kernel), all lengths odd.
        weight_hh: (4 H, H, *kernel), likewise.
        bias_ih, bias_hh: (4 H,), or None.
        lengths: (N,), how many steps each row has, from 1 to T; all T when None.
        reverse: go from each row's last step to its first.

    Returns:
        The states h (T, N, H, *image), zero where a row has no step, and each row's last h and c, (N, H, *image).

    Raises:
        ShapeError: if shapes do not fit, or a kernel has an even length.
        ArgumentError: for a length that is not from 1 to T.

    Source: Shi et al., NIPS 2015, eq. 3, without peepholes.
    """
    weights, biases = (weight_ih, weight_hh), (bias_ih, bias_hh)
    output, h, c = _swept(ConvLSTMSequence, input, (h0, c0), weights, biases, lengths, reverse)
    return output, h, c


def conv_gru_sequence(
    input: Tensor, h0: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None, lengths: Tensor | Sequence[int] | None = None, *, reverse: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """A GRU over images: gates r z n, the reset gate after the convolution of the state.

    Args:
        input, bias_ih, bias_hh, lengths, reverse: as in `conv_lstm_sequence`, with 3 H sums.
        h0: (N, H, *image), the state before the first step.
        weight_ih: (3 H, C, *kernel), all lengths odd.
        weight_hh: (3 H, H, *kernel), likewise.

    Returns:
        The states (T, N, H, *image), zero where a row has no step, and each row's last state (N, H, *image).

    Raises:
        ShapeError: if shapes do not fit, or a kernel has an even length.
        ArgumentError: for a length that is not from 1 to T.

    Source: Ballas et al., ICLR 2016, eq. 3 to 6, with the reset gate where `gru_sequence` has it: so the products of a
    step are one convolution.
    """
    output, last = _swept(ConvGRUSequence, input, (h0,), (weight_ih, weight_hh), (bias_ih, bias_hh), lengths, reverse)
    return output, last


def _swept(
    op: type[ConvSequence], input: Tensor, states: Sequence[Tensor], weights: Sequence[Tensor],
    biases: Sequence[Tensor | None], lengths: Tensor | Sequence[int] | None, reverse: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The states of all steps, and the last ones."""
    if input.ndim < 4:
        raise ShapeError(
            f"{op.name}: input must be (steps, batch, channels, *image) with 1 to 3 of the image, got {input.shape}"
        )
    count, batch = input.shape[:2]
    rows = row_lengths(op.name, input, [count] * batch if lengths is None else lengths)
    if lengths is not None:  # whatever padding holds, times a gradient of zero must be zero
        input = where(has_step(input, rows), input, 0.0)
    xp = input.device.xp
    filled = [
        Tensor.of(xp.zeros(w.shape[:1], w.dtype)) if b is None else b for w, b in zip(weights, biases, strict=True)
    ]
    tensors = (input.flatten(0, 1), *weights, *filled, rows, *states)
    keep = is_recording() and any(t.requires_grad for t in tensors)
    output, *rest = op.apply(*tensors, reverse=reverse, keep=keep)
    return output.reshape(count, batch, *output.shape[1:]), *rest[: len(states)]
