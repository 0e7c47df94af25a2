"""glu: one half of the numbers, gated by the sigmoid of the other half.

One pass each way: 12 bytes a number of the result in float32 forward, 20 backward.
"""

from __future__ import annotations

import math
from typing import Any

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, dim_index, is_recording
from minidl.device import kernel, parallel
from minidl.device.layout import dense_order
from minidl.device.pointers import pointer_to, put, taken
from minidl.device.scalar_math import sigmoid as sigmoid_
from minidl.device.turn import contiguous
from minidl.errors import ShapeError
from minidl.ops.activation import sigmoid
from minidl.ops.concat import cat
from minidl.ops.elementwise import float_of
from minidl.ops.views import narrow

__all__ = ["glu"]

FLOATS = ("float32", "float64")


class Glu(AlikeOp):
    """a * sigmoid(b), where a and b are the halves of x along `dim`."""

    name = "glu"
    saves = ("x",)
    strided = True

    @staticmethod
    def infer(x: Spec, *, dim: int) -> Spec:
        return x.with_shape(*x.shape[:dim], x.shape[dim] // 2, *x.shape[dim + 1 :])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        a, b = xp.split(x, 2, axis=dim)
        e = xp.exp(-xp.abs(b))
        xp.multiply(a, xp.where(b >= 0, 1, e) / (1 + e), out=out)

    @staticmethod
    def cpu(out: Array, x: Array, *, dim: int) -> None:
        flat, run = _halves(out, (out, x), dim, out.shape[dim])
        parallel(_gate, out.size // run, *flat, run)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (x,), dim = node.saved, node.params["dim"]
        if not is_recording():
            return (GluGrad.apply(g, x, dim=dim),)
        half = g.shape[dim]
        gate = sigmoid(narrow(x, dim, half, half))
        return (cat([g * gate, g * narrow(x, dim, 0, half) * (gate - gate * gate)], dim),)


class GluGrad(AlikeOp):
    """The gradient of x; for a second derivative it is written in ops instead."""

    name = "glu_grad"
    strided = True

    @staticmethod
    def infer(g: Spec, x: Spec, *, dim: int) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, *, dim: int) -> None:
        a, b = xp.split(x, 2, axis=dim)
        e = xp.exp(-xp.abs(b))
        gate = xp.where(b >= 0, 1, e) / (1 + e)
        out[...] = xp.concatenate([g * gate, g * a * (gate - gate * gate)], axis=dim)

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, *, dim: int) -> None:
        flat, run = _halves(out, (out, g, x), dim, g.shape[dim])
        parallel(_gate_slope, g.size // run, *flat, run)


def _halves(out: Array, arrays: tuple[Array, ...], dim: int, half: int) -> tuple[list[Array], int]:
    """The arrays flat, in the order in which `out` lies, and how many numbers of a half lie side by side there."""
    order = dense_order(out)
    assert order is not None  # results are
    inner = math.prod([out.shape[d] for d in order[order.index(dim) + 1 :]])
    return [contiguous(a.transpose(order)).reshape(-1) for a in arrays], half * inner


@kernel("T[::1], const T[::1], intp", T=FLOATS)
def _gate(begin: int, end: int, out: Array, x: Array, run: int) -> None:
    for unit in range(begin, end):
        places = (pointer_to(out, unit * run), pointer_to(x, 2 * unit * run), pointer_to(x, (2 * unit + 1) * run))
        for i in range(run):
            _, a, b = taken(places, i)
            put(places, i, (a * sigmoid_(b),))


@kernel("T[::1], const T[::1], const T[::1], intp", T=FLOATS)
def _gate_slope(begin: int, end: int, gx: Array, g: Array, x: Array, run: int) -> None:
    for unit in range(begin, end):
        at, beyond = 2 * unit * run, (2 * unit + 1) * run
        places = (pointer_to(gx, at), pointer_to(gx, beyond), pointer_to(g, unit * run), pointer_to(x, at),
                  pointer_to(x, beyond))  # fmt: skip
        for i in range(run):
            _, _, gradient, a, b = taken(places, i)
            gate = sigmoid_(b)
            put(places, i, (gradient * gate, gradient * a * (gate - gate * gate)))


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """The first half along `dim` times the sigmoid of the second. Source: Dauphin et al., ICML 2017.

    Raises:
        ShapeError: if the length is odd.
    """
    if not input.ndim:
        raise ShapeError("glu: a single number has no halves; input needs a dimension")
    d = dim_index("glu", dim, input.ndim)
    if input.shape[d] % 2:
        raise ShapeError(f"glu: dimension {dim} must have an even length, got {input.shape[d]}")
    result: Tensor = Glu.apply(float_of(input), dim=d)
    return result
