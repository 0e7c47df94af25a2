"""softmax, log_softmax, logsumexp: exponentials along one dimension, shifted by its maximum so that none overflows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minidl.core import Array, Grads, Node, Tensor, as_tensor, dim_index
from minidl.device.dtypes import DType
from minidl.ops.elementwise import FloatUnary, float_of
from minidl.ops.indexing import where
from minidl.ops.reduce import amax, reduced_dims, reduced_shape
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import exp, log

__all__ = ["log_softmax", "logsumexp", "softmax"]


class Softmax(FloatUnary):
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
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        gy = g * y
        return (gy - y * sum_(gy, node.params["dim"], keepdim=True),)


class LogSoftmax(FloatUnary):
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
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (g - exp(y) * sum_(g, node.params["dim"], keepdim=True),)


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
