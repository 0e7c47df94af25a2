"""rnn_sequence, lstm_sequence, gru_sequence: one recurrent layer over a whole sequence, as one op.

The product of the input with its weight, 2·T·N·I·G·H operations for T steps, N rows, I inputs, H numbers of state and G
gates, waits for nothing. The sweep itself, 2·T·N·H·G·H, can only go step by step; its rows do not know of each
other. Backward (BPTT: Werbos, "Backpropagation through time", Proc. IEEE 78, 1990) is a sweep the other way, after
which the gradients of the weights are products of matrices over all steps and rows at once.

A layer has one direction (D = 1), or two (D = 2), the second from the end: its states stand beside those of the first.
Rows may differ in length: a row's padding, at its end, leaves its state as it is and gives outputs of zero. In the
second direction each row starts at its own end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl.core import Tensor, is_recording
from minidl.errors import ArgumentError
from minidl.ops.matmul import matmul
from minidl.ops.rnn.elman import RNNSequence
from minidl.ops.rnn.gru import GRUSequence
from minidl.ops.rnn.lstm import LSTMSequence
from minidl.ops.rnn.projected import check_projection, projected, with_first_state

__all__ = ["gru_sequence", "lstm_sequence", "projected_lstm_sequence", "rnn_sequence"]


def rnn_sequence(
    input: Tensor,
    h0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    nonlinearity: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h' = tanh(input[t] @ weight_ih.T + h @ weight_hh.T + bias), step by step.

    Args:
        input: (T, N, I), floating.
        h0: (D, N, H), the state before the first step, for 1 or 2 directions.
        weight_ih: (D, H, I).
        weight_hh: (D, H, H).
        bias: (D, H).
        lengths: (N,), how many steps each row has, from 1 to T; all T when None.
        nonlinearity: "tanh" or "relu".

    Returns:
        The states (T, N, D H), zero where a row has no step, and each row's last state (D, N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T, or another nonlinearity.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).

    >>> one, zero = Tensor([[[1.0]]]), Tensor([[0.0]])
    >>> rnn_sequence(Tensor([[[1.0]], [[2.0]]]), one * 0, one, one * 3, zero, nonlinearity="relu")[0].flatten()
    tensor([1., 5.])
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"rnn_sequence: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    rows = _given_lengths("rnn_sequence", input, lengths)
    output, last = RNNSequence.apply(input, h0, weight_ih, weight_hh, bias, *rows, nonlinearity=nonlinearity)
    return output, last


def lstm_sequence(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """A long short-term memory, step by step: gates i f g o = input[t] @ weight_ih.T + h @ weight_hh.T + bias.

    Args:
        input: (T, N, I), floating.
        h0, c0: (D, N, H), state and cell before the first step, for 1 or 2 directions.
        weight_ih: (D, 4 H, I).
        weight_hh: (D, 4 H, H).
        bias: (D, 4 H).
        lengths: as in `rnn_sequence`.

    Returns:
        The states h (T, N, D H), zero where a row has no step, and each row's last h and c, both (D, N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); Gers et al., Neural Computation 12 (2000).
    """
    tensors = (input, h0, c0, weight_ih, weight_hh, bias, *_given_lengths("lstm_sequence", input, lengths))
    output, h, c, _, _ = LSTMSequence.apply(*tensors, keep=_is_differentiated(tensors))
    return output, h, c


def projected_lstm_sequence(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    weight_hr: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`lstm_sequence` with h = weight_hr @ (o * tanh(c)), so that the state h has P numbers where the cell has H.

    Args:
        input, c0, weight_ih, bias, lengths: as in `lstm_sequence`.
        h0: (D, N, P).
        weight_hh: (D, 4 H, P).
        weight_hr: (D, P, H).

    Returns:
        The states h (T, N, D P), and each row's last h (D, N, P) and c (D, N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T.

    Source: Sak, Senior and Beaufays, arXiv:1402.1128.
    """
    check_projection(h0, c0, weight_hh, weight_hr)
    rows = _given_lengths("projected_lstm_sequence", input, lengths)
    if h0.requires_grad or h0.array.any():
        input, weight_ih = with_first_state(input, h0, weight_ih, weight_hh, *rows)
    start = Tensor.of(c0.device.xp.zeros(c0.shape, c0.dtype))
    m, last, c = lstm_sequence(input, start, c0, weight_ih, matmul(weight_hh, weight_hr), bias, *rows)
    return projected(m, weight_hr), matmul(last, weight_hr.mT), c


def gru_sequence(
    input: Tensor,
    h0: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
) -> tuple[Tensor, Tensor]:
    """A gated recurrent unit, step by step: gates r z n, the reset gate after the product with the weight.

    Args:
        input: (T, N, I), floating.
        h0: (D, N, H), the state before the first step, for 1 or 2 directions.
        weight_ih: (D, 3 H, I).
        weight_hh: (D, 3 H, H).
        bias_ih, bias_hh: (D, 3 H); the last part of bias_hh is under the reset gate, so their sum would not do.
        lengths: as in `rnn_sequence`.

    Returns:
        The states (T, N, D H), zero where a row has no step, and each row's last state (D, N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T.

    Source: Cho et al., EMNLP 2014.
    """
    tensors = (input, h0, weight_ih, weight_hh, bias_ih, bias_hh, *_given_lengths("gru_sequence", input, lengths))
    output, last, _ = GRUSequence.apply(*tensors, keep=_is_differentiated(tensors))
    return output, last


def _is_differentiated(tensors: Sequence[Tensor]) -> bool:
    return is_recording() and any(t.requires_grad for t in tensors)


def _given_lengths(name: str, input: Tensor, lengths: Tensor | Sequence[int] | None) -> tuple[Tensor, ...]:
    """The lengths as one more input, checked; none if there are none."""
    return () if lengths is None else (row_lengths(name, input, lengths),)


def row_lengths(name: str, input: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
    """The lengths (N,) of the rows of `input` (T, N, ...) as whole numbers.

    Raises:
        ArgumentError: if one is not from 1 to T.
    """
    given = lengths if isinstance(lengths, Tensor) else Tensor.of(np.asarray(lengths, np.int64)).to(input.device)
    if input.ndim and given.numel() and not (given.array.min() >= 1 and given.array.max() <= input.shape[0]):
        raise ArgumentError(
            f"{name}: lengths must be from 1 to the {input.shape[0]} steps of input, "
            f"got {given.array.min()} to {given.array.max()}"
        )
    return given.to(np.int64) if given.dtype.kind in "iu" else given
