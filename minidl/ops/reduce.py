"""Reductions: sums, means, extremes and counts along dimensions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, as_tensor, dim_index, registry
from minidl.device.determinism import is_batch_invariant
from minidl.device.dtypes import DEFAULT_INT, DType, accumulator, as_float, bool_, is_floating
from minidl.errors import DTypeError, ShapeError
from minidl.ops.along_loops import run_along
from minidl.ops.compare import eq
from minidl.ops.elementwise import Unary, quiet
from minidl.ops.reduce_gpu import folded, sums_on_gpu
from minidl.ops.reduce_loops import LARGEST, SMALLEST, SUMS, Loops, Reduction, can_reduce, reduction
from minidl.ops.unary import sqrt

__all__ = [
    "all", "amax", "amin", "any", "argmax", "argmin", "cumsum", "max", "mean", "min", "prod", "std", "sum",
    "sum_to", "var",
]  # fmt: skip


class Reduce(Op):
    """Base of reductions over the dimensions `dims` (counted from the front, sorted)."""

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...], keepdim: bool) -> Spec:
        return x.with_shape(*reduced_shape(x.shape, dims, keepdim))


def written(reduce: Reduction, shape: tuple[int, ...]) -> Run:
    """What writes a reduction of arrays to out, of that shape: run(out, *arrays)."""

    def run(out: Array, *arrays: Array) -> None:
        out[...] = reduce(*arrays).reshape(shape)

    return run


SMALL = 8192  # numbers, below which NumPy has its sum before a kernel is called


class Adding(Reduce):
    """Base of `sum` and `mean`, which share their loops."""

    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        (x,) = arrays
        is_worth_it = x.size >= SMALL and not is_batch_invariant()  # the loops are cut by the size of the whole
        return is_worth_it and super().cpu_takes(arrays, params) and can_reduce(x, params["dims"])


class Sum(Adding):
    """Integers and bools are summed as int64."""

    name = "sum"

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...], keepdim: bool) -> Spec:
        dtype = x.dtype if is_floating(x.dtype) else DEFAULT_INT
        return Spec(reduced_shape(x.shape, dims, keepdim), dtype)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        if out.dtype == accumulator(x.dtype):
            xp.sum(x, axis=dims, out=out, keepdims=keepdim)
        else:
            out[...] = xp.sum(x, axis=dims, dtype=accumulator(x.dtype), keepdims=keepdim)

    @staticmethod
    def bind(out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Run:
        return written(reduction(SUMS, dims, x), out.shape)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        (x,) = arrays
        is_taken = folded(x.shape, params["dims"]) is not None and not is_batch_invariant()
        return is_taken and super().cuda_takes(arrays, params)

    @staticmethod
    def cuda(out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        sums_on_gpu(out, x, folded(x.shape, dims) or (0, 0, 0))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (_spread(g, node),)


class Mean(Adding):
    name = "mean"

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...], keepdim: bool) -> Spec:
        return Spec(reduced_shape(x.shape, dims, keepdim), as_float(x.dtype))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        count = math.prod(x.shape[d] for d in dims)
        with quiet():  # the mean of nothing is NaN
            out[...] = xp.sum(x, axis=dims, dtype=accumulator(as_float(x.dtype)), keepdims=keepdim) / xp.float64(count)

    @staticmethod
    def bind(out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Run:
        total, count = reduction(SUMS, dims, x), math.prod([x.shape[d] for d in dims])
        return written(lambda x: total(x) / count, out.shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        count = math.prod(node.specs[0].shape[d] for d in node.params["dims"])
        return (_spread(g / count, node),)


class Prod(Reduce):
    name = "prod"
    saves = ("x",)

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...], keepdim: bool) -> Spec:
        dtype = x.dtype if is_floating(x.dtype) else DEFAULT_INT
        return Spec(reduced_shape(x.shape, dims, keepdim), dtype)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        out[...] = xp.prod(x, axis=dims, dtype=out.dtype, keepdims=keepdim)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        # The product of the *others*: exclusive products from the left and from the right, so zeros need no division.
        (x,) = node.saved
        (dim,) = node.params["dims"]
        left = _exclusive_product(x, dim)
        right = registry.call("flip", _exclusive_product(registry.call("flip", x, dim), dim), dim)
        return (_spread(g, node) * left * right,)


class Amax(Reduce):
    """Equal extremes share the gradient evenly."""

    name = "amax"
    saves = ("x", "out")
    strided = True
    loops: ClassVar[Loops] = LARGEST

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        xp.amax(x, axis=dims, out=out, keepdims=keepdim)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        (x,) = arrays
        return x.size >= SMALL and super().cpu_takes(arrays, params) and can_reduce(x, params["dims"])

    @classmethod
    def bind(cls, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> Run:
        return written(reduction(cls.loops, dims, x), out.shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, out = node.saved
        is_extreme = eq(x, _keep_dims(out, node)).to(g.dtype)
        share = is_extreme / sum(is_extreme, node.params["dims"], keepdim=True)
        return (_keep_dims(g, node) * share,)


class Amin(Amax):
    """Equal extremes share the gradient evenly."""

    name = "amin"
    saves = ("x", "out")
    loops = SMALLEST

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        out[...] = xp.amin(x, axis=dims, keepdims=keepdim)  # CuPy 14.2 takes `out` for a dtype here


class Any_(Reduce):
    name = "any"

    @staticmethod
    def infer(x: Spec, *, dims: tuple[int, ...], keepdim: bool) -> Spec:
        return Spec(reduced_shape(x.shape, dims, keepdim), bool_)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        xp.any(x, axis=dims, out=out, keepdims=keepdim)


class All_(Any_):
    name = "all"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dims: tuple[int, ...], keepdim: bool) -> None:
        xp.all(x, axis=dims, out=out, keepdims=keepdim)


class ArgMax(Op):
    name = "argmax"

    @staticmethod
    def infer(x: Spec, *, dim: int) -> Spec:
        return Spec(reduced_shape(x.shape, (dim,), False), DEFAULT_INT)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        out[...] = xp.argmax(x, axis=dim)


class ArgMin(ArgMax):
    name = "argmin"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        out[...] = xp.argmin(x, axis=dim)


class Running(Unary):
    """Base of `cumsum` and `cumprod`: what is joined on the way along a dimension."""

    elementwise = False
    how: ClassVar[str]

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size >= SMALL

    @classmethod
    def cpu(cls, out: Array, x: Array, *, dim: int) -> None:
        run_along(cls.how, out, x, dim)


class CumSum(Running):
    name = "cumsum"
    how = "sum"

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        if x.ndim:  # NumPy's cumsum into an array without dimensions crashes the process
            xp.cumsum(x, axis=dim, out=out)
        else:
            out[...] = x

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        dim = node.params["dim"]
        return (registry.call("flip", cumsum(registry.call("flip", g, dim), dim), dim),)


class SumTo(Op):
    """The adjoint of broadcasting."""

    name = "sum_to"
    strided = True

    @staticmethod
    def infer(x: Spec, *, shape: tuple[int, ...]) -> Spec:
        return x.with_shape(*shape)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, shape: tuple[int, ...]) -> None:
        out[...] = xp.sum(x, axis=broadcast_dims(x.shape, shape), dtype=accumulator(x.dtype)).reshape(shape)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        (x,) = arrays
        dims = broadcast_dims(x.shape, params["shape"])
        return x.size >= SMALL and super().cpu_takes(arrays, params) and can_reduce(x, dims)

    @staticmethod
    def bind(out: Array, x: Array, *, shape: tuple[int, ...]) -> Run:
        return written(reduction(SUMS, broadcast_dims(x.shape, shape), x), shape)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (registry.call("expand", g, node.specs[0].shape),)


def broadcast_dims(x: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions of `x` along which an array of `shape` was repeated."""
    lead = len(x) - len(shape)
    return tuple(range(lead)) + tuple(lead + d for d, n in enumerate(shape) if n == 1)


class Extreme(NamedTuple):
    """What `max` and `min` give along a dimension."""

    values: Tensor
    indices: Tensor


def reduced_shape(shape: tuple[int, ...], dims: tuple[int, ...], keepdim: bool) -> tuple[int, ...]:
    """`shape` with `dims` dropped, or kept with length 1."""
    return tuple(1 if d in dims else n for d, n in enumerate(shape) if keepdim or d not in dims)


def reduced_dims(op: str, dim: int | Sequence[int] | None, ndim: int) -> tuple[int, ...]:
    """The dimensions that `dim` names, counted from the front and sorted; all for None.

    Raises:
        ShapeError: if one does not exist or is named twice.
    """
    if dim is None or dim == ():
        return tuple(range(ndim))
    dims = [dim_index(op, d, ndim) for d in (dim if isinstance(dim, Sequence) else [dim])]
    if len(set(dims)) != len(dims):
        raise ShapeError(f"{op}: a dimension is named twice in {dim}")
    return tuple(sorted(dims)) if ndim else ()


def _keep_dims(t: Tensor, node: Node) -> Tensor:
    shape = reduced_shape(node.specs[0].shape, node.params["dims"], keepdim=True)
    return t if t.shape == shape else registry.call("reshape", t, shape)


def _spread(g: Tensor, node: Node) -> Tensor:
    """`g` over every element that was reduced."""
    return registry.call("expand", _keep_dims(g, node), node.specs[0].shape)  # type: ignore[no-any-return]


def _exclusive_product(x: Tensor, dim: int) -> Tensor:
    """The product of all elements before each one along `dim`."""
    length = x.shape[dim]
    ones = registry.call("narrow", x, dim, 0, int(length > 0)) * 0 + 1
    before = registry.call("cumprod", registry.call("narrow", x, dim, 0, length - int(length > 0)), dim)
    return registry.call("cat", [ones, before], dim)  # type: ignore[no-any-return]


def _reduce(op: type[Op], input: Any, dim: int | Sequence[int] | None, keepdim: bool) -> Tensor:
    x = as_tensor(input)
    result: Tensor = op.apply(x, dims=reduced_dims(op.name, dim, x.ndim), keepdim=keepdim)
    return result


def sum(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The sum along `dim` (an int, several, or None for all), computed in `dtype` if one is given.

    >>> sum(Tensor([[1.0, 2.0], [3.0, 4.0]]), 0)
    tensor([4., 6.])
    """
    return _reduce(Sum, input if dtype is None else input.to(dtype), dim, keepdim)


def mean(
    input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """The mean along `dim`; NaN over no elements; computed in `dtype` if one is given.

    >>> mean(Tensor([[1.0, 2.0], [3.0, 4.0]]), 1)
    tensor([1.5, 3.5])
    """
    if dtype is not None and not is_floating(np.dtype(dtype)):
        raise DTypeError(f"mean: dtype must be floating, got {dtype}; the mean of whole numbers is seldom whole")
    return _reduce(Mean, input if dtype is None else input.to(dtype), dim, keepdim)


def var(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The variance along `dim`: squared deviations summed and divided by n - `correction`.

    Args:
        unbiased: a correction of 1 (Bessel's) when True, 0 when False.
        correction: replaces `unbiased`.

    >>> var(Tensor([1.0, 2.0, 3.0, 4.0]), correction=0)
    tensor(1.25)
    """
    if isinstance(dim, bool):  # PyTorch's form var(input, unbiased)
        return var(input, None, dim, keepdim, correction=correction)
    if not is_floating(input.dtype):
        raise DTypeError(f"var: input must be floating, got {input.dtype}; use input.float()")
    dims = reduced_dims("var", dim, input.ndim)
    count = math.prod(input.shape[d] for d in dims) - (int(unbiased) if correction is None else correction)
    centred = input - mean(input, dims, keepdim=True)
    return sum(centred * centred, dims, keepdim) / (count if count > 0 else math.nan)


def std(
    input: Tensor,
    dim: int | Sequence[int] | None = None,
    unbiased: bool = True,
    keepdim: bool = False,
    *,
    correction: float | None = None,
) -> Tensor:
    """The square root of `var`."""
    return sqrt(var(input, dim, unbiased, keepdim, correction=correction))


def prod(input: Tensor, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The product along `dim`, or of all elements; computed in `dtype` if one is given."""
    x = input if dtype is None else input.to(dtype)
    if dim is None or not x.ndim:
        return _reduce(Prod, x.reshape(x.numel()), 0 if dim is None else dim, False)
    return _reduce(Prod, x, dim, keepdim)


def amax(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """The largest element along `dim`; equal ones share the gradient."""
    return _reduce(Amax, _not_empty("amax", input, dim), dim, keepdim)


def amin(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """The smallest element along `dim`; equal ones share the gradient."""
    return _reduce(Amin, _not_empty("amin", input, dim), dim, keepdim)


def max(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The largest element; along `dim`, the pair (values, indices); beside another tensor, their `maximum`.

    >>> max(Tensor([[1.0, 5.0], [7.0, 2.0]]), 1).indices
    tensor([1, 0])
    """
    return _extreme("max", amax, argmax, input, dim, keepdim)


def min(input: Tensor, dim: int | Tensor | None = None, keepdim: bool = False) -> Any:
    """The smallest element; along `dim`, the pair (values, indices); beside another tensor, their `minimum`."""
    return _extreme("min", amin, argmin, input, dim, keepdim)


def _extreme(name: str, extreme: Any, arg: Any, input: Tensor, dim: int | Tensor | None, keepdim: bool) -> Any:
    if dim is None:
        return extreme(input)
    if isinstance(dim, Tensor) or not isinstance(input, Tensor):
        return registry.call(f"{name}imum", as_tensor(input), dim)
    if not input.ndim:
        dim_index(name, dim, 0)
        return Extreme(input.clone(), Tensor.of(input.device.xp.zeros((), DEFAULT_INT)))
    indices = arg(input, dim, keepdim=True)
    values = registry.call("gather", input, dim, indices)
    if not keepdim:
        values, indices = registry.call("squeeze", values, dim), registry.call("squeeze", indices, dim)
    return Extreme(values, indices)


def argmax(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the (first) largest element along `dim`, int64; in the flattened tensor for None."""
    return _arg(ArgMax, input, dim, keepdim)


def argmin(input: Tensor, dim: int | None = None, keepdim: bool = False) -> Tensor:
    """The place of the (first) smallest element along `dim`, int64; in the flattened tensor for None."""
    return _arg(ArgMin, input, dim, keepdim)


def _arg(op: type[Op], input: Tensor, dim: int | None, keepdim: bool) -> Tensor:
    x = _not_empty(op.name, input, dim)
    if dim is None or not x.ndim:
        result: Tensor = op.apply(x.reshape(-1), dim=0)
        return result.reshape((1,) * x.ndim) if keepdim else result
    d = dim_index(op.name, dim, x.ndim)
    result = op.apply(x, dim=d)
    return result.unsqueeze(d) if keepdim else result


def _not_empty(op: str, x: Tensor, dim: int | Sequence[int] | None) -> Tensor:
    if any_empty := [d for d in reduced_dims(op, dim, x.ndim) if x.shape and x.shape[d] == 0]:
        raise ShapeError(f"{op}: dimension {any_empty[0]} has no elements, and so no extreme; shape is {x.shape}")
    return x


def any(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Whether one element along `dim` is true (not zero)."""
    return _reduce(Any_, input, dim, keepdim)


def all(input: Tensor, dim: int | Sequence[int] | None = None, keepdim: bool = False) -> Tensor:
    """Whether every element along `dim` is true (not zero)."""
    return _reduce(All_, input, dim, keepdim)


def cumsum(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Sums of all elements up to each one, along `dim`; integers become int64, or `dtype` if one is given."""
    x = input.to(dtype or (input.dtype if is_floating(input.dtype) else DEFAULT_INT))
    result: Tensor = CumSum.apply(x, dim=dim_index("cumsum", dim, x.ndim))
    return result


def sum_to(input: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`input` summed to `shape`, which broadcasts to its own: the adjoint of broadcasting."""
    result: Tensor = SumTo.apply(input, shape=tuple(shape))
    return result
