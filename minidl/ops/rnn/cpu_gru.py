"""The compiled sweeps of the GRU, in short loops with one result each, as in `cpu_lstm.py`."""

from __future__ import annotations

import numpy as np

from minidl.device import Array, inline, kernel, parallel
from minidl.device.scalar_math import sigmoid, tanh
from minidl.ops.rnn.cpu_product import ROWS, add_product, clear, copy, state_before
from minidl.ops.rnn.sweep import all_lengths, weight_gradient


def forward(
    out: tuple[Array, Array, Array], x: Array, h0: Array, weight: Array, bias: Array, lengths: Array | None = None,
    *, reverse: bool, keep: bool,
) -> None:  # fmt: skip
    output, h, gates = out
    h[...] = h0
    packed = np.ascontiguousarray(weight.T)
    rows = all_lengths(x, lengths)
    parallel(_forward, h.shape[0], output, h, gates, x, packed, bias, rows, reverse, keep, block=ROWS)


def backward(
    out: tuple[Array, Array, Array, Array], g: Array, g_h: Array, output: Array, gates: Array, h0: Array,
    weight: Array, lengths: Array | None = None, *, reverse: bool,
) -> None:  # fmt: skip
    gx, gh, g_weight, g_bias = out
    g_product = np.empty_like(gx)
    gh[...] = g_h
    rows = all_lengths(gx, lengths)
    parallel(_backward, gh.shape[0], gx, g_product, gh, g, output, gates, h0, weight, rows, reverse, block=ROWS)
    g_weight[...] = weight_gradient(np, g_product, output, h0, lengths, reverse)
    g_bias[...] = g_product.sum((0, 1))


@kernel(
    "T[:, :, ::1], T[:, ::1], T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], const T[::1], const int64[::1], "
    "bool, bool",
    T=("float32", "float64"),
)
def _forward(
    begin: int, end: int, output: Array, h: Array, gates: Array, x: Array, weight: Array, bias: Array, lengths: Array,
    reverse: bool, keep: bool,
) -> None:  # fmt: skip
    product = np.empty((end - begin, bias.size), bias.dtype)
    for step in range(len(x)):
        t = len(x) - 1 - step if reverse else step
        slot = t if keep else 0
        for n in range(end - begin):
            copy(product[n], bias)
        add_product(product, h[begin:end], weight)
        for n in range(begin, end):
            if t < lengths[n]:
                _next_state(h[n], gates[slot, n], x[t, n], product[n - begin])
                copy(output[t, n], h[n])
            else:
                clear(output[t, n])
                clear(gates[slot, n])


@inline
def _next_state(h: Array, gates: Array, x: Array, product: Array) -> None:
    """The gates r, z, n and m, and h from them."""
    hidden = h.size
    r, z, new, m = gates[:hidden], gates[hidden : 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
    x_new = x[2 * hidden :]
    copy(m, product[2 * hidden :])
    for j in range(2 * hidden):
        gates[j] = sigmoid(x[j] + product[j])
    for j in range(hidden):
        new[j] = tanh(x_new[j] + r[j] * m[j])
    for j in range(hidden):
        h[j] = new[j] + z[j] * (h[j] - new[j])


@kernel(
    "T[:, :, ::1], T[:, :, ::1], T[:, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], "
    "const T[:, ::1], const T[:, ::1], const int64[::1], bool",
    T=("float32", "float64"),
)
def _backward(
    begin: int, end: int, gx: Array, g_product: Array, gh: Array, g: Array, output: Array, gates: Array, h0: Array,
    weight: Array, lengths: Array, reverse: bool,
) -> None:  # fmt: skip
    for step in range(len(g)):
        t = step if reverse else len(g) - 1 - step
        for n in range(begin, end):
            if t >= lengths[n]:
                clear(gx[t, n])
                clear(g_product[t, n])
                continue
            h = state_before(output, h0, t, n, lengths[n], reverse)
            _gate_gradients(gx[t, n], g_product[t, n], gh[n], g[t, n], gates[t, n], h)
        add_product(gh[begin:end], g_product[t][begin:end], weight)


@inline
def _gate_gradients(gx: Array, g_product: Array, gh: Array, g: Array, gates: Array, h: Array) -> None:
    """The gradients of both parts of the sums under the gates; gh keeps what goes past them to the state before."""
    hidden = gh.size
    r, z, new, m = gates[:hidden], gates[hidden : 2 * hidden], gates[2 * hidden : 3 * hidden], gates[3 * hidden :]
    g_r, g_z, g_new = gx[:hidden], gx[hidden : 2 * hidden], gx[2 * hidden :]
    for j in range(hidden):
        gh[j] += g[j]
    for j in range(hidden):
        g_new[j] = gh[j] * (1 - z[j]) * (1 - new[j] * new[j])
    for j in range(hidden):
        g_z[j] = gh[j] * (h[j] - new[j]) * z[j] * (1 - z[j])
    for j in range(hidden):
        g_r[j] = g_new[j] * m[j] * r[j] * (1 - r[j])
    copy(g_product[: 2 * hidden], gx)
    reset = g_product[2 * hidden :]
    for j in range(hidden):
        reset[j] = g_new[j] * r[j]
    for j in range(hidden):
        gh[j] *= z[j]
