"""Memory that belongs to somebody else.

The numbers are right once. What is wrong is who they are taken from, or what is left behind.
"""

from __future__ import annotations

import minidl
from tests.minidl.gallery.fault import wrong_gradient, wrong_kernel


@wrong_gradient(minidl.square, (3, 4), by="purity")
def given_gradient_overwritten(x):
    """The gradient that comes in belongs to whoever gave it: another branch may still add it to its own."""
    return x * x, lambda g: g.mul_(2 * x)


@wrong_gradient(minidl.exp, (3, 4), by="purity")
def saved_value_overwritten(x):
    """A buffer that was saved for backward cannot be reused in it: the second backward finds the first one's
    gradient."""
    y = minidl.exp(x)
    kept = y.array.copy()

    def pullback(g):
        kept[...] *= g.array
        return minidl.tensor(kept)

    return y, pullback


@wrong_gradient(minidl.square, (3, 4), by="saved values", saves=False)
def change_of_the_input_unseen(x):
    """An optimiser changes weights in place: what backward still needs must be saved where such changes are noticed."""
    return x * x, lambda g: g * 2 * x


@wrong_kernel("neg", minidl.neg, (3, 4), by="purity")
def input_as_scratch(out, x):
    """An input is not working memory, however convenient: its owner will read it again."""
    x *= -1
    out[...] = x


@wrong_kernel("add", minidl.add, (3, 4), (3, 4), by="memory")
def adds_to_what_was_there(out, x, y):
    """Fresh memory is not zero: it holds what was there before, which is often zero, but not in training."""
    out += x
    out += y


@wrong_kernel("square", minidl.square, (5, 13), by="memory")
def remainder_forgotten(out, x):
    """Vectors of 8 leave up to 7 numbers over, and a size that 8 divides will never tell."""
    flat, result = x.reshape(-1), out.reshape(-1)
    for start in range(0, flat.size - 7, 8):
        result[start : start + 8] = flat[start : start + 8] ** 2


@wrong_kernel("sum", lambda x: minidl.sum(x, 1), (4, 9), by="memory")
def last_row_not_written(out, x, *, dims, keepdim):
    """`range(n - 1)` ends before n - 1, and the last row keeps what memory held."""
    for row in range(len(x) - 1):
        out[row] = x[row].sum()
