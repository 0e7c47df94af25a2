"""pad: a border around the last dimensions."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.errors import MinidlError, ShapeError
from minidl.ops.concat import cat
from minidl.ops.views import basic_slice, expand, flip, narrow

__all__ = ["pad"]

MODES = ("constant", "reflect", "replicate", "circular")


class Pad(Op):
    """A border of one value."""

    name = "pad"

    @staticmethod
    def infer(x: Spec, *, before: tuple[int, ...], after: tuple[int, ...], value: float) -> Spec:
        return x.with_shape(*[b + n + a for b, n, a in zip(before, x.shape, after, strict=True)])

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, *, before: tuple[int, ...], after: tuple[int, ...], value: float
    ) -> None:
        out[...] = value
        out[tuple(slice(b, b + n) for b, n in zip(before, x.shape, strict=True))] = x

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        starts, shape = node.params["before"], node.specs[0].shape
        return (basic_slice(g, tuple(slice(b, b + n) for b, n in zip(starts, shape, strict=True))),)


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
        widths = [operator.index(p) for p in pad]
    except TypeError:
        widths = [0]  # as wrong as any odd number of them
    if len(widths) % 2 or len(widths) > 2 * input.ndim:
        raise ShapeError(
            f"pad: needs whole numbers (before, after) for up to {input.ndim} dimensions, last one first, got {pad!r}"
        )
    borders = {input.ndim - 1 - i: (widths[2 * i], widths[2 * i + 1]) for i in range(len(widths) // 2)}
    if mode != "constant":
        for dim, (before, after) in borders.items():
            if before or after:
                if mode == "circular":  # a circle closes over what is left
                    input = _cut(input, dim, max(-before, 0), max(-after, 0))
                input = _continued(input, dim, max(before, 0), max(after, 0), mode)
                if mode != "circular":
                    input = _cut(input, dim, max(-before, 0), max(-after, 0))
        return input
    cut = {d: (max(-b, 0), max(-a, 0)) for d, (b, a) in borders.items()}
    if any(sum(cut[d]) > input.shape[d] for d in cut):
        raise ShapeError(f"pad: {tuple(pad)} cuts off more than there is of shape {input.shape}")
    if any(any(c) for c in cut.values()):
        input = basic_slice(
            input, tuple(slice(cut.get(d, (0, 0))[0], n - cut.get(d, (0, 0))[1]) for d, n in enumerate(input.shape))
        )
    front, back = (tuple(max(borders.get(d, (0, 0))[side], 0) for d in range(input.ndim)) for side in (0, 1))
    result: Tensor = Pad.apply(input, before=front, after=back, value=float(value))
    return result


def _cut(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """x without so many elements at its ends."""
    length = x.shape[dim] - before - after
    if length < 0:
        raise ShapeError(f"pad: cuts off {before} and {after} of dimension {dim}, which is {x.shape[dim]} long")
    return narrow(x, dim, before, length)


def _continued(x: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    """x between a piece made of its own beginning and end."""
    length = x.shape[dim]
    most = {"reflect": max(length - 1, 0), "circular": length, "replicate": max(before, after) if length else 0}[mode]
    if min(before, after) < 0 or max(before, after) > most:
        raise ShapeError(
            f"pad: mode {mode!r} can add 0 to {most} elements on each side of dimension {dim} of length {length}, "
            f"got ({before}, {after})"
        )
    if mode == "reflect":
        front = flip(narrow(x, dim, 1, before), dim)
        back = flip(narrow(x, dim, length - 1 - after, after), dim)
    elif mode == "circular":
        front, back = narrow(x, dim, length - before, before), narrow(x, dim, 0, after)
    else:
        front, back = (
            expand(narrow(x, dim, place, 1), (*x.shape[:dim], width, *x.shape[dim + 1 :]))
            for place, width in ((0, before), (length - 1, after))
        )
    return cat([front, x, back], dim)
