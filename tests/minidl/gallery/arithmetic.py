"""The chain rule, number by number.

Each function returns its result, which is right, and its pullback: the gradient of the inputs for a gradient `g` of
the result, which is not.
"""

from __future__ import annotations

import minidl
from tests.minidl.gallery.fault import wrong_gradient


@wrong_gradient(minidl.square, (3, 4))
def exponent_forgotten(x):
    """The exponent comes down as a factor: the derivative of x² is 2x, and without the 2 a net still learns, only
    slower."""
    return x * x, lambda g: g * x


@wrong_gradient(lambda x: minidl.sin(3 * x), (3, 4))
def inner_derivative_forgotten(x):
    """The chain rule has two factors: the slope of sin, and the 3 by which its argument moves."""
    return minidl.sin(3 * x), lambda g: g * minidl.cos(3 * x)


@wrong_gradient(minidl.cos, (3, 4))
def sign_lost(x):
    """A gradient of the wrong sign climbs where it should descend, and a small learning rate hides it for a while."""
    return minidl.cos(x), lambda g: g * minidl.sin(x)


@wrong_gradient(minidl.mul, (3, 4), (3, 4))
def one_factor_only(x, y):
    """A product has two inputs, and each gets a gradient: the other one."""
    return x * y, lambda g: (g * y, None)


@wrong_gradient(minidl.div, (3, 4), (3, 4), low=0.5)
def denominator_not_squared(x, y):
    """The derivative of 1/y is -1/y², which only agrees with -1/y where y is 1."""
    return x / y, lambda g: (g / y, -g * x / y)


@wrong_gradient(minidl.pow, (3, 4), (3, 4), low=0.5)
def logarithm_of_the_wrong_one(x, y):
    """By its exponent, x^y has the derivative x^y log x: the logarithm of the base, not of the exponent."""
    out = x**y
    return out, lambda g: (g * y * x ** (y - 1), g * out * minidl.log(y))


@wrong_gradient(minidl.tanh, (3, 4))
def input_taken_for_result(x):
    """Many derivatives are written with the result, such as 1 - y² for tanh; save that, not the input."""
    return minidl.tanh(x), lambda g: g * (1 - x * x)


@wrong_gradient(minidl.sigmoid, (3, 4))
def half_of_the_slope(x):
    """The slope of a sigmoid is y (1 - y); where it saturates, the forgotten half is nearly 1 and nobody notices."""
    y = minidl.sigmoid(x)
    return y, lambda g: g * y


@wrong_gradient(minidl.relu, (3, 4), by="gradient")
def gate_asks_the_gradient(x):
    """What a ReLU lets back is decided by its input, not by the sign of the gradient that arrives."""
    return minidl.relu(x), lambda g: minidl.where(g > 0, g, 0.0)


@wrong_gradient(lambda x: minidl.clamp(x, -1.0, 0.5), (3, 4))
def straight_through(x):
    """Where clamp holds the value, the result does not move, so nothing may come back."""
    return minidl.clamp(x, -1.0, 0.5), lambda g: g


@wrong_gradient(minidl.abs, (3, 4))
def sign_of_the_input_ignored(x):
    """|x| falls on the left of zero."""
    return minidl.abs(x), lambda g: g


@wrong_gradient(lambda x: minidl.maximum(x, x), (3, 4))
def both_win_a_tie(x):
    """Where two inputs are equal, the gradient is shared: giving all of it to both counts it twice."""
    return minidl.maximum(x, x), lambda g: g * (x >= x) + g * (x >= x)


@wrong_gradient(lambda x: minidl.where(x > 0, minidl.sqrt(minidl.maximum(x, 0.01)), 0.0), (3, 4))
def branch_not_taken(x):
    """A mask does not save the branch that was not taken: zero times the infinite slope of a root is NaN."""
    slope = 0.5 / minidl.sqrt(x)
    return minidl.where(x > 0, minidl.sqrt(minidl.maximum(x, 0.01)), 0.0), lambda g: g * (x > 0) * slope


@wrong_gradient(lambda x: minidl.pow(x, 2.0), (3,), low=0.0, high=0.0)
def power_by_logarithms(x):
    """x² = exp(2 log x) is no way to differentiate at 0: y · 2 / x is 0 / 0 there, and the slope is simply 0."""
    y = minidl.pow(x, 2.0)
    return y, lambda g: g * y * 2 / x


@wrong_gradient(minidl.norm, (3,), low=0.0, high=0.0, order=1)
def norm_at_zero(x):
    """The norm has a tip at zero, where x / |x| is 0 / 0: choose 0, or one padded row makes all weights NaN."""
    length = minidl.norm(x)
    return length, lambda g: g * x / length


@wrong_gradient(lambda x: x * minidl.sigmoid(x), (3, 4))
def path_detached(x):
    """A value that depends on x has a gradient too: whoever detaches it for a warning or a print cuts the path."""
    gate = minidl.sigmoid(x).detach()
    return x * gate, lambda g: g * gate


@wrong_gradient(lambda x: x + minidl.tanh(x), (3, 4))
def shortcut_forgotten(x):
    """The identity has a gradient of one: it is the reason why residual nets train at all."""
    y = minidl.tanh(x)
    return x + y, lambda g: g * (1 - y * y)


@wrong_gradient(lambda x: x * 2 + x * 5, (3, 4))
def last_use_wins(x):
    """A tensor that is used twice gets the sum of both gradients, not the one that came last."""

    def pullback(g):
        gradients = {}
        for factor in (2, 5):
            gradients["x"] = g * factor
        return gradients["x"]

    return x * 2 + x * 5, pullback


@wrong_gradient(minidl.gelu, (3, 4))
def approximation_differentiated(x):
    """The derivative of an approximation is not that of the function: compute both sides of the pass by one formula."""
    return minidl.gelu(x), lambda g: g * (minidl.sigmoid(1.702 * x) * (1 + 1.702 * x * minidl.sigmoid(-1.702 * x)))


@wrong_gradient(minidl.exp, (3, 4), by="second order")
def second_derivative_dropped(x):
    """A gradient computed from detached values is right once: differentiated again, it is a constant."""
    y = minidl.exp(x).detach()
    return y, lambda g: g * y


@wrong_gradient(minidl.sin, (3, 4), by="forward mode")
def gradient_clipped_inside(x):
    """Backward is linear in the gradient it is given: clipping belongs to the optimiser, not into an op."""
    return minidl.sin(x), lambda g: minidl.clamp(g, -1.0, 1.0) * minidl.cos(x)
