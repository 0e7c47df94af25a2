"""The compiled sweeps of the plain recurrent layer."""

from __future__ import annotations

import numpy as np

from minidl.device import Array, kernel, parallel
from minidl.device.scalar_math import tanh
from minidl.ops.rnn.cpu_product import ROWS, add_product, clear, copy
from minidl.ops.rnn.sweep import all_lengths, weight_gradient


def forward(
    out: tuple[Array, Array], x: Array, h0: Array, weight: Array, lengths: Array | None = None,
    *, nonlinearity: str, reverse: bool,
) -> None:  # fmt: skip
    output, h = out
    h[...] = h0
    packed = np.ascontiguousarray(weight.T)
    rows = all_lengths(x, lengths)
    parallel(_forward, h.shape[0], output, h, x, packed, rows, nonlinearity == "tanh", reverse, block=ROWS)


def backward(
    out: tuple[Array, Array, Array], g: Array, g_last: Array, output: Array, h0: Array, weight: Array,
    lengths: Array | None = None, *, nonlinearity: str, reverse: bool,
) -> None:  # fmt: skip
    gx, gh, g_weight = out
    gh[...] = g_last
    rows = all_lengths(gx, lengths)
    parallel(_backward, gh.shape[0], gx, gh, g, output, weight, rows, nonlinearity == "tanh", reverse, block=ROWS)
    g_weight[...] = weight_gradient(np, gx, output, h0, lengths, reverse)


@kernel(
    "T[:, :, ::1], T[:, ::1], const T[:, :, ::1], const T[:, ::1], const int64[::1], bool, bool",
    T=("float32", "float64"),
)
def _forward(
    begin: int, end: int, output: Array, h: Array, x: Array, weight: Array, lengths: Array, is_tanh: bool, reverse: bool
) -> None:
    for step in range(len(x)):
        t = len(x) - 1 - step if reverse else step
        for n in range(begin, end):
            copy(output[t, n], x[t, n])
        add_product(output[t][begin:end], h[begin:end], weight)
        for n in range(begin, end):
            y = output[t, n]
            if t >= lengths[n]:
                clear(y)
                continue
            if is_tanh:
                for j in range(y.size):
                    y[j] = tanh(y[j])
            else:
                for j in range(y.size):
                    y[j] = 0 if y[j] <= 0 else y[j]
            copy(h[n], y)


@kernel(
    "T[:, :, ::1], T[:, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, ::1], const int64[::1], bool, bool",
    T=("float32", "float64"),
)
def _backward(
    begin: int, end: int, gx: Array, gh: Array, g: Array, output: Array, weight: Array, lengths: Array, is_tanh: bool,
    reverse: bool,
) -> None:  # fmt: skip
    for step in range(len(g)):
        t = step if reverse else len(g) - 1 - step
        for n in range(begin, end):
            total, above, below, y = gx[t, n], g[t, n], gh[n], output[t, n]
            if t >= lengths[n]:
                clear(total)
                continue
            if is_tanh:
                for j in range(y.size):
                    total[j] = (below[j] + above[j]) * (1 - y[j] * y[j])
            else:
                for j in range(y.size):
                    total[j] = below[j] + above[j] if y[j] > 0 else 0
            clear(below)
        add_product(gh[begin:end], gx[t][begin:end], weight)
