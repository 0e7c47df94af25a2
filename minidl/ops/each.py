"""Kernels made from a formula for one number: what the houses of element-wise ops have instead of loops.

`each` maps a formula over arrays that lie alike; `each_pair` over two arrays that broadcast (`broadcast_loops.py`). A
formula is compiled into the loop and turned into vector instructions; it is written for one type, so its constants take
the type of its argument (`typed(0.5, x)`). What rounds once only (a sum, a sign) is left to NumPy where arrays are
small: the bits are the same, and a call of a kernel costs 3 us, which is what NumPy takes for `SMALL` numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from minidl.core import Array
from minidl.device import Kernel, kernel, parallel
from minidl.device.inline import Inline
from minidl.ops.broadcast_loops import broadcast_loop, chunks_of

FLOATS = ("float32", "float64")
SMALL = 8192


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


def each_pair(formula: Any) -> Callable[..., None]:
    """A `cpu` for two inputs that broadcast."""
    flat, chunks = _two(formula), broadcast_loop(formula)

    def cpu(out: Array, x: Array, y: Array) -> None:
        if x.shape == y.shape:
            parallel(flat, out.size, out.reshape(-1), x.reshape(-1), y.reshape(-1))
        else:
            count, table = chunks_of(x.shape, y.shape)
            parallel(chunks, count, out.reshape(-1), x.reshape(-1), y.reshape(-1), table)

    return cpu
