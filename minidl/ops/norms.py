"""Lengths of vectors and matrices, and distances between them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, dim_index, registry
from minidl.device.dtypes import DType, accumulator, is_floating
from minidl.device.layout import dense_order, undone
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.compare import eq, ne
from minidl.ops.mul_sum import PRODUCTS
from minidl.ops.reduce import SMALL, amax, amin, reduced_dims, reduced_shape, written
from minidl.ops.reduce import sum as sum_
from minidl.ops.reduce_loops import can_reduce, reduction
from minidl.ops.unary import abs as abs_
from minidl.ops.unit_rows import RowDistance, UnitRows
from minidl.ops.views import permute, reshape, unsqueeze
from minidl.ops.where import where

__all__ = ["cdist", "dist", "norm", "normalize", "pairwise_distance", "pdist", "renorm"]

Dims = int | Sequence[int] | None


class EuclideanNorm(Op):
    """The root of the sum of squares along `dims`, which stay with length 1; gradient 0 at 0, where PyTorch has it too.

    One pass over x each way: 2 operations for 4 bytes.
    """

    name = "euclidean_norm"
    saves = ("x", "out")
    strided = True

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...]) -> Spec:
        return x.with_shape(*reduced_shape(x.shape, dims, True))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...]) -> None:
        out[...] = xp.sqrt(xp.sum(xp.square(x), axis=dims, dtype=accumulator(x.dtype), keepdims=True))

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        (x,), dims = arrays, params["dims"]
        return x.size >= SMALL and super().cpu_takes(arrays, params) and bool(dims) and can_reduce(x, dims)

    @staticmethod
    def bind(out: Array, x: Array, *, dims: tuple[int, ...]) -> Run:
        squares = reduction(PRODUCTS, dims, x, x)
        return written(lambda x: np.sqrt(squares(x, x)), out.shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, length = node.saved
        zero = eq(length, 0)
        return (x * where(zero, 0.0, g / where(zero, 1.0, length)),)


def vector_norm(
    x: Tensor, ord: float = 2, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The p-norm along `dim`: (sum |x|^p)^(1/p).

    Args:
        ord: p; inf and -inf for the largest and the smallest size, 0 for how many elements are not zero.
        dim: None takes the whole tensor as one vector.

    >>> vector_norm(Tensor([3.0, 4.0]))
    tensor(5.)
    """
    x = x if dtype is None else x.to(dtype)
    if not is_floating(x.dtype):
        raise DTypeError(f"norm: input must be floating, got {x.dtype}; use input.float()")
    if ord == math.inf:
        return amax(abs_(x), dim, keepdim)
    if ord == -math.inf:
        return amin(abs_(x), dim, keepdim)
    if ord == 0:
        return sum_(ne(x, 0).to(x.dtype) + x * 0, dim, keepdim)
    if ord == 1:
        return sum_(abs_(x), dim, keepdim)
    if ord == 2:
        dims = reduced_dims("norm", dim, x.ndim)
        length: Tensor = EuclideanNorm.apply(x, dims=dims)
        return length if keepdim else reshape(length, reduced_shape(x.shape, dims, False))
    size = abs_(x)
    if ord < 1:  # the slope at zero is infinite: zeros add nothing, and get no gradient
        powers = where(eq(size, 0), size * 0 if ord > 0 else math.inf, where(eq(size, 0), 1.0, size) ** ord)
        return sum_(powers, dim, keepdim) ** (1 / ord)
    total = sum_(size**ord, dim, keepdim)
    return where(eq(total, 0), total, where(eq(total, 0), 1.0, total) ** (1 / ord))


def norm(
    input: Tensor, p: Any = "fro", dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The p-norm along `dim`: (sum |x|^p)^(1/p).

    Args:
        p: a number, inf and -inf included; "fro", the root of the sum of squares; "nuc", the sum of singular values.
        dim: None for all elements.

    >>> norm(Tensor([3.0, 4.0]))
    tensor(5.)
    """
    if isinstance(p, str) and p == "nuc":
        return registry.call("nuclear_norm", input, dim, keepdim, dtype)  # type: ignore[no-any-return]
    if isinstance(p, str) and p != "fro":
        raise ArgumentError(f"norm: p must be a number, 'fro' or 'nuc', got {p!r}")
    dims = None if dim is None or dim == () else reduced_dims("norm", dim, input.ndim)
    return vector_norm(input, 2 if p in ("fro", None) else float(p), dims, keepdim, dtype=dtype)


def dist(input: Tensor, other: Tensor, p: float = 2) -> Tensor:
    """The p-norm of input - other."""
    return vector_norm(input - other, p)


def pairwise_distance(x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension.

    Args:
        x1, x2: (N, D) or (D,); they broadcast.
        eps: added to each difference, against a division by zero in the gradient.
    """
    if p == 2 and x1.shape == x2.shape and x1.ndim and x1.dtype == x2.dtype and is_floating(x1.dtype):
        distance: Tensor = RowDistance.apply(x1, x2, eps=float(eps))
        return unsqueeze(distance, -1) if keepdim else distance
    return vector_norm(x1 - x2 + eps, p, -1, keepdim)


def normalize(input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """`input` divided by its p-norm along `dim`; the norm is held above `eps`."""
    if p == 2 and input.ndim and is_floating(input.dtype):
        d = dim_index("normalize", dim, input.ndim)
        order = dense_order(input.array) if type(input.array) is np.ndarray else None
        if d == input.ndim - 1:
            return UnitRows.apply(input, eps=float(eps))[0]  # type: ignore[no-any-return]
        if order is not None and order[-1] == d:  # its numbers lie side by side, as channels may
            return permute(UnitRows.apply(permute(input, order), eps=float(eps))[0], undone(order))
    length = vector_norm(input, p, dim, True)
    return input / where(length < eps, eps, length)


def renorm(input: Tensor, p: float, dim: int, maxnorm: float) -> Tensor:
    """The slices along `dim`, each shrunk to a p-norm of `maxnorm` if it is longer."""
    if p <= 0 or maxnorm < 0:
        raise ArgumentError(f"renorm: p must be above 0 and maxnorm not below, got {p} and {maxnorm}")
    if input.ndim < 2:
        raise ShapeError(f"renorm: input must have two dimensions or more, got {input.shape}")
    d = dim_index("renorm", dim, input.ndim)
    length = vector_norm(input, p, [i for i in range(input.ndim) if i != d], True)
    return input * where(length > maxnorm, maxnorm / (length + 1e-7), 1.0)


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary") -> Tensor:
    """The p-norm distances between all rows of x1 and all rows of x2: (..., P, M) and (..., R, M) to (..., P, R).

    Args:
        compute_mode: taken for PyTorch's sake; differences are always formed, which is the exact way.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: needs rows of one length in two dimensions or more, got {x1.shape} and {x2.shape}")
    if p < 0:
        raise ArgumentError(f"cdist: p must be 0 or more, got {p}")
    difference = unsqueeze(x1, -2) - unsqueeze(x2, -3)
    if not difference.shape[-1]:
        return sum_(difference, -1)
    return vector_norm(difference, p, -1)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances between all pairs of rows, each pair once: (N, M) to N (N - 1) / 2."""
    if input.ndim != 2:
        raise ShapeError(f"pdist: input must be (N, M), got {input.shape}")
    xp = input.device.xp
    first, second = (Tensor.of(i) for i in xp.triu_indices(input.shape[0], 1))
    difference = input[first] - input[second]
    return vector_norm(difference, p, -1) if input.shape[1] else sum_(difference, -1)
