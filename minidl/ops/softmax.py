"""softmax, log_softmax, logsumexp: exponentials along one dimension, shifted by its maximum so that none overflows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, as_tensor, dim_index
from minidl.device import Kernel, block_count
from minidl.device.dtypes import DType
from minidl.device.layout import dense_order
from minidl.device.threads import Blocks
from minidl.device.turn import in_one_line
from minidl.ops.elementwise import FloatUnary, float_of
from minidl.ops.reduce import amax, reduced_dims, reduced_shape
from minidl.ops.reduce import sum as sum_
from minidl.ops.softmax_loops import LOG_SOFTMAX, LOG_SOFTMAX_SLOPE, PLACES, SOFTMAX, SOFTMAX_SLOPE
from minidl.ops.unary import exp, log
from minidl.ops.where import where

__all__ = ["log_softmax", "logsumexp", "softmax"]


def _swept(loops: tuple[Kernel, Kernel], out: Array, likes: tuple[Array, ...], dim: int) -> Run:
    """What runs the loop that fits to where `dim` lies in the memory of `out`: run(out, *arrays)."""
    order = dense_order(out)
    assert order is not None
    lines = [in_one_line(a, order) for a in (out, *likes)]
    at, classes, size = order.index(dim), out.shape[dim], out.nbytes * len(lines)
    length = math.prod([out.shape[d] for d in order[at + 1 :]])
    if length == 1:
        sweep, numbers = Blocks(loops[0], out.size // classes, size=size), [classes]
    else:
        pieces = block_count(length, PLACES)
        sweep = Blocks(loops[1], out.size // (classes * length) * pieces, size=size)
        numbers = [classes, length, pieces]

    def run(*arrays: Array) -> None:
        sweep(*[line(a) for line, a in zip(lines, arrays, strict=True)], *numbers)

    return run


class Normalised(FloatUnary):
    """Base of the two: one number for each class, along `dim`."""

    saves = ("out",)
    elementwise = False
    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0 and arrays[0].ndim > 0


class NormalisedGrad(Op):
    """Base of their gradients: g and the result in, the gradient of the input out."""

    saves = ("g", "y")
    strided = True

    @staticmethod
    def infer(g: Spec, y: Spec, *, dim: int) -> Spec:
        return y

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        g, y = arrays
        return super().cpu_takes(arrays, params) and g.dtype == y.dtype and y.size > 0 and y.ndim > 0


class Softmax(Normalised):
    name = "softmax"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        if not x.size:
            return
        if not x.ndim:
            x, out = x.reshape(1), out.reshape(1)
        xp.exp(x - x.max(axis=dim, keepdims=True), out=out)
        out /= out.sum(axis=dim, keepdims=True)

    @staticmethod
    def bind(out: Array, x: Array, *, dim: int) -> Run:
        return _swept(SOFTMAX, out, (x,), dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (SoftmaxGrad.apply(g, y, **node.params),)


class SoftmaxGrad(NormalisedGrad):
    """y * (g - sum(g * y))"""

    name = "softmax_grad"

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array, *, dim: int) -> None:
        xp.multiply(y, g - xp.sum(g * y, axis=dim, keepdims=True), out=out)

    @staticmethod
    def bind(out: Array, g: Array, y: Array, *, dim: int) -> Run:
        return _swept(SOFTMAX_SLOPE, out, (g, y), dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        inner, y = node.saved
        dim = node.params["dim"]
        along = sum_(inner * y, dim, keepdim=True)
        return SoftmaxGrad.apply(g, y, dim=dim), g * (inner - along) - inner * sum_(g * y, dim, keepdim=True)


class LogSoftmax(Normalised):
    name = "log_softmax"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        if not x.size:
            return
        if not x.ndim:
            x, out = x.reshape(1), out.reshape(1)
        xp.subtract(x, x.max(axis=dim, keepdims=True), out=out)
        out -= xp.log(xp.exp(out).sum(axis=dim, keepdims=True))

    @staticmethod
    def bind(out: Array, x: Array, *, dim: int) -> Run:
        return _swept(LOG_SOFTMAX, out, (x,), dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (LogSoftmaxGrad.apply(g, y, **node.params),)


class LogSoftmaxGrad(NormalisedGrad):
    """g - exp(y) * sum(g)"""

    name = "log_softmax_grad"

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, y: Array, *, dim: int) -> None:
        xp.subtract(g, xp.exp(y) * xp.sum(g, axis=dim, keepdims=True), out=out)

    @staticmethod
    def bind(out: Array, g: Array, y: Array, *, dim: int) -> Run:
        return _swept(LOG_SOFTMAX_SLOPE, out, (g, y), dim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        inner, y = node.saved
        dim = node.params["dim"]
        p, total = exp(y), sum_(inner, dim, keepdim=True)
        return g - sum_(g * p, dim, keepdim=True), -g * p * total


def _prepared(input: Tensor, dtype: DType | None) -> Tensor:
    x = as_tensor(input)
    return float_of(x) if dtype is None else x.to(dtype)


def softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """exp(x) / sum(exp(x)) along `dim`: positive numbers that add up to one; computed in `dtype` if one is given.

    >>> softmax(Tensor([0.0, 0.0]), 0)
    tensor([0.5, 0.5])
    """
    x = _prepared(input, dtype)
    result: Tensor = Softmax.apply(x, dim=dim_index("softmax", dim, x.ndim))
    return result


def log_softmax(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """log(softmax(x)) along `dim`, exact where softmax would round to zero; computed in `dtype` if one is given.

    >>> log_softmax(Tensor([0.0, 1000.0]), 0)
    tensor([-1000.,     0.])
    """
    x = _prepared(input, dtype)
    result: Tensor = LogSoftmax.apply(x, dim=dim_index("log_softmax", dim, x.ndim))
    return result


def logsumexp(input: Tensor, dim: int | Sequence[int], keepdim: bool = False) -> Tensor:
    """log(sum(exp(x))) along `dim`, without overflow.

    >>> logsumexp(Tensor([1000.0, 1000.0]), 0)
    tensor(1000.6932)
    """
    dims = reduced_dims("logsumexp", dim, input.ndim)
    top = amax(input.detach(), dims, keepdim=True)
    top = where(top.isfinite(), top, 0.0)  # inf - inf would be NaN
    result = log(sum_(exp(input - top), dims, keepdim=True)) + top
    return result if keepdim else result.reshape(reduced_shape(input.shape, dims, keepdim=False))
