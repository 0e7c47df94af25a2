"""pad: a border around the last dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.errors import MinidlError, ShapeError
from minidl.ops.indexing import index_select
from minidl.ops.views import basic_slice

__all__ = ["pad"]


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
            cut off, in mode "constant".
        mode: "constant"; "reflect" (mirrored, without the edge), "replicate" (the edge repeated) or "circular".
        value: what a constant border is made of.

    Raises:
        ShapeError: if `pad` has an odd length or too many numbers, or a mirrored border is wider than the image.

    >>> pad(Tensor([1.0, 2.0, 3.0]), (1, 1), mode="reflect")
    tensor([2., 1., 2., 3., 2.])
    """
    if len(pad) % 2 or len(pad) > 2 * input.ndim:
        raise ShapeError(
            f"pad: needs (before, after) for up to {input.ndim} dimensions, last one first, got {tuple(pad)}"
        )
    borders = {input.ndim - 1 - i: (int(pad[2 * i]), int(pad[2 * i + 1])) for i in range(len(pad) // 2)}
    if mode != "constant":
        for dim, (before, after) in borders.items():
            if before or after:
                places = _places(mode, input.shape[dim], before, after)
                input = index_select(input, dim, Tensor.of(input.device.xp.asarray(places)))
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


def _places(mode: str, length: int, before: int, after: int) -> Array:
    """Which element stands at each place of the bordered dimension."""
    places = np.arange(-before, length + after)
    if before < 0 or after < 0:
        raise ShapeError(f"pad: mode {mode!r} cannot cut off, got ({before}, {after})")
    if mode == "replicate":
        return places.clip(0, length - 1)
    if mode == "reflect":
        if max(before, after) >= length:
            raise ShapeError(
                f"pad: a mirrored border of ({before}, {after}) needs more than the {length} elements there are"
            )
        places = np.abs(places)
        return np.where(places >= length, 2 * (length - 1) - places, places)
    if mode == "circular":
        if max(before, after) > length:
            raise ShapeError(
                f"pad: a circular border of ({before}, {after}) goes round {length} elements more than once"
            )
        return places % length
    raise MinidlError(f"pad: mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
