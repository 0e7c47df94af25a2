"""The GRU's formulas for the compiled sweeps.

Its sums have four parts: n, which the input gives, r and z, to which both add, and m = h · W_nᵀ + b_n, which stays
apart because the reset gate comes between. So the input's product goes to the first three, the state's to the last.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device import Array, inline
from minidl.device.vector_math import fma, lanewise, sigmoid, tanh
from minidl.ops.rnn.cpu_sweep import Cell, forward_kernel, sweep
from minidl.ops.rnn.cpu_sweep_back import backward_kernel, sweep_back
from minidl.ops.rnn.cpu_sweep_shared import shared_kernel
from minidl.ops.rnn.cpu_sweep_within import within_kernel


@lanewise
def _open(r: Any, z: Any) -> Any:
    return sigmoid(r), sigmoid(z)


@lanewise
def _next(n: Any, r: Any, z: Any, m: Any, h: Any) -> Any:
    n = tanh(fma(r, m, n))
    return n, fma(z, h - n, n)


@inline
def advance(room: Array, sums: int, state: int, cell: int, size: int) -> None:
    n, r, z, m = sums, sums + size, sums + 2 * size, sums + 3 * size
    _open(room, (r, z, r, z), size)
    _next(room, (n, r, z, m, state, n, state), size)


@lanewise
def _slopes(n: Any, r: Any, z: Any, m: Any, before: Any, above: Any, carry: Any) -> Any:
    total = above + carry
    by_n = total * (1 - z) * (1 - n * n)
    return by_n, by_n * m * r * (1 - r), total * (before - n) * z * (1 - z), by_n * r, total * z


@inline
def retreat(room: Array, memory: int, slopes: int, carry: int, cell: int, size: int) -> None:
    n, r, z, m = memory, memory + size, memory + 2 * size, memory + 3 * size
    results = (slopes, slopes + size, slopes + 2 * size, slopes + 3 * size, carry)
    _slopes(room, (n, r, z, m, memory + 5 * size, memory + 6 * size, carry, *results), size)


# The rows of a weight are r z n.
GRU = Cell(
    forward_kernel(advance),
    shared_kernel(advance),
    backward_kernel(retreat),
    within_kernel(retreat),
    columns=4,
    order_x=(2, 0, 1),
    order_h=(0, 1, 2),
    own=1,
)


def forward(
    out: tuple[Array, Array, Array], x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array,
    bias_hh: Array, lengths: Array | None = None, *, keep: bool,
) -> None:  # fmt: skip
    output, h, gates = out
    h[...] = h0
    of_x, of_h = bias_ih.reshape(len(h), 3, -1), bias_hh.reshape(len(h), 3, -1)
    parts = np.concatenate((of_x[:, 2:], of_x[:, :2] + of_h[:, :2], of_h[:, 2:]), axis=1)
    sweep(GRU, output, (h,), (gates,), x, weight_ih, weight_hh, parts, lengths)


def backward(
    out: tuple[Array, ...], g: Array, g_h: Array, output: Array, gates: Array, x: Array, h0: Array, weight_ih: Array,
    weight_hh: Array, lengths: Array | None = None, *, wants_x: bool,
) -> None:  # fmt: skip
    gx, gh, g_ih, g_hh, g_bias_ih, g_bias_hh = out
    gh[...] = g_h
    g_weights, g_biases, weights = (g_ih, g_hh), (g_bias_ih, g_bias_hh), (weight_ih, weight_hh)
    sweep_back(GRU, gx, (gh,), g_weights, g_biases, g, output, (gates,), x, (h0,), weights, lengths)
