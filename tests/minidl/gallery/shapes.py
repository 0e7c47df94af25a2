"""Sums, axes and places.

What was spread out in the forward pass must be gathered in backward, along the right axis, to the right place.
"""

from __future__ import annotations

import numpy as np

import minidl
from tests.minidl.gallery.fault import wrong_gradient

ROWS = minidl.tensor([2, 0, 2])  # row 2 is taken twice


@wrong_gradient(minidl.add, (3, 4), (4,))
def bias_learns_from_one_sample(x, bias):
    """A bias that is added to every row gets the sum of the gradients of all rows."""
    return x + bias, lambda g: (g, g[0])


@wrong_gradient(minidl.add, (3, 4), (4,))
def mean_instead_of_sum(x, bias):
    """The mean over the batch belongs into the loss: here it would divide a second time."""
    return x + bias, lambda g: (g, g.mean(0))


@wrong_gradient(minidl.add, (3, 3), (3,))
def summed_along_the_wrong_axis(x, bias):
    """Of a square matrix every axis fits: test with lengths that all differ."""
    return x + bias, lambda g: (g, g.sum(1))


@wrong_gradient(lambda x: minidl.expand(x, 4, 3), (3,))
def one_copy_counts(x):
    """Whoever is copied four times is responsible four times."""
    return minidl.expand(x, 4, 3), lambda g: g[0]


@wrong_gradient(minidl.mean, (3, 4))
def count_forgotten(x):
    """Each of n numbers moves the mean by 1/n."""
    return minidl.mean(x), lambda g: g.expand(3, 4)


@wrong_gradient(lambda x: minidl.amax(x, 1), (3, 4))
def everybody_won(x):
    """Only the largest number moves a maximum; the others could change without anybody noticing."""
    return minidl.amax(x, 1), lambda g: g[:, None].expand(3, 4)


@wrong_gradient(lambda x: minidl.amax(x, 1), (3, 4))
def gradient_to_the_first(x):
    """The place of the maximum must be saved, or found again: it is not where the row begins."""
    zeros = minidl.zeros(3, 3, dtype=x.dtype)
    return minidl.amax(x, 1), lambda g: minidl.cat([g[:, None], zeros], 1)


@wrong_gradient(lambda x: minidl.var(x, 1), (3, 4))
def biased_in_backward(x):
    """Forward divides by n - 1, so backward does: with n the two are 25 % apart for four numbers, and 1 % for a
    hundred."""
    centred = x - x.mean(1, keepdim=True)
    return minidl.var(x, 1), lambda g: g[:, None] * 2 * centred / x.shape[1]


@wrong_gradient(lambda x: minidl.std(x, 1), (3, 4))
def root_not_differentiated(x):
    """The standard deviation is a root of the variance, and the root has a slope of its own, 1 / (2 std)."""
    centred = x - x.mean(1, keepdim=True)
    return minidl.std(x, 1), lambda g: g[:, None] * 2 * centred / (x.shape[1] - 1)


@wrong_gradient(lambda x: minidl.cumsum(x, 1), (3, 4))
def running_sum_not_reversed(x):
    """x[0] is part of every later sum, so its gradient sums from the end."""
    return minidl.cumsum(x, 1), lambda g: minidl.cumsum(g, 1)


@wrong_gradient(lambda x: minidl.prod(x, 1), (3, 4), low=0.0, high=0.0)
def product_divided_by_zero(x):
    """The product of the others is not the whole product divided by x where x is 0."""
    out = minidl.prod(x, 1)
    return out, lambda g: (g * out)[:, None] / x


@wrong_gradient(lambda x: minidl.softmax(x, 1), (3, 4))
def diagonal_only(x):
    """All outputs of a softmax share one sum: raising one input lowers all the other outputs."""
    y = minidl.softmax(x, 1)
    return y, lambda g: g * y * (1 - y)


@wrong_gradient(lambda x: minidl.log_softmax(x, 1), (3, 4))
def normaliser_is_no_constant(x):
    """The logarithm of the sum is subtracted from every output, so it takes its part of every gradient."""
    return minidl.log_softmax(x, 1), lambda g: g


@wrong_gradient(lambda x: minidl.logsumexp(x, 1), (3, 4))
def weights_not_normalised(x):
    """The gradient of a logarithm divides by what it was taken of: the weights of a logsumexp are a softmax."""
    return minidl.logsumexp(x, 1), lambda g: g[:, None] * minidl.exp(x)


@wrong_gradient(lambda x: minidl.permute(x, 2, 0, 1), (3, 3, 3))
def permutation_not_inverted(x):
    """A permutation is undone by its inverse; only swaps of two axes are their own."""
    return minidl.permute(x, 2, 0, 1), lambda g: minidl.permute(g, 2, 0, 1)


@wrong_gradient(lambda x: minidl.roll(x, 1, 0), (4, 3))
def rolled_on_instead_of_back(x):
    """What moved forward must come back."""
    return minidl.roll(x, 1, 0), lambda g: minidl.roll(g, 1, 0)


@wrong_gradient(lambda x: minidl.index_select(x, 0, ROWS), (3, 4))
def repeats_overwrite(x):
    """`a[index] += b` adds once for each place, however often the index names it; `np.add.at` adds every time."""

    def pullback(g):
        out = np.zeros(x.shape)
        out[ROWS.array] += g.array
        return minidl.tensor(out)

    return minidl.index_select(x, 0, ROWS), pullback


@wrong_gradient(lambda table: minidl.embedding(ROWS, table), (5, 4))
def word_counts_once(table):
    """A word that occurs twice in a sentence learns from both places."""

    def pullback(g):
        out = np.zeros(table.shape)
        for row, place in enumerate(ROWS.array):
            out[place] = g.array[row]
        return minidl.tensor(out)

    return minidl.embedding(ROWS, table), pullback


@wrong_gradient(lambda x, source: minidl.index_add(x, 0, ROWS, source), (3, 4), (3, 4))
def gradient_not_gathered(x, source):
    """What was added at places gets the gradient from these places, in the order of the index."""
    return minidl.index_add(x, 0, ROWS, source), lambda g: (g, g)


@wrong_gradient(lambda x: minidl.masked_fill(x, x > 0, 7.0), (3, 4))
def hidden_numbers_learn(x):
    """A number that was replaced has no part in the result."""
    return minidl.masked_fill(x, x > 0, 7.0), lambda g: g


@wrong_gradient(lambda x, y: minidl.where(x > y, x, y), (3, 4), (3, 4))
def branches_swapped(x, y):
    """The condition sends the gradient the way the value came."""
    taken = (x > y).to(x.dtype)
    return minidl.where(x > y, x, y), lambda g: (g * (1 - taken), g * taken)


@wrong_gradient(lambda x, y: minidl.cat([x, y], 1), (2, 3), (2, 3))
def pieces_swapped(x, y):
    """Pieces of equal length can be mixed up without an error: only their numbers tell."""
    return minidl.cat([x, y], 1), lambda g: (g[:, 3:], g[:, :3])


@wrong_gradient(lambda x: minidl.pad(x, (2, 1)), (3, 4))
def cut_off_by_one(x):
    """Padding by 2 on the left and 1 on the right is cut off as it was put on."""
    return minidl.pad(x, (2, 1)), lambda g: g[:, 1:-2]


@wrong_gradient(minidl.matmul, (3, 3), (3, 3))
def matrix_not_transposed(x, weight):
    """For square matrices g W has the right shape as well as g Wᵀ, and the wrong numbers."""
    return x @ weight, lambda g: (g @ weight, x.mT @ g)


@wrong_gradient(minidl.linear, (3, 3), (3, 3))
def weight_gradient_transposed(x, weight):
    """A linear layer keeps its weight as (out, in), so its gradient is gᵀ x."""
    return minidl.linear(x, weight), lambda g: (g @ weight, x.mT @ g)
