"""The compiled sweeps of the LSTM. Short loops with one result each: with more, LLVM finds too many arrays that might
overlap, and leaves the loop a scalar one."""

from __future__ import annotations

import numpy as np

from minidl.device import Array, inline, kernel, parallel
from minidl.device.scalar_math import sigmoid, tanh
from minidl.ops.rnn.cpu_product import ROWS, add_product, clear, copy, state_before
from minidl.ops.rnn.sweep import all_lengths, weight_gradient


def forward(
    out: tuple[Array, Array, Array, Array, Array], x: Array, h0: Array, c0: Array, weight: Array,
    lengths: Array | None = None, *, reverse: bool, keep: bool,
) -> None:  # fmt: skip
    output, h, c, gates, cells = out
    h[...], c[...] = h0, c0
    packed = np.ascontiguousarray(weight.T)
    rows = all_lengths(x, lengths)
    parallel(_forward, h.shape[0], output, h, c, gates, cells, x, packed, rows, reverse, keep, block=ROWS)


def backward(
    out: tuple[Array, Array, Array, Array], g: Array, g_h: Array, g_c: Array, output: Array, gates: Array,
    cells: Array, h0: Array, c0: Array, weight: Array, lengths: Array | None = None, *, reverse: bool,
) -> None:  # fmt: skip
    gx, gh, gc, g_weight = out
    gh[...], gc[...] = g_h, g_c
    rows = all_lengths(gx, lengths)
    parallel(_backward, gh.shape[0], gx, gh, gc, g, gates, cells, c0, weight, rows, reverse, block=ROWS)
    g_weight[...] = weight_gradient(np, gx, output, h0, lengths, reverse)


@kernel(
    "T[:, :, ::1], T[:, ::1], T[:, ::1], T[:, :, ::1], T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], "
    "const int64[::1], bool, bool",
    T=("float32", "float64"),
)
def _forward(
    begin: int, end: int, output: Array, h: Array, c: Array, gates: Array, cells: Array, x: Array, weight: Array,
    lengths: Array, reverse: bool, keep: bool,
) -> None:  # fmt: skip
    for step in range(len(x)):
        t = len(x) - 1 - step if reverse else step
        slot = t if keep else 0
        for n in range(begin, end):
            copy(gates[slot, n], x[t, n])
        add_product(gates[slot][begin:end], h[begin:end], weight)
        for n in range(begin, end):
            if t < lengths[n]:
                _next_state(h[n], c[n], gates[slot, n])
                copy(output[t, n], h[n])
                copy(cells[slot, n], c[n])
            else:
                clear(output[t, n])
                clear(cells[slot, n])
                clear(gates[slot, n])


@inline
def _next_state(h: Array, c: Array, gates: Array) -> None:
    """Gates from their sums, in place, and h and c from gates."""
    hidden = h.size
    i, f, g, o = gates[:hidden], gates[hidden : 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
    for j in range(2 * hidden):
        gates[j] = sigmoid(gates[j])
    for j in range(hidden):
        g[j] = tanh(g[j])
    for j in range(hidden):
        o[j] = sigmoid(o[j])
    for j in range(hidden):
        c[j] = f[j] * c[j] + i[j] * g[j]
    for j in range(hidden):
        h[j] = o[j] * tanh(c[j])


@kernel(
    "T[:, :, ::1], T[:, ::1], T[:, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], "
    "const T[:, ::1], const int64[::1], bool",
    T=("float32", "float64"),
)
def _backward(
    begin: int, end: int, gx: Array, gh: Array, gc: Array, g: Array, gates: Array, cells: Array, c0: Array,
    weight: Array, lengths: Array, reverse: bool,
) -> None:  # fmt: skip
    squashed = np.empty(gh.shape[1], gh.dtype)
    for step in range(len(g)):
        t = step if reverse else len(g) - 1 - step
        for n in range(begin, end):
            if t >= lengths[n]:
                clear(gx[t, n])
                continue
            c = state_before(cells, c0, t, n, lengths[n], reverse)
            cell = cells[t, n]
            for j in range(squashed.size):
                squashed[j] = tanh(cell[j])
            _gate_gradients(gx[t, n], gh[n], gc[n], g[t, n], gates[t, n], squashed, c)
        add_product(gh[begin:end], gx[t][begin:end], weight)


@inline
def _gate_gradients(gx: Array, gh: Array, gc: Array, g: Array, gates: Array, squashed: Array, c: Array) -> None:
    """The gradients of the sums under the four gates; gc goes on to the step before, gh starts from zero."""
    hidden = gh.size
    i, f, new, o = gates[:hidden], gates[hidden : 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
    g_i, g_f, g_new, g_o = gx[:hidden], gx[hidden : 2 * hidden], gx[2 * hidden : 3 * hidden], gx[3 * hidden :]
    for j in range(hidden):
        gh[j] += g[j]
    for j in range(hidden):
        gc[j] += gh[j] * o[j] * (1 - squashed[j] * squashed[j])
    for j in range(hidden):
        g_o[j] = gh[j] * squashed[j] * o[j] * (1 - o[j])
    for j in range(hidden):
        g_i[j] = gc[j] * new[j] * i[j] * (1 - i[j])
    for j in range(hidden):
        g_f[j] = gc[j] * c[j] * f[j] * (1 - f[j])
    for j in range(hidden):
        g_new[j] = gc[j] * i[j] * (1 - new[j] * new[j])
    for j in range(hidden):
        gc[j] *= f[j]
    clear(gh)
