"""Kernels that pick along a dimension, that join numbers into the places that an index names along it, or as they run.

Arrays are (A, n, B): what lies before the dimension, the dimension, and what lies behind it. An index names no place of
another column (a, b), so threads share out columns, 16 neighbours at a time, and within each the numbers come in order:
the bits are those of the references, on any number of threads. A number costs a read of its index (8 bytes) and of
itself, and a read and a write where it goes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import Kernel, inline, kernel, parallel

FLOATS = ("float32", "float64")
_COLUMNS = 16  # for a unit of work


def fits(x_shape: tuple[int, ...], index: Array, dim: int) -> bool:
    """Whether the kernels take an index into an array of `x_shape`: int64, not empty, and as long but along `dim`."""
    alike = all(n == m for axis, (n, m) in enumerate(zip(x_shape, index.shape, strict=True)) if axis != dim)
    return alike and index.dtype == np.int64 and index.size > 0


def pick(out: Array, x: Array, index: Array, dim: int) -> None:
    """out[a, k, b] = x[a, index[a, k, b], b]."""
    before, behind = math.prod(index.shape[:dim]), math.prod(index.shape[dim + 1 :])
    rows = before * index.shape[dim]
    numbers = index.shape[dim], x.shape[dim], behind
    parallel(_pick, rows, out.reshape(-1), x.reshape(-1), index.reshape(-1), *numbers, size=out.nbytes + index.nbytes)


def join(how: str, out: Array, src: Array, index: Array, dim: int) -> None:
    """out[a, index[a, k, b], b] becomes itself joined with src[a, k, b]: "sum", "prod", "amax" or "amin"."""
    before, behind = math.prod(index.shape[:dim]), math.prod(index.shape[dim + 1 :])
    units = before * -(-behind // _COLUMNS)
    numbers = index.shape[dim], out.shape[dim], behind
    parallel(_JOIN[how], units, out.reshape(-1), src.reshape(-1), index.reshape(-1), *numbers, block=1)


@kernel("T[::1], const T[::1], const int64[::1], intp, intp, intp", T=FLOATS)
def _pick(begin: int, end: int, out: Any, x: Any, index: Any, steps: int, length: int, behind: int) -> None:
    for row in range(begin, end):
        first = row // steps * length
        for b in range(behind):
            at = row * behind + b
            out[at] = x[(first + index[at]) * behind + b]


def _joining(formula: Callable[[Any, Any], Any]) -> Kernel:
    rule = inline(formula)

    @kernel("T[::1], const T[::1], const int64[::1], intp, intp, intp", T=FLOATS)
    def join_along(begin: int, end: int, out: Any, src: Any, index: Any, steps: int, length: int, behind: int) -> None:
        pieces = (behind + _COLUMNS - 1) // _COLUMNS
        for unit in range(begin, end):
            a, first = unit // pieces, unit % pieces * _COLUMNS
            for k in range(steps):
                row = (a * steps + k) * behind
                for b in range(first, min(first + _COLUMNS, behind)):
                    place = (a * length + index[row + b]) * behind + b
                    out[place] = rule(out[place], src[row + b])

    return join_along


def run_along(how: str, out: Array, x: Array, dim: int) -> None:
    """out[a, k, b] = x[a, 0, b] to x[a, k, b] joined in order: "sum" or "prod"."""
    before, behind = math.prod(x.shape[:dim]), math.prod(x.shape[dim + 1 :])
    units = before * -(-behind // _COLUMNS)
    parallel(_RUN[how], units, out.reshape(-1), x.reshape(-1), x.shape[dim], behind)


def _running(formula: Callable[[Any, Any], Any]) -> Kernel:
    rule = inline(formula)

    @kernel("T[::1], const T[::1], intp, intp", T=FLOATS)
    def run_columns(begin: int, end: int, out: Any, x: Any, steps: int, behind: int) -> None:
        pieces = (behind + _COLUMNS - 1) // _COLUMNS
        for unit in range(begin, end):
            first = unit // pieces * steps * behind + unit % pieces * _COLUMNS
            count = min(_COLUMNS, behind - unit % pieces * _COLUMNS)
            if behind == 1:
                total = x[first]
                out[first] = total
                for at in range(first + 1, first + steps):
                    total = rule(total, x[at])
                    out[at] = total
                continue
            for b in range(count):
                out[first + b] = x[first + b]
            for k in range(1, steps):
                at = first + k * behind
                for b in range(count):
                    out[at + b] = rule(out[at - behind + b], x[at + b])

    return run_columns


def _sum(old: Any, new: Any) -> Any:
    return old + new


def _product(old: Any, new: Any) -> Any:
    return old * new


def _larger(old: Any, new: Any) -> Any:
    return new if new > old or new != new else old


def _smaller(old: Any, new: Any) -> Any:
    return new if new < old or new != new else old


_JOIN = {"sum": _joining(_sum), "prod": _joining(_product), "amax": _joining(_larger), "amin": _joining(_smaller)}
_RUN = {"sum": _running(_sum), "prod": _running(_product)}
