"""Recurrent nets: gates in their order, gradients through all steps.

Shapes: T steps of N rows with I inputs, H hidden numbers. Every cell is written out, for one or three steps.
"""

from __future__ import annotations

import minidl
from tests.minidl.gallery.fault import wrong_gradient, wrong_value

LSTM = (1, 3, 4), (1, 3, 2), (1, 3, 2), (1, 8, 4), (1, 8, 2), (1, 8)
GRU = (1, 3, 4), (1, 3, 2), (1, 6, 4), (1, 6, 2), (1, 6), (1, 6)


def lstm_cell(x, h, c, weight_ih, weight_hh, bias):
    return minidl.lstm_sequence(x, h, c, weight_ih, weight_hh, bias)[0][0]


def gru_cell(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    return minidl.gru_sequence(x, h, weight_ih, weight_hh, bias_ih, bias_hh)[0][0]


@wrong_value(lstm_cell, *LSTM, order=1)
def gates_in_another_order(x, h, c, weight_ih, weight_hh, bias):
    """Weights know no names: whoever reads input, forget, output, cell where they lie as i, f, g, o loads them without
    an error."""
    i, f, o, g = (x[0] @ weight_ih[0].mT + h[0] @ weight_hh[0].mT + bias[0]).split(2, 1)
    c = f.sigmoid() * c[0] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh()


@wrong_value(lstm_cell, *LSTM, order=1)
def forget_gate_inverted(x, h, c, weight_ih, weight_hh, bias):
    """The forget gate says how much is kept: at 1 nothing is forgotten."""
    i, f, g, o = (x[0] @ weight_ih[0].mT + h[0] @ weight_hh[0].mT + bias[0]).split(2, 1)
    c = (1 - f.sigmoid()) * c[0] + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh()


@wrong_gradient(lambda f, c, i, g: f.sigmoid() * c + i.sigmoid() * g.tanh(), (3, 2), (3, 2), (3, 2), (3, 2))
def forget_gate_learns_from_the_input(f, c, i, g):
    """Each gate's gradient has the factor that it lets through: for the forget gate that is the old cell."""
    keep, write, new = f.sigmoid(), i.sigmoid(), g.tanh()

    def pullback(d):
        to_gate = d * new * keep * (1 - keep)
        return to_gate, d * keep, d * new * write * (1 - write), d * write * (1 - new * new)

    return keep * c + write * new, pullback


@wrong_value(gru_cell, *GRU, order=1)
def reset_before_the_matrix(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """The paper resets the state before the matrix, the fast form after it: both are GRUs, but they do not share
    weights."""
    r, z, n = (x[0] @ weight_ih[0].mT + bias_ih[0]).split(2, 1)
    hr, hz, _ = (h[0] @ weight_hh[0].mT + bias_hh[0]).split(2, 1)
    r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
    n = (n + (r * h[0]) @ weight_hh[0, 4:].mT + bias_hh[0, 4:]).tanh()
    return (1 - z) * n + z * h[0]


@wrong_value(gru_cell, *GRU, order=1)
def update_gate_inverted(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """One paper's update gate keeps the old state, another's takes the new one: copy the formula with its
    convention."""
    r, z, n = (x[0] @ weight_ih[0].mT + bias_ih[0]).split(2, 1)
    hr, hz, hn = (h[0] @ weight_hh[0].mT + bias_hh[0]).split(2, 1)
    r, z = (r + hr).sigmoid(), (z + hz).sigmoid()
    return z * (n + r * hn).tanh() + (1 - z) * h[0]


def swept(x, h, weight):
    """h[t] = tanh(x[t] + h[t - 1] W), three steps."""
    for t in range(3):
        h = (x[t] + h @ weight).tanh()
    return h


@wrong_gradient(swept, (3, 2, 2), (2, 2), (2, 2))
def only_the_last_step_learns(x, h, weight):
    """Every step used the weight, so every step adds to its gradient."""
    h1 = (x[0] + h @ weight).tanh()
    h2 = (x[1] + h1 @ weight).tanh()
    h3 = (x[2] + h2 @ weight).tanh()

    def pullback(g):
        d3 = g * (1 - h3 * h3)
        d2 = (d3 @ weight.mT) * (1 - h2 * h2)
        d1 = (d2 @ weight.mT) * (1 - h1 * h1)
        return minidl.stack([d1, d2, d3]), d1 @ weight.mT, h2.mT @ d3

    return h3, pullback


@wrong_gradient(swept, (3, 2, 2), (2, 2), (2, 2))
def slope_of_one_step_missing(x, h, weight):
    """On its way through time the gradient passes the slope of every step, also of the one in the middle."""
    h1 = (x[0] + h @ weight).tanh()
    h2 = (x[1] + h1 @ weight).tanh()
    h3 = (x[2] + h2 @ weight).tanh()

    def pullback(g):
        d3 = g * (1 - h3 * h3)
        d2 = d3 @ weight.mT
        d1 = (d2 @ weight.mT) * (1 - h1 * h1)
        return minidl.stack([d1, d2, d3]), d1 @ weight.mT, h.mT @ d1 + h1.mT @ d2 + h2.mT @ d3

    return h3, pullback
