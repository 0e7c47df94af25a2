"""Summaries of values: without NaN, quantiles, the middle, the most frequent, counts and histograms, covariance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minidl.core import Array, Op, Spec, Tensor, as_tensor, dim_index
from minidl.device.dtypes import DEFAULT_INT, DType, is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.compare import isnan, ne
from minidl.ops.elementwise import float_of
from minidl.ops.indexing import gather
from minidl.ops.ordering import sort
from minidl.ops.reduce import Extreme, amax, amin, any, mean, reduced_shape, std, var
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import sqrt
from minidl.ops.views import flatten, reshape, unsqueeze
from minidl.ops.where import where

__all__ = [
    "aminmax", "bincount", "corrcoef", "count_nonzero", "cov", "histc", "mode", "nanmean", "nanquantile",
    "nansum", "quantile", "std_mean", "var_mean",
]  # fmt: skip

Dims = int | Sequence[int] | None


def nansum(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The sum along `dim`, with NaN counted as zero."""
    return sum_(where(isnan(input), 0, input) if is_floating(input.dtype) else input, dim, keepdim, dtype=dtype)


def nanmean(input: Tensor, dim: Dims = None, keepdim: bool = False, *, dtype: DType | None = None) -> Tensor:
    """The mean along `dim` of what is not NaN.

    >>> nanmean(Tensor([1.0, math.nan, 3.0]))
    tensor(2.)
    """
    if not is_floating(input.dtype):
        raise DTypeError(f"nanmean: input must be floating, got {input.dtype}; use mean")
    total = nansum(input, dim, keepdim, dtype=dtype)
    return total / sum_(~isnan(input), dim, keepdim).to(total.dtype)


def count_nonzero(input: Tensor, dim: Dims = None) -> Tensor:
    """How many elements along `dim` are not zero, int64."""
    return sum_(ne(input, 0), dim)


class MinMax(Extreme):
    """What `aminmax` gives, as (min, max)."""

    min = Extreme.values
    max = Extreme.indices


def aminmax(input: Tensor, *, dim: int | None = None, keepdim: bool = False) -> MinMax:
    """The smallest and the largest element along `dim`: (min, max); equal extremes share the gradient."""
    return MinMax(amin(input, dim, keepdim), amax(input, dim, keepdim))


def std_mean(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """`std` and `mean` along `dim`; arguments as for `var`."""
    spread = std(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, None if isinstance(dim, bool) else dim, keepdim)


def var_mean(
    input: Tensor, dim: Dims = None, unbiased: bool = True, keepdim: bool = False, *, correction: float | None = None
) -> tuple[Tensor, Tensor]:
    """`var` and `mean` along `dim`; arguments as for `var`."""
    spread = var(input, dim, unbiased, keepdim, correction=correction)
    return spread, mean(input, None if isinstance(dim, bool) else dim, keepdim)


class Mode(Op):
    """The most frequent element, the smallest of equals, and the last place where it stands."""

    name = "mode"

    @staticmethod
    def infer(x: Spec, *, dim: int) -> Spec:
        return Spec(reduced_shape(x.shape, (dim,), True), DEFAULT_INT)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        rows = xp.moveaxis(x, dim, -1)
        often = (rows[..., None] == rows[..., None, :]).sum(-1)
        smallest = xp.where(often == often.max(-1, keepdims=True), rows, rows.max(-1, keepdims=True))
        value = smallest.min(-1, keepdims=True)
        last = rows.shape[-1] - 1 - xp.argmax(xp.flip(rows == value, -1), axis=-1)
        out[...] = xp.expand_dims(last, dim)


def mode(input: Tensor, dim: int = -1, keepdim: bool = False) -> Extreme:
    """The most frequent element along `dim`, the smallest of equals, and its last place: (values, indices).

    Compares all pairs along `dim`.
    """
    d = dim_index("mode", dim, input.ndim)
    if not input.ndim:
        return Extreme(input.clone(), Tensor.of(input.device.xp.zeros((), DEFAULT_INT)))
    if not input.shape[d]:
        raise ShapeError(f"mode: dimension {dim} has no elements; shape is {input.shape}")
    places: Tensor = Mode.apply(input, dim=d)
    values = gather(input, d, places)
    return Extreme(values, places) if keepdim else Extreme(values.squeeze(d), places.squeeze(d))


INTERPOLATIONS = ("linear", "lower", "higher", "nearest", "midpoint")


def quantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """The value below which a share `q` of the elements along `dim` lies.

    Args:
        q: from 0 to 1; several in one dimension give a leading dimension of the result.
        dim: None for the flattened tensor.
        interpolation: between two elements: "linear", "lower", "higher", "nearest" or "midpoint".

    Raises:
        ArgumentError: for `q` out of range, or an unknown interpolation.

    >>> quantile(Tensor([1.0, 2.0, 3.0, 4.0]), 0.5)
    tensor(2.5)
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, skip_nan=False)


def nanquantile(
    input: Tensor, q: Any, dim: int | None = None, keepdim: bool = False, *, interpolation: str = "linear"
) -> Tensor:
    """`quantile` of what is not NaN; arguments as there."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, skip_nan=True)


def _quantile(
    name: str, input: Tensor, q: Any, dim: int | None, keepdim: bool, interpolation: str, *, skip_nan: bool
) -> Tensor:
    shares = as_tensor(q, like=input)
    if interpolation not in INTERPOLATIONS:
        raise ArgumentError(f"{name}: interpolation must be one of {', '.join(INTERPOLATIONS)}; got {interpolation!r}")
    if not is_floating(input.dtype) or shares.dtype != input.dtype:
        raise DTypeError(f"{name}: input and q must be floating, of one type; got {input.dtype} and {shares.dtype}")
    if shares.ndim > 1:
        raise ShapeError(f"{name}: q must be a number or have one dimension, got {shares.shape}")
    values = shares.detach().array
    if values.size and not (float(values.min()) >= 0 and float(values.max()) <= 1):
        raise ArgumentError(f"{name}: q must lie from 0 to 1, got {shares.tolist()}")
    if not input.numel():
        raise ShapeError(f"{name}: input has no elements; shape is {input.shape}")
    x, d = (flatten(input), 0) if dim is None else (input, dim_index(name, dim, input.ndim))
    x = x if x.ndim else reshape(x, 1)
    result = _between(sort(x, d).values.movedim(d, -1), reshape(shares, shares.numel()), interpolation, skip_nan)
    kept = [1] * input.ndim if dim is None else [1 if i == d else n for i, n in enumerate(input.shape)]
    left = kept if keepdim else [] if dim is None else [n for i, n in enumerate(input.shape) if i != d]
    return reshape(result.movedim(-1, 0), [*shares.shape, *left])


def _between(ordered: Tensor, shares: Tensor, interpolation: str, skip_nan: bool) -> Tensor:
    """The elements at `shares` of the last dimension of `ordered`, whose NaN are last."""
    xp = ordered.device.xp
    bad = isnan(ordered)
    counts = sum_(~bad, -1, keepdim=True).array if skip_nan else xp.full((*ordered.shape[:-1], 1), ordered.shape[-1])
    exact = shares * Tensor.of(xp.maximum(counts - 1, 0).astype(ordered.dtype))
    rank = {"lower": xp.floor, "higher": xp.ceil, "nearest": xp.rint}.get(interpolation, lambda r: r)(exact.array)
    low = xp.floor(rank)
    below = gather(ordered, -1, Tensor.of(low.astype(xp.int64)))
    above = gather(ordered, -1, Tensor.of(xp.ceil(rank).astype(xp.int64)))
    share: Any = 0.0
    if interpolation == "linear":
        share = exact - Tensor.of(low)
    elif interpolation == "midpoint":
        share = Tensor.of(xp.where(rank > low, 0.5, 0.0).astype(ordered.dtype))
    mixed = below + (above - below) * share
    return mixed if skip_nan else where(any(bad, -1, keepdim=True), math.nan, mixed)


def bincount(input: Tensor, weights: Tensor | None = None, minlength: int = 0) -> Tensor:
    """How often each whole number from 0 up occurs, or the sum of its weights.

    Raises:
        DTypeError, ShapeError: unless `input` is one row of whole numbers from 0 up, and `weights` as long.

    >>> bincount(as_tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """
    if input.dtype.kind not in "iu" or input.ndim != 1:
        raise DTypeError(f"bincount: input must be one row of whole numbers, got {input.dtype} of shape {input.shape}")
    if minlength < 0 or (input.numel() and int(input.array.min()) < 0):
        raise ArgumentError("bincount: input and minlength must be 0 or more")
    if weights is not None and weights.shape != input.shape:
        raise ShapeError(f"bincount: weights must be {input.shape} as input is, got {weights.shape}")
    xp = input.device.xp
    sums = xp.bincount(input.array, None if weights is None else weights.array, minlength=minlength)
    if weights is not None:
        sums = sums.astype(weights.dtype if weights.dtype == xp.float32 else xp.float64)
    return Tensor.of(sums)


def histc(input: Tensor, bins: int = 100, min: float = 0, max: float = 0) -> Tensor:
    """How many elements fall into each of `bins` equal intervals from `min` to `max`, as floating numbers.

    Args:
        min, max: the range of the elements if both are 0 (or equal); what lies outside counts for nothing.
    """
    if bins < 1 or max < min:
        raise ArgumentError(f"histc: needs one bin or more and min <= max, got {bins}, {min} and {max}")
    xp, x = input.device.xp, input.array.reshape(-1)
    low, high = float(min), float(max)
    if low == high and x.size:
        low, high = float(x.min()), float(x.max())
    if low == high:
        low, high = low - 1, high + 1
    inside = x[(x >= low) & (x <= high)]
    place = xp.minimum(((inside - low) / (high - low) * bins).astype(xp.int64), bins - 1)
    return Tensor.of(xp.bincount(place, minlength=bins).astype(input.dtype))


def cov(
    input: Tensor, *, correction: int = 1, fweights: Tensor | None = None, aweights: Tensor | None = None
) -> Tensor:
    """The covariances of variables in rows over observations in columns.

    Args:
        correction: subtracted from the number of observations: 1 for the unbiased estimate.
        fweights: how often each observation counts, whole numbers from 0 up.
        aweights: how important each observation is, from 0 up.

    >>> cov(Tensor([[0.0, 2.0], [2.0, 0.0]]))
    tensor([[ 2., -2.],
            [-2.,  2.]])
    """
    if input.ndim > 2 or input.dtype.kind == "b":
        raise ShapeError(f"cov: input must be numbers in at most two dimensions, got {input.dtype} {input.shape}")
    x = float_of(input)
    rows = reshape(x, 1, -1) if x.ndim < 2 else x
    count = rows.shape[1]
    for name, given in (("fweights", fweights), ("aweights", aweights)):
        if given is not None and given.shape != (count,):
            raise ShapeError(f"cov: {name} must be ({count},), one for each observation; got {given.shape}")
    if fweights is not None and fweights.dtype.kind not in "iu":
        raise DTypeError(f"cov: fweights must be whole numbers, got {fweights.dtype}")
    if aweights is not None and not is_floating(aweights.dtype):
        raise DTypeError(f"cov: aweights must be floating, got {aweights.dtype}")
    weights = [w.to(rows.dtype) for w in (fweights, aweights) if w is not None]
    if any_negative := [w for w in weights if w.numel() and float(w.array.min()) < 0]:
        raise ArgumentError(f"cov: weights must be 0 or more, got {any_negative[0].tolist()}")
    w = math.prod(weights[1:], start=weights[0]) if weights else Tensor.of(x.device.xp.ones(count, x.dtype))
    total = sum_(w)
    centred = rows - unsqueeze(sum_(rows * w, 1) / total, 1)
    if aweights is not None and correction:
        total_of_squares = sum_(w * aweights.to(rows.dtype))
        norm = total - total_of_squares * correction / total
    else:
        norm = total - correction
    norm = where(norm < 0, 0.0, norm)
    result = (centred * w) @ centred.T / norm
    return reshape(result, ()) if rows.shape[0] == 1 else result


def corrcoef(input: Tensor) -> Tensor:
    """The correlation coefficients of variables in rows over observations in columns, from -1 to 1."""
    c = cov(input)
    if not c.ndim:
        return c / c
    spread = sqrt(c.diagonal())
    return (c / unsqueeze(spread, 1) / unsqueeze(spread, 0)).clamp(-1, 1)
