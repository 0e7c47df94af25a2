"""Kernels made from a formula for one number: what the houses of element-wise ops have instead of loops.

`each` maps a formula over arrays that lie alike; `each_pair` over two arrays that broadcast. A formula is compiled into
the loop and turned into vector instructions; it is written for one type, so its constants take the type of its argument
(`typed(0.5, x)`). What rounds once only (a sum, a sign) is left to NumPy where arrays are small: the bits are the same,
and a call of a kernel costs 3 us, which is what NumPy takes for `SMALL` numbers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import Kernel, kernel, parallel
from minidl.device.inline import Inline

FLOATS = ("float32", "float64")
SMALL = 8192
ROW = 64  # shorter rows are folded: several count as one


def each(formula: Any, *numbers: str) -> Callable[..., None]:
    """A `cpu` that makes each number of the result from those at the same place of the inputs.

    Args:
        formula: takes one number of each input, then `numbers`.
        numbers: names of parameters of the op, at most two.
    """
    arrays = formula.py_func.__code__.co_argcount - len(numbers)
    run = _LOOPS[arrays, len(numbers)](formula)

    def cpu(out: Array, *inputs: Array, **params: Any) -> None:
        parallel(run, out.size, out.reshape(-1), *[a.reshape(-1) for a in inputs], *[params[n] for n in numbers])

    return cpu


def _one(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1]", T=FLOATS)
    def of_one(begin: int, end: int, out: Array, x: Array) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i])

    return of_one


def _one_with(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], T", T=FLOATS)
    def of_one_with(begin: int, end: int, out: Array, x: Array, a: float) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i], a)

    return of_one_with


def _one_with_two(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], T, T", T=FLOATS)
    def of_one_with_two(begin: int, end: int, out: Array, x: Array, a: float, b: float) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i], a, b)

    return of_one_with_two


def _two(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], const T[::1]", T=FLOATS)
    def of_two(begin: int, end: int, out: Array, x: Array, y: Array) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i], y[i])

    return of_two


def _two_with(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], const T[::1], T", T=FLOATS)
    def of_two_with(begin: int, end: int, out: Array, x: Array, y: Array, a: float) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i], y[i], a)

    return of_two_with


def _two_with_two(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], const T[::1], T, T", T=FLOATS)
    def of_two_with_two(begin: int, end: int, out: Array, x: Array, y: Array, a: float, b: float) -> None:
        for i in range(begin, end):
            out[i] = formula(x[i], y[i], a, b)

    return of_two_with_two


_LOOPS = {
    (1, 0): _one,
    (1, 1): _one_with,
    (1, 2): _one_with_two,
    (2, 0): _two,
    (2, 1): _two_with,
    (2, 2): _two_with_two,
}


def each_pair(formula: Any, ufunc: Any) -> Callable[..., None]:
    """A `cpu` for two inputs that broadcast; in ways that `pattern` does not know, by NumPy's `ufunc`."""
    flat, rows = _two(formula), _rows(formula)

    def cpu(out: Array, x: Array, y: Array) -> None:
        if x.shape == y.shape:
            parallel(flat, out.size, out.reshape(-1), x.reshape(-1), y.reshape(-1))
            return
        found = pattern(x.shape, y.shape)
        if found is None:
            with np.errstate(all="ignore"):
                ufunc(x, y, out=out)
            return
        inner, length, steps = found
        x, y = x.reshape(-1), y.reshape(-1)
        if length < ROW and inner > 1 and steps[0][2] == steps[1][2]:
            x, y, inner, length, steps = _folded(x, y, inner, length, steps)
        parallel(rows, out.size // length, out.reshape(-1), x, y, inner, length, *steps[0], *steps[1])

    return cpu


def _folded(
    x: Array, y: Array, inner: int, length: int, steps: tuple[Steps, Steps]
) -> tuple[Array, Array, int, int, tuple[Steps, Steps]]:
    """Short rows, of which one array has a single one for each matrix: several rows at once, and that one as often."""
    count = 1
    while count * length < ROW and inner % (2 * count) == 0:
        count *= 2
    arrays, new = [], []
    for array, (matrix, row, step) in zip((x, y), steps, strict=True):
        arrays.append(array if row else np.tile(array.reshape(-1, length), count).reshape(-1))
        new.append((matrix if row else matrix * count, row * count, step))
    return arrays[0], arrays[1], inner // count, length * count, (new[0], new[1])


# How far to go in an array for the next matrix, row and number of the result.
Steps = tuple[int, int, int]


@functools.lru_cache(maxsize=1024)
def pattern(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, int, tuple[Steps, Steps]] | None:
    """How C-contiguous arrays of these shapes broadcast, seen as matrices of rows; None if that takes more dimensions.

    Returns:
        The number of rows in a matrix, the length of a row, and the steps of both arrays.

    >>> pattern((8, 16, 32), (16, 1))
    (16, 32, ((512, 32, 1), (0, 1, 0)))
    """
    ndim = max(len(x), len(y))
    x, y = ((1,) * (ndim - len(s)) + s for s in (x, y))
    lengths: list[int] = []
    repeats: list[tuple[bool, bool]] = []
    for a, b in zip(x, y, strict=True):
        if a == b == 1:
            continue
        repeated = (a < b, b < a)
        if repeats and repeats[-1] == repeated:
            lengths[-1] *= max(a, b)
        else:
            lengths.append(max(a, b))
            repeats.append(repeated)
    if len(lengths) > 3:
        return None
    lengths = [1] * (3 - len(lengths)) + lengths
    repeats = [(False, False)] * (3 - len(repeats)) + repeats
    if lengths[1] == 1:  # a single row would be the work of a single thread
        lengths, repeats = _cut(lengths, repeats)
    steps = tuple(
        (
            0 if repeats[0][i] else _size(lengths[1:], repeats[1:], i),
            0 if repeats[1][i] else _size(lengths[2:], repeats[2:], i),
            0 if repeats[2][i] else 1,
        )
        for i in (0, 1)
    )
    return lengths[1], lengths[2], (steps[0], steps[1])


def _cut(lengths: list[int], repeats: list[tuple[bool, bool]]) -> tuple[list[int], list[tuple[bool, bool]]]:
    """One long row as rows of a length that divides it."""
    length = next((n for n in (4096, 2048, 1024, 512, 256) if lengths[2] % n == 0), lengths[2])
    return [lengths[0], lengths[2] // length, length], [repeats[0], repeats[2], repeats[2]]


def _size(lengths: list[int], repeats: list[tuple[bool, bool]], i: int) -> int:
    return math.prod([n for n, repeated in zip(lengths, repeats, strict=True) if not repeated[i]])


def _rows(formula: Inline) -> Kernel:
    @kernel("T[::1], const T[::1], const T[::1], intp, intp, intp, intp, intp, intp, intp, intp", T=FLOATS)
    def of_rows(
        begin: int, end: int, out: Array, x: Array, y: Array, inner: int, length: int,
        x_matrix: int, x_row: int, x_step: int, y_matrix: int, y_row: int, y_step: int,
    ) -> None:  # fmt: skip
        for r in range(begin, end):
            into = out[r * length : (r + 1) * length]
            at_x = r // inner * x_matrix + r % inner * x_row
            at_y = r // inner * y_matrix + r % inner * y_row
            if x_step and y_step:
                a, b = x[at_x : at_x + length], y[at_y : at_y + length]
                for i in range(length):
                    into[i] = formula(a[i], b[i])
            elif x_step:
                a, single = x[at_x : at_x + length], y[at_y]
                for i in range(length):
                    into[i] = formula(a[i], single)
            else:
                single, b = x[at_x], y[at_y : at_y + length]
                for i in range(length):
                    into[i] = formula(single, b[i])

    return of_rows
