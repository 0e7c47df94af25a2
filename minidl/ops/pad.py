"""pad: a border around the last dimensions.

Each dimension has a table that says which number of the input each number of the result repeats, so all modes and
layouts have one kernel: a row is a copy of a row with its ends added. The way back gathers: each row of the input asks
for the rows that repeat it, in a fixed order. 8 bytes a number each way in float32. (Joined from slices, dimension by
dimension, a border of 2 around 8x32x32² took 9 times as long forward, 8 times with the way back.)
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.lines import add_line, move_line
from minidl.device.turn import contiguous
from minidl.errors import MinidlError, ShapeError
from minidl.ops.pad_constant import Pad, Widths
from minidl.ops.views import narrow

__all__ = ["pad"]

MODES = ("constant", "reflect", "replicate", "circular")
FLOATS = ("float32", "float64")


class PadWithItself(Op):
    """A border of what `x` holds; linear, as its adjoint is."""

    name = "pad_with_itself"
    strided = moves = True

    @staticmethod
    def infer(x: Spec, *, before: Widths, after: Widths, mode: str) -> Spec:
        return x.with_shape(*[b + n + a for b, n, a in zip(before, x.shape, after, strict=True)])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, before: Widths, after: Widths, mode: str) -> None:
        for d, widths in enumerate(zip(before, x.shape, after, strict=True)):
            x = xp.take(x, xp.asarray(_repeated(*widths, mode)), axis=d)
        out[...] = x

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return arrays[0].size > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, x: Array, *, before: Widths, after: Widths, mode: str) -> None:
        order, table = _table(out, x.shape, before, after, mode)
        flat = out.transpose(order).reshape(-1), contiguous(x.transpose(order)).reshape(-1)
        rows = out.size // (int(table.dims[-1, 0]) * table.inner)
        parallel(_copy_rows, rows, *flat, table.dims, table.repeated, table.inner)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (PadAdjoint.apply(g, **node.params),)


class PadAdjoint(Op):
    """The sum of all that repeats a number, for each number."""

    name = "pad_adjoint"
    strided = True

    @staticmethod
    def infer(g: Spec, *, before: Widths, after: Widths, mode: str) -> Spec:
        return g.with_shape(*[n - b - a for b, n, a in zip(before, g.shape, after, strict=True)])

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, before: Widths, after: Widths, mode: str) -> None:
        for d, (b, n, a) in enumerate(zip(before, out.shape, after, strict=True)):
            lines = xp.moveaxis(g, d, 0)
            total = lines[b : b + n].copy()
            for i, j in enumerate(_repeated(b, n, a, mode)):
                if not b <= i < b + n:
                    total[j] += lines[i]
            g = xp.moveaxis(total, 0, d)
        out[...] = g

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return arrays[0].size > 0 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, g: Array, *, before: Widths, after: Widths, mode: str) -> None:
        order, table = _table(out, out.shape, before, after, mode)
        flat = out.transpose(order).reshape(-1), contiguous(g.transpose(order)).reshape(-1)
        rows = out.size // (int(table.dims[-1, 1]) * table.inner)
        parallel(_gather_rows, rows, *flat, *table)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (PadWithItself.apply(g, **node.params),)


class _Table(NamedTuple):
    """How rows are copied; a row runs along the last dimension that has a border, in memory.

    Attributes:
        dims: a line for each dimension, those without a border merged: lengths with and without the border, where its
            part of `repeated` and that of `starts` begin, and the width before.
        repeated: for each number of the result along a dimension the one that it repeats.
        starts, repeats: repeats[starts[j] : starts[j + 1]] are those of the result that repeat number j.
        inner: numbers behind one index of the last dimension.
    """

    dims: Array
    repeated: Array
    starts: Array
    repeats: Array
    inner: int


def _table(
    out: Array, shape: tuple[int, ...], before: Widths, after: Widths, mode: str
) -> tuple[tuple[int, ...], _Table]:
    order = dense_order(out)
    assert order is not None  # results are
    lengths = tuple([(before[d], shape[d], after[d]) for d in order])
    return order, _table_of(lengths, mode)


@functools.lru_cache(maxsize=256)
def _table_of(lengths: tuple[tuple[int, int, int], ...], mode: str) -> _Table:
    merged = [(0, 1, 0)]
    for b, n, a in lengths:
        if not (b or a or merged[-1][0] or merged[-1][2]):
            merged[-1] = (0, merged[-1][1] * n, 0)
        else:
            merged.append((b, n, a))
    bordered = [d for d, (b, _, a) in enumerate(merged) if b or a]
    last = bordered[-1] + 1 if bordered else len(merged)
    around, inner = [(0, 1, 0), *merged[:last]], math.prod([n for _, n, _ in merged[last:]])
    around = around if len(around) == 2 else around[1:]
    lines = [_repeated(*widths, mode) for widths in around]
    dims: list[tuple[int, ...]] = []
    starts: list[Array] = []
    repeats: list[Array] = []
    length = bounds = 0
    for (b, n, _), line in zip(around, lines, strict=True):
        dims.append((len(line), n, length, bounds, b))
        starts.append(length + np.concatenate([[0], np.cumsum(np.bincount(line, minlength=n))]))
        repeats.append(np.argsort(line, kind="stable"))
        length, bounds = length + len(line), bounds + n + 1
    return _Table(np.array(dims), np.concatenate(lines), np.concatenate(starts), np.concatenate(repeats), inner)


def _repeated(before: int, length: int, after: int, mode: str) -> Array:
    """Which number of a line each number of the bordered line repeats."""
    i = np.arange(-before, length + after)
    if mode == "reflect":
        i = np.abs(i)
        return np.where(i < length, i, 2 * (length - 1) - i)
    if mode == "replicate":
        return np.clip(i, 0, length - 1) if length else i
    return i % length if length else i


# A unit is a row; where it begins is found by divisions only when the dimension around it begins anew. What a function
# is given is counted as used at each call, by both threads in turns, so ends are copied here and not in one.
@kernel("T[::1], const T[::1], const int64[:, ::1], const int64[::1], intp", T=FLOATS)
def _copy_rows(begin: int, end: int, out: Array, x: Array, dims: Array, repeated: Array, inner: int) -> None:
    row = len(dims) - 1
    new, old, first, before = dims[row, 0], dims[row, 1], dims[row, 2], dims[row, 4]
    length, around = dims[row - 1, 0], 0
    i = begin % length - 1
    for unit in range(begin, end):
        i += 1
        if unit == begin or i == length:
            i = unit % length
            rest, around, step = unit // length, 0, dims[row - 1, 1] * old * inner
            for d in range(row - 2, -1, -1):
                number = repeated[dims[d, 2] + rest % dims[d, 0]]
                rest //= dims[d, 0]
                around += number * step
                step *= dims[d, 1]
        line, to = repeated[dims[row - 1, 2] + i], unit * new * inner
        at = around + line * old * inner
        move_line(out, to + before * inner, x, at, old * inner)
        for e in range(new - old):
            place = e if e < before else e + old
            number = repeated[first + place]
            if inner == 1:
                out[to + place] = x[at + number]
            else:
                move_line(out, to + place * inner, x, at + number * inner, inner)


@kernel(
    "T[::1], const T[::1], const int64[:, ::1], const int64[::1], const int64[::1], const int64[::1], intp", T=FLOATS
)
def _gather_rows(
    begin: int, end: int, out: Array, g: Array, dims: Array, repeated: Array, starts: Array, repeats: Array, inner: int
) -> None:
    row = len(dims) - 1
    new, old, first, before = dims[row, 0], dims[row, 1], dims[row, 2], dims[row, 4]
    length, span, choices = dims[row - 1, 1], new * inner, 1
    i = begin % length - 1
    for unit in range(begin, end):
        i += 1
        if unit == begin or i == length:
            i, choices, rest = unit % length, 1, unit // length
            for d in range(row - 2, -1, -1):
                j = dims[d, 3] + rest % dims[d, 1]
                rest //= dims[d, 1]
                choices *= starts[j + 1] - starts[j]
        to, line = unit * old * inner, dims[row - 1, 3] + i
        for choice in range(choices):
            rest, left, around, step = unit // length, choice, 0, dims[row - 1, 0] * span
            for d in range(row - 2, -1, -1):
                j = dims[d, 3] + rest % dims[d, 1]
                rest //= dims[d, 1]
                count = starts[j + 1] - starts[j]
                around += repeats[starts[j] + left % count] * step
                left //= count
                step *= dims[d, 0]
            for k in range(starts[line], starts[line + 1]):
                at = around + repeats[k] * span
                if choice == 0 and k == starts[line]:
                    move_line(out, to, g, at + before * inner, old * inner)
                else:
                    add_line(out, to, g, at + before * inner, old * inner)
                for e in range(new - old):
                    place = e if e < before else e + old
                    number = repeated[first + place]
                    if inner == 1:
                        out[to + number] += g[at + place]
                    else:
                        add_line(out, to + number * inner, g, at + place * inner, inner)


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float = 0.0) -> Tensor:
    """`input` with a border.

    Args:
        pad: elements to add (before, after) the last dimension, then the one before it, and so on. Negative numbers
            cut off.
        mode: "constant"; "reflect" (mirrored, without the edge), "replicate" (the edge repeated) or "circular".
        value: what a constant border is made of.

    Raises:
        ShapeError: if `pad` has an odd length or too many numbers, or there is too little of the image for the border.
        MinidlError: for an unknown mode.

    >>> pad(Tensor([1.0, 2.0, 3.0]), (1, 1), mode="reflect")
    tensor([2., 1., 2., 3., 2.])
    """
    if mode not in MODES:
        raise MinidlError(f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    try:
        widths = tuple(map(operator.index, pad))
    except TypeError:
        widths = (0,)  # as wrong as any odd number of them
    if len(widths) % 2 or len(widths) > 2 * input.ndim:
        raise ShapeError(
            f"pad: needs whole numbers (before, after) for up to {input.ndim} dimensions, last one first, got {pad!r}"
        )
    if mode == "constant":
        front, back = _borders(input.shape, widths)
        result: Tensor = Pad.apply(input, before=front, after=back, value=float(value))
        return result
    borders = {input.ndim - 1 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)}
    if min(widths, default=0) >= 0:
        return _continued(input, borders, mode)
    for dim, (before, after) in borders.items():
        if mode == "circular":  # a circle closes over what is left
            input = _cut(input, dim, max(-before, 0), max(-after, 0))
        input = _continued(input, {dim: (max(before, 0), max(after, 0))}, mode)
        if mode != "circular":
            input = _cut(input, dim, max(-before, 0), max(-after, 0))
    return input


@functools.lru_cache(maxsize=1024)
def _borders(shape: tuple[int, ...], widths: Widths) -> tuple[Widths, Widths]:
    """The widths before and after each dimension, from PyTorch's list."""
    pairs = [*zip(widths[::2], widths[1::2], strict=True)] + [(0, 0)] * (len(shape) - len(widths) // 2)
    if any(max(-b, 0) + max(-a, 0) > n for (b, a), n in zip(pairs, reversed(shape), strict=True)):
        raise ShapeError(f"pad: {widths} cuts off more than there is of shape {shape}")
    return tuple([b for b, _ in reversed(pairs)]), tuple([a for _, a in reversed(pairs)])


def _cut(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """x without so many elements at its ends."""
    length = x.shape[dim] - before - after
    if length < 0:
        raise ShapeError(f"pad: cuts off {before} and {after} of dimension {dim}, which is {x.shape[dim]} long")
    return narrow(x, dim, before, length) if before or after else x


def _continued(x: Tensor, borders: dict[int, tuple[int, int]], mode: str) -> Tensor:
    """x with borders made of its own numbers."""
    for dim, (before, after) in borders.items():
        length = x.shape[dim]
        widest = {"reflect": max(length - 1, 0), "circular": length, "replicate": max(before, after) if length else 0}
        if max(before, after) > widest[mode]:
            raise ShapeError(
                f"pad: mode {mode!r} can add 0 to {widest[mode]} elements on each side of dimension {dim} of length "
                f"{length}, got ({before}, {after})"
            )
    front, back = (tuple(borders.get(d, (0, 0))[side] for d in range(x.ndim)) for side in (0, 1))
    if not any(front) and not any(back):
        return x
    result: Tensor = PadWithItself.apply(x, before=front, after=back, mode=mode)
    return result
