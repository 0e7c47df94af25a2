"""rnn_sequence, lstm_sequence, gru_sequence: one recurrent layer in one direction over a whole sequence, as one op.

What does not depend on the state, the input's share of the gates, is one large `linear` before the sweep. The sweep
itself, 2·T·N·H·G·H operations for T steps, N rows, H numbers of state and G gates, can only go step by step; its rows
do not know of each other. Backward (BPTT: Werbos, "Backpropagation through time", Proc. IEEE 78, 1990) is a sweep the
other way, after which the gradient of the weight is one product of matrices over all steps and rows at once.

Rows may differ in length: a row's padding, at its end, leaves its state as it is and gives outputs of zero. In reverse
each row starts at its own end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from minidl.core import Tensor, is_recording
from minidl.errors import ArgumentError
from minidl.ops.rnn.elman import RNNSequence
from minidl.ops.rnn.gru import GRUSequence
from minidl.ops.rnn.lstm import LSTMSequence

__all__ = ["gru_sequence", "lstm_sequence", "rnn_sequence"]


def rnn_sequence(
    input: Tensor,
    h0: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    nonlinearity: str = "tanh",
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """h' = tanh(input[t] + h @ weight_hh.T), step by step.

    Args:
        input: (T, N, H), floating: the input of each step times weight_ih, with all biases added.
        h0: (N, H), the state before the first step.
        weight_hh: (H, H).
        lengths: (N,), how many steps each row has, from 1 to T; all T when None.
        nonlinearity: "tanh" or "relu".
        reverse: begin each row at its end.

    Returns:
        The states (T, N, H), zero where a row has no step, and each row's last state (N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T, or another nonlinearity.

    Source: Elman, "Finding structure in time", Cognitive Science 14 (1990).

    >>> rnn_sequence(Tensor([[[1.0]], [[2.0]]]), Tensor([[0.0]]), Tensor([[3.0]]), nonlinearity="relu")[0].flatten()
    tensor([1., 5.])
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(f"rnn_sequence: nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    rows = _lengths("rnn_sequence", input, lengths)
    output, last = RNNSequence.apply(input, h0, weight_hh, *rows, nonlinearity=nonlinearity, reverse=reverse)
    return output, last


def lstm_sequence(
    input: Tensor,
    h0: Tensor,
    c0: Tensor,
    weight_hh: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """A long short-term memory, step by step: gates i f g o = input[t] + h @ weight_hh.T.

    Args:
        input: (T, N, 4 H), floating: the input of each step times weight_ih, with all biases added.
        h0, c0: (N, H), state and cell before the first step.
        weight_hh: (4 H, H).
        lengths, reverse: as in `rnn_sequence`.

    Returns:
        The states h (T, N, H), zero where a row has no step, and each row's last h and c, both (N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997); Gers et al., Neural Computation 12 (2000).
    """
    tensors = (input, h0, c0, weight_hh, *_lengths("lstm_sequence", input, lengths))
    output, h, c, _, _ = LSTMSequence.apply(*tensors, reverse=reverse, keep=_is_differentiated(tensors))
    return output, h, c


def gru_sequence(
    input: Tensor,
    h0: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor,
    lengths: Tensor | Sequence[int] | None = None,
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """A gated recurrent unit, step by step: gates r z n, the reset gate after the product with the weight.

    Args:
        input: (T, N, 3 H), floating: the input of each step times weight_ih, with bias_ih added.
        h0: (N, H), the state before the first step.
        weight_hh: (3 H, H).
        bias_hh: (3 H,); its last part is under the reset gate, so it cannot be added to the input.
        lengths, reverse: as in `rnn_sequence`.

    Returns:
        The states (T, N, H), zero where a row has no step, and each row's last state (N, H).

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: for a length that is not from 1 to T.

    Source: Cho et al., EMNLP 2014.
    """
    tensors = (input, h0, weight_hh, bias_hh, *_lengths("gru_sequence", input, lengths))
    output, last, _ = GRUSequence.apply(*tensors, reverse=reverse, keep=_is_differentiated(tensors))
    return output, last


def _is_differentiated(tensors: Sequence[Tensor]) -> bool:
    return is_recording() and any(t.requires_grad for t in tensors)


def _lengths(name: str, input: Tensor, lengths: Tensor | Sequence[int] | None) -> tuple[Tensor, ...]:
    """The lengths as one more input, checked; none if there are none."""
    if lengths is None:
        return ()
    given = lengths if isinstance(lengths, Tensor) else Tensor.of(np.asarray(lengths, np.int64)).to(input.device)
    if input.ndim and given.numel() and not (given.array.min() >= 1 and given.array.max() <= input.shape[0]):
        raise ArgumentError(
            f"{name}: lengths must be from 1 to the {input.shape[0]} steps of input, "
            f"got {given.array.min()} to {given.array.max()}"
        )
    return (given.to(np.int64) if given.dtype.kind in "iu" else given,)
