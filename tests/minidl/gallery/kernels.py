"""Kernels: ends, orders, types and extremes.

Each is put in the place of the real kernel of an op: `kernel(out, *arrays, **params)`. On a contiguous array of a round
size with kind numbers, all of them are right.
"""

from __future__ import annotations

import numpy as np

import minidl
from tests.minidl.gallery.fault import wrong_kernel


@wrong_kernel("max_pool", lambda x: minidl.max_pool1d(x, 2), (1, 2, 7), by="whole numbers")
def reads_across_the_end_of_a_row(out, x, **window):
    """At an odd width the pairs of a flat buffer run over the end of the row into the next one."""
    flat, (values, places) = x.reshape(-1), out
    values.reshape(-1)[:] = np.maximum(flat[0:11:2], flat[1:12:2])[: values.size]
    places[...] = 0


@wrong_kernel("exp", minidl.exp, (3, 4), by="layouts")
def memory_order_for_index_order(out, x):
    """A transposed array lies in another order: going through memory is right only if both sides lie alike."""
    out.reshape(-1)[:] = np.exp(x.ravel(order="K"))


@wrong_kernel("sub", minidl.sub, (3, 4), (3, 4), by="layouts")
def stride_taken_for_one(out, x, y):
    """An array of every second number has a stride of two; where it begins, and how many there are, is not enough to
    know."""
    start = y if y.base is None else y.base
    flat = start.reshape(-1)[: x.size] if start.size >= x.size else y.reshape(-1)
    out[...] = x - flat.reshape(x.shape)


@wrong_kernel("sum", minidl.sum, (2000,), by="values", low=1.0, high=4.0, expected=np.sum)
def adds_in_half_precision(out, x, *, dims, keepdim):
    """float16 counts to 2048 and no further: 2048 + 1 is 2048, so sums need a wider type than their terms."""
    out[...] = x.astype(np.float16).sum(axis=dims, keepdims=keepdim)


@wrong_kernel("sum", minidl.sum, (1000,), by="threads")
def a_part_for_each_thread(out, x, *, dims, keepdim):
    """Sums depend on their order: cut the work into blocks of one size, not into as many as there are threads."""
    parts = np.array_split(x.reshape(-1), minidl.get_num_threads())
    out[...] = sum(part.sum(dtype=x.dtype) for part in parts)


@wrong_kernel(
    "batch_moments",
    lambda x: minidl.batch_norm(x, None, None, training=True),
    (40, 3),
    by="float32",
    low=10.0,
    high=11.0,
)
def mean_square_minus_squared_mean(out, x):
    """Of two large and nearly equal numbers only the rounding is left: subtract the mean first."""
    mean, var = out
    mean[...] = x.mean(0)
    var[...] = (x * x).mean(0) - mean * mean


@wrong_kernel("relu", minidl.relu, (3, 4), by="special values", special=lambda x: np.maximum(x, 0))
def nan_is_not_positive(out, x):
    """Every comparison with NaN is false: a ReLU that asks x > 0 turns the one sign of trouble into a zero."""
    out[...] = np.where(x > 0, x, 0)


@wrong_kernel("exp", minidl.exp, (3, 4), by="special values", special=np.exp)
def overflow_avoided(out, x):
    """exp(inf) is inf and exp(-inf) is 0: a limit that avoids both gives numbers that look like results."""
    np.exp(np.clip(x, -80, 80), out=out)


@wrong_kernel("hypot", minidl.hypot, (3, 4), (3, 4), by="special values", special=np.hypot)
def square_overflows(out, x, y):
    """The length of (1e200, 1e200) is a number, the square of 1e200 is not: divide by the larger one first."""
    np.sqrt(x * x + y * y, out=out)


@wrong_kernel("expm1", minidl.expm1, (3, 4), by="special values", special=np.expm1)
def what_it_was_made_for(out, x):
    """exp(x) - 1 loses all digits of a small x; the function exists because of them."""
    np.subtract(np.exp(x), 1, out=out)


@wrong_kernel("remainder", minidl.remainder, (3, 4), (3, 4), by="values", expected=np.remainder)
def remainder_of_a_negative(out, x, y):
    """-7 mod 3 is 2 in Python and -1 in C: the sign is that of the divisor, or of the dividend."""
    np.fmod(x, y, out=out)


@wrong_kernel("round", minidl.round, (3, 4), by="values", low=2.5, high=2.5, expected=np.rint, order=0)
def half_away_from_zero(out, x):
    """Halves go to the even number, so that sums of rounded numbers do not drift."""
    out[...] = np.sign(x) * np.floor(np.abs(x) + 0.5)


@wrong_kernel("sqrt", minidl.sqrt, (3, 4), by="values", low=0.1, expected=np.sqrt)
def single_precision_inside(out, x):
    """A kernel for float64 that computes in float32 on the way has float32's digits."""
    out[...] = np.sqrt(x.astype(np.float32))


@wrong_kernel(
    "amax", lambda x: minidl.amax(x, 1), (3, 4), by="values", low=-2.0, high=-1.0, expected=lambda x: x.max(1)
)
def maximum_starts_at_zero(out, x, *, dims, keepdim):
    """The largest of negative numbers is negative: start with the first of them, or with minus infinity."""
    best = np.zeros(len(x), x.dtype)
    for column in x.T:
        best = np.maximum(best, column)
    out[...] = best.reshape(out.shape)


@wrong_kernel(
    "softmax",
    lambda x: minidl.softmax(x, 1),
    (3, 4),
    by="values",
    low=-1000.0,
    high=1000.0,
    expected=lambda x: np.exp(x - x.max(1, keepdims=True)) / np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True),
)
def maximum_not_subtracted(out, x, *, dim):
    """exp(1000) is infinite, and infinity divided by infinity is NaN: subtract the largest, which changes nothing
    else."""
    with np.errstate(all="ignore"):
        powers = np.exp(x)
        np.divide(powers, powers.sum(dim, keepdims=True), out=out)


@wrong_kernel("mean", lambda x: minidl.mean(x, 0), (3, 4), by="size 0")
def at_least_one_row(out, x, *, dims, keepdim):
    """The last batch of a data set may be empty: a loop that takes its first row as a start raises there."""
    total = x[0].copy()
    for row in x[1:]:
        total += row
    out[...] = (total / len(x)).reshape(out.shape)


@wrong_kernel("matmul", minidl.matmul, (5, 7), (7, 3), by="whole numbers")
def last_tile_forgotten(out, x, y):
    """Tiles of four steps leave up to three over: test sizes that are primes."""
    out[...] = 0
    for k in range(0, x.shape[-1] - 3, 4):
        out += x[..., k : k + 4] @ y[..., k : k + 4, :]


@wrong_kernel("add", minidl.add, (3, 4), (4,), by="whole numbers")
def broadcast_by_position(out, x, y):
    """A row that is added to every row begins anew in each of them; counted through, it ends with the first."""
    added = np.zeros(x.size, x.dtype)
    added[: y.size] = y.reshape(-1)
    out[...] = x + added.reshape(x.shape)


_tables: dict[tuple[int, ...], np.ndarray] = {}


@wrong_kernel("sin", minidl.sin, (3, 4), by="jacobian")
def remembered_by_shape(out, x):
    """What depends on the numbers cannot be remembered by their shape: the second call gets the answer of the first."""
    out[...] = _tables.setdefault(x.shape, np.sin(x))


@wrong_kernel("cos", minidl.cos, (3, 4), by="jacobian")
def table_too_coarse(out, x):
    """A table of a thousand angles is right to three digits, and its slope is zero nearly everywhere."""
    np.cos(np.round(x, 3), out=out)
