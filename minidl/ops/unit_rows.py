"""Rows of unit length, and distances between rows: one op each way where a row lies side by side in memory.

A row is read from memory once each way; it stays in the first cache for its length and what is made of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, is_recording
from minidl.device import kernel, parallel
from minidl.device.dtypes import accumulator
from minidl.ops.compare import eq, lt
from minidl.ops.normalize.cpu import FLOATS, long_product
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import sqrt
from minidl.ops.where import where

__all__: list[str] = []  # the functions are in `norms.py`


class UnitRows(AlikeOp):
    """x / max(length, eps) for each row along the last dimension, and the lengths."""

    name = "unit_rows"
    saves = ("x", "out")

    @staticmethod
    def infer(x: Spec, *, eps: float) -> tuple[Spec, Spec]:
        return x, Spec((*x.shape[:-1], 1), accumulator(x.dtype))

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, eps: float) -> None:
        y, length = out
        length[...] = xp.sqrt(xp.sum(xp.square(x), axis=-1, dtype=length.dtype, keepdims=True))
        xp.divide(x, xp.where(length < eps, length.dtype.type(eps), length), out=y)

    @staticmethod
    def cpu(out: tuple[Array, Array], x: Array, *, eps: float) -> None:
        y, length = out
        parallel(_units, length.size, y.reshape(-1), length.reshape(-1), x.reshape(-1), eps)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, (y, length) = node.saved
        if not is_recording():
            return (UnitRowsGrad.apply(g[0], y.detach(), length.detach(), **node.params),)
        eps = node.params["eps"]
        length = sqrt(sum_(x * x, -1, keepdim=True))
        short = lt(length, eps)
        held = where(short, eps, length)
        y = x / held
        return ((g[0] - where(short, 0.0, sum_(g[0] * y, -1, keepdim=True)) * y) / held,)


class UnitRowsGrad(AlikeOp):
    """(g - y * sum(g * y)) / length for each row, g / eps where the row was shorter than that."""

    name = "unit_rows_grad"

    @staticmethod
    def infer(g: Spec, y: Spec, length: Spec, *, eps: float) -> Spec:
        return g

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array, length: Array, *, eps: float) -> None:
        along = xp.sum(g * y, axis=-1, keepdims=True)
        held = xp.where(length < eps, length.dtype.type(eps), length)
        out[...] = (g - xp.where(length < eps, 0, along) * y) / held

    @staticmethod
    def cpu(out: Array, g: Array, y: Array, length: Array, *, eps: float) -> None:
        flat = (a.reshape(-1) for a in (out, g, y, length))
        parallel(_unit_slopes, length.size, *flat, eps)


class RowDistance(AlikeOp):
    """The length of x - y + eps for each row along the last dimension."""

    name = "row_distance"
    saves = ("x", "y", "out")

    @staticmethod
    def infer(x: Spec, y: Spec, *, eps: float) -> Spec:
        return x.with_shape(*x.shape[:-1])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array, *, eps: float) -> None:
        off = x - y + x.dtype.type(eps)
        out[...] = xp.sqrt(xp.sum(xp.square(off), axis=-1, dtype=accumulator(x.dtype)))

    @staticmethod
    def cpu(out: Array, x: Array, y: Array, *, eps: float) -> None:
        parallel(_distances, out.size, out.reshape(-1), x.reshape(-1), y.reshape(-1), x.shape[-1], eps)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y, length = node.saved
        if is_recording():
            zero = eq(length, 0)
            gx = (x - y + node.params["eps"]) * where(zero, 0.0, g / where(zero, 1.0, length)).unsqueeze(-1)
        else:
            gx = RowDistanceGrad.apply(g, x, y, length.detach(), **node.params)
        return gx, -gx if node.needs[1] else None


class RowDistanceGrad(AlikeOp):
    """g * (x - y + eps) / length; 0 where the length is 0. That of y is its negative."""

    name = "row_distance_grad"

    @staticmethod
    def infer(g: Spec, x: Spec, y: Spec, length: Spec, *, eps: float) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, y: Array, length: Array, *, eps: float) -> None:
        zero = length == 0
        factor = xp.where(zero, 0, g / xp.where(zero, 1, length))
        xp.multiply(x - y + x.dtype.type(eps), factor[..., None], out=out)

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, y: Array, length: Array, *, eps: float) -> None:
        flat = (a.reshape(-1) for a in (out, g, x, y, length))
        parallel(_distance_slopes, g.size, *flat, eps)


@kernel("T[::1], T[::1], const T[::1], T", T=FLOATS)
def _units(begin: int, end: int, y: Array, length: Array, x: Array, eps: float) -> None:
    count, zero = len(x) // len(length), x.dtype.type(0)
    for r in range(begin, end):
        first = r * count
        length[r] = np.sqrt(long_product(x, first, zero, x, first, zero, count))
        held = eps if length[r] < eps else length[r]
        a, into = x[first : first + count], y[first : first + count]
        for i in range(count):
            into[i] = a[i] / held


@kernel("T[::1], const T[::1], const T[::1], const T[::1], T", T=FLOATS)
def _unit_slopes(begin: int, end: int, gx: Array, g: Array, y: Array, length: Array, eps: float) -> None:
    count, zero = len(y) // len(length), y.dtype.type(0)
    for r in range(begin, end):
        first, held = r * count, length[r]
        along = y.dtype.type(long_product(g, first, zero, y, first, zero, count))
        if held < eps:
            held, along = eps, zero
        ga, b, into = g[first : first + count], y[first : first + count], gx[first : first + count]
        for i in range(count):
            into[i] = (ga[i] - along * b[i]) / held


@kernel("T[::1], const T[::1], const T[::1], intp, T", T=FLOATS)
def _distances(begin: int, end: int, out: Array, x: Array, y: Array, count: int, eps: float) -> None:
    buffer, zero = np.empty(count, x.dtype), x.dtype.type(0)
    for r in range(begin, end):
        a, b = x[r * count : (r + 1) * count], y[r * count : (r + 1) * count]
        for i in range(count):
            buffer[i] = (a[i] - b[i]) + eps
        out[r] = np.sqrt(long_product(buffer, 0, zero, buffer, 0, zero, count))


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const T[::1], T", T=FLOATS)
def _distance_slopes(
    begin: int, end: int, gx: Array, g: Array, x: Array, y: Array, length: Array, eps: float
) -> None:  # fmt: skip
    count, zero = len(x) // len(length), x.dtype.type(0)
    for r in range(begin, end):
        first = r * count
        factor = zero if length[r] == zero else g[r] / length[r]
        a, b, into = x[first : first + count], y[first : first + count], gx[first : first + count]
        for i in range(count):
            into[i] = ((a[i] - b[i]) + eps) * factor
