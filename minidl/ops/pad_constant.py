"""The border of one value; a width below zero cuts off. The adjoint of either is the other, with zeros.

A row of the result is a stretch of a row of the input between two stretches of the value, so the work is one pass over
memory: 8 bytes a number in float32. Dimensions without a border are merged with those before them.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.padded_line import padded_line
from minidl.device.turn import contiguous

__all__: list[str] = []

FLOATS = ("float32", "float64")
PIECE = 8192  # numbers of a row that are a unit of work
Widths = tuple[int, ...]


class Pad(Op):
    """`before` and `after` each dimension so many times `value`."""

    name = "pad"
    strided = True

    @staticmethod
    def infer(x: Spec, *, before: Widths, after: Widths, value: float) -> Spec:
        return x.with_shape(*[b + n + a for b, n, a in zip(before, x.shape, after, strict=True)])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, before: Widths, after: Widths, value: float) -> None:
        out[...] = value
        widths = [(b, n, n + min(a, 0)) for b, n, a in zip(before, x.shape, after, strict=True)]
        there = tuple([slice(max(b, 0), b + last) for b, _, last in widths])
        out[there] = x[tuple([slice(max(-b, 0), last) for b, _, last in widths])]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return arrays[0].size > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, x: Array, *, before: Widths, after: Widths, value: float) -> None:
        if not out.flags.c_contiguous:
            order = dense_order(out)
            assert order is not None  # results are
            before, after = (tuple([widths[d] for d in order]) for widths in (before, after))
            out, x = out.transpose(order), x.transpose(order)
        units, dims = _rows(x.shape, before, after)
        parallel(_pad_rows, units, out.reshape(-1), contiguous(x).reshape(-1), dims, value)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        before, after = (tuple([-n for n in node.params[side]]) for side in ("before", "after"))
        return (Pad.apply(g, before=before, after=after, value=0.0),)


@functools.lru_cache(maxsize=1024)
def _rows(shape: tuple[int, ...], before: Widths, after: Widths) -> tuple[int, Array]:
    """The units of work, and for each merged dimension its new length, its old length, and the width before it.

    The last line is a row: the last dimension with a border, and all behind it.
    """
    merged = [[1, 1, 0]]
    bordered = 1
    for b, n, a in zip(before, shape, after, strict=True):
        if b or a or merged[-1][0] != merged[-1][1] or merged[-1][2]:
            merged.append([b + n + a, n, b])
        else:
            merged[-1][0] *= n
            merged[-1][1] *= n
        bordered = len(merged) if b or a else bordered
    inner = math.prod([n for n, _, _ in merged[bordered:]])
    dims = np.array(merged[:bordered], np.int64)
    dims[-1] *= inner
    dims = np.concatenate([np.array([[1, 1, 0]]), dims]) if len(dims) == 1 else dims
    return int(dims[:-1, 0].prod() * -(-dims[-1, 0] // PIECE)), dims


@kernel("T[::1], const T[::1], const int64[:, ::1], T", T=FLOATS)
def _pad_rows(begin: int, end: int, out: Array, x: Array, dims: Array, value: float) -> None:
    """One unit is a piece of a row; where the rows around it lie is found anew when their dimension begins anew."""
    last = len(dims) - 1
    length, old, first = dims[last, 0], dims[last, 1], dims[last, 2]
    rows, old_rows, first_row = dims[last - 1, 0], dims[last - 1, 1], dims[last - 1, 2]
    pieces = (length + PIECE - 1) // PIECE
    row, piece = begin // pieces, begin % pieces
    i, around, is_inside = row % rows, np.int64(-1), True
    for _ in range(begin, end):
        if around < 0 or (i == rows and piece == 0):
            i = row % rows
            rest, around, step, is_inside = row // rows, np.int64(0), old_rows * old, True
            for d in range(last - 2, -1, -1):
                j = rest % dims[d, 0] - dims[d, 2]
                rest //= dims[d, 0]
                is_inside = is_inside and 0 <= j < dims[d, 1]
                around += j * step
                step *= dims[d, 1]
            around = max(around, np.int64(0))
        start, line = piece * PIECE, i - first_row
        stop = min(start + PIECE, length)
        begins, ends = min(max(start, first), stop), max(min(stop, first + old), start)
        if not is_inside or not 0 <= line < old_rows or begins >= ends:
            begins = ends = stop
        at = around + line * old + begins - first if begins < ends else np.int64(0)
        padded_line(out, row * length + start, x, at, begins - start, ends - begins, stop - ends, value)
        piece += 1
        if piece == pieces:
            piece = 0
            row += 1
            i += 1
