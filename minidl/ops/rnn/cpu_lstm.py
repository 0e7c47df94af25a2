"""The LSTM's formulas for the compiled sweeps: 8 numbers of state cost about 100 vector operations forward, 5 of them
divisions, which run beside the others."""

from __future__ import annotations

from typing import Any

from minidl.device import Array, inline
from minidl.device.vector_math import fma, lanewise, sigmoid, tanh
from minidl.ops.rnn.cpu_sweep import Cell, forward_kernel, sweep
from minidl.ops.rnn.cpu_sweep_back import backward_kernel, sweep_back
from minidl.ops.rnn.cpu_sweep_shared import shared_kernel
from minidl.ops.rnn.cpu_sweep_within import within_kernel


@lanewise
def _open(i: Any, f: Any, g: Any, o: Any) -> Any:
    return sigmoid(i), sigmoid(f), tanh(g), sigmoid(o)


@lanewise
def _next(i: Any, f: Any, g: Any, o: Any, c: Any) -> Any:
    c = fma(f, c, i * g)
    return c, o * tanh(c)


@inline
def advance(room: Array, sums: int, state: int, cell: int, size: int) -> None:
    gates = (sums, sums + size, sums + 2 * size, sums + 3 * size)
    _open(room, gates + gates, size)
    _next(room, (*gates, cell, cell, state), size)


@lanewise
def _slopes(i: Any, f: Any, g: Any, o: Any, c: Any, before: Any, above: Any, carry: Any, g_cell: Any) -> Any:
    squashed, total = tanh(c), above + carry
    cell = fma(total * o, 1 - squashed * squashed, g_cell)
    by_i, by_f = cell * g * i * (1 - i), cell * before * f * (1 - f)
    return by_i, by_f, cell * i * (1 - g * g), total * squashed * o * (1 - o), 0, cell * f


@inline
def retreat(room: Array, memory: int, slopes: int, carry: int, cell: int, size: int) -> None:
    i, f, g, o = memory, memory + size, memory + 2 * size, memory + 3 * size
    c, before, above = memory + 4 * size, memory + 5 * size, memory + 6 * size
    results = (slopes, slopes + size, slopes + 2 * size, slopes + 3 * size, carry, cell)
    _slopes(room, (i, f, g, o, c, before, above, carry, cell, *results), size)


_ORDER = (0, 1, 2, 3)
LSTM = Cell(
    forward_kernel(advance),
    shared_kernel(advance),
    backward_kernel(retreat),
    within_kernel(retreat),
    columns=4,
    order_x=_ORDER,
    order_h=_ORDER,
)


def forward(
    out: tuple[Array, Array, Array, Array, Array], x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array,
    bias: Array, lengths: Array | None = None, *, keep: bool,
) -> None:  # fmt: skip
    output, h, c, gates, cells = out
    h[...], c[...] = h0, c0
    parts = bias.reshape(len(h), 4, -1)
    sweep(LSTM, output, (h, c), (gates, cells), x, weight_ih, weight_hh, parts, lengths)


def backward(
    out: tuple[Array, ...], g: Array, g_h: Array, g_c: Array, output: Array, gates: Array, cells: Array, x: Array,
    h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, lengths: Array | None = None, *, wants_x: bool,
) -> None:  # fmt: skip
    gx, gh, gc, g_ih, g_hh, g_bias = out
    gh[...], gc[...] = g_h, g_c
    saved, starts, weights = (gates, cells), (h0, c0), (weight_ih, weight_hh)
    sweep_back(LSTM, gx, (gh, gc), (g_ih, g_hh), (g_bias,), g, output, saved, x, starts, weights, lengths)
