"""The convolutional LSTM and GRU: the formulas of `rnn/lstm.py` and `rnn/gru.py`, with images for rows.

On arrays (N, C, *image) gates lie along the channels. Saved for backward: the LSTM's gates and cells, five numbers for
each number of state, and n r z m of the GRU, four.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.core import Array
from minidl.ops.conv_rnn.pixels import Gates, backward_kernel, forward_kernel
from minidl.ops.conv_rnn.sequence import Cell, ConvSequence, ConvSequenceGrad
from minidl.ops.rnn import cpu_gru, cpu_lstm
from minidl.ops.rnn.sweep import sigmoid
from minidl.ops.rnn.unrolled import gru_step, lstm_step


def _lstm_forward(xp: Any, of_x: Array, of_h: Array, states: Sequence[Array]) -> tuple[tuple[Array, ...], Array]:
    i, f, g, o = xp.split(of_x + of_h, 4, axis=1)
    i, f, g, o = sigmoid(xp, i), sigmoid(xp, f), xp.tanh(g), sigmoid(xp, o)
    c = f * states[1] + i * g
    return (o * xp.tanh(c), c), xp.concatenate((i, f, g, o), axis=1)


def _lstm_backward(
    xp: Any, gates: Array, after: Array, before: Array, g_h: Array, g_c: Array
) -> tuple[Array, Array, Array, Array]:
    i, f, g, o = xp.split(gates, 4, axis=1)
    squashed = xp.tanh(after)
    cell = g_c + g_h * o * (1 - squashed * squashed)
    parts = (
        cell * g * i * (1 - i), cell * before * f * (1 - f), cell * i * (1 - g * g), g_h * squashed * o * (1 - o)
    )  # fmt: skip
    slopes = xp.concatenate(parts, axis=1)
    return slopes, slopes, xp.zeros_like(g_h), cell * f


def _gru_forward(xp: Any, of_x: Array, of_h: Array, states: Sequence[Array]) -> tuple[tuple[Array, ...], Array]:
    x_r, x_z, x_n = xp.split(of_x, 3, axis=1)
    h_r, h_z, m = xp.split(of_h, 3, axis=1)
    r, z = sigmoid(xp, x_r + h_r), sigmoid(xp, x_z + h_z)
    n = xp.tanh(x_n + r * m)
    return (n + z * (states[0] - n),), xp.concatenate((n, r, z, m), axis=1)


def _gru_backward(
    xp: Any, gates: Array, after: Array, before: Array, g_h: Array, g_c: None
) -> tuple[Array, Array, Array, None]:
    n, r, z, m = xp.split(gates, 4, axis=1)
    g_n = g_h * (1 - z) * (1 - n * n)
    g_r, g_z = g_n * m * r * (1 - r), g_h * (before - n) * z * (1 - z)
    of_x, of_h = xp.concatenate((g_r, g_z, g_n), axis=1), xp.concatenate((g_r, g_z, g_n * r), axis=1)
    return of_x, of_h, g_h * z, None


LSTM = Cell(
    parts=4, columns=4, states=2, step=lstm_step, advance=_lstm_forward, retreat=_lstm_backward,
    gates=Gates(
        forward_kernel(cpu_lstm.advance), backward_kernel(cpu_lstm.retreat), columns=4, order_x=(0, 1, 2, 3),
        order_h=(0, 1, 2, 3),
    ),
)  # fmt: skip
GRU = Cell(
    parts=3, columns=4, states=1, step=gru_step, advance=_gru_forward, retreat=_gru_backward,
    gates=Gates(
        forward_kernel(cpu_gru.advance), backward_kernel(cpu_gru.retreat), columns=4, order_x=(2, 0, 1),
        order_h=(0, 1, 2), own=1,
    ),
)  # fmt: skip


class ConvLSTMSequenceGrad(ConvSequenceGrad):
    name = "conv_lstm_sequence_grad"
    images = ("g", "g_h", "g_c", "gates", "kept", "start", "out")
    cell = LSTM


class ConvLSTMSequence(ConvSequence):
    name = "conv_lstm_sequence"
    cell, grad = LSTM, ConvLSTMSequenceGrad


class ConvGRUSequenceGrad(ConvSequenceGrad):
    name = "conv_gru_sequence_grad"
    images = ("g", "g_h", "gates", "kept", "start", "out")
    cell = GRU


class ConvGRUSequence(ConvSequence):
    name = "conv_gru_sequence"
    cell, grad = GRU, ConvGRUSequenceGrad
