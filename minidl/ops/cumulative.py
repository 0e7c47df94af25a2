"""Running products, extremes and sums of exponentials along a dimension; differences and integrals of samples."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor, dim_index
from minidl.device.dtypes import DEFAULT_INT, DType, float64, is_floating
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.compare import eq
from minidl.ops.concat import cat
from minidl.ops.elementwise import FloatUnary, float_of, quiet
from minidl.ops.indexing import GatherAdjoint
from minidl.ops.reduce import Extreme, Running, cumsum
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import clamp, exp
from minidl.ops.views import expand, flip, narrow, unsqueeze
from minidl.ops.where import where

__all__ = [
    "cummax", "cummin", "cumprod", "cumulative_trapezoid", "diff", "logcumsumexp", "trapezoid", "trapz",
]  # fmt: skip


class CumProd(Running):
    name = "cumprod"
    how = "prod"
    saves = ("x", "out")

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        if x.ndim:
            out[...] = xp.cumprod(x, axis=dim)
        else:
            out[...] = x

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        dim = node.params["dim"]
        if not bool(eq(x, 0).array.any()):
            return (_sums_from_the_end(g * y, dim) / x,)
        return (_gradient_with_zeros(x, g, dim),)


def _sums_from_the_end(x: Tensor, dim: int) -> Tensor:
    return flip(cumsum(flip(x, dim), dim), dim) if x.ndim else x


def _gradient_with_zeros(x: Tensor, g: Tensor, dim: int) -> Tensor:
    """For each element the running products of all the others: n² of them, but no division."""
    if not x.ndim:
        return g
    n = x.shape[dim]
    xp = x.device.xp
    last = x.movedim(dim, -1)
    others = where(Tensor.of(xp.eye(n, dtype=bool)), 1.0, expand(unsqueeze(last, -2), (*last.shape, n)))
    later = Tensor.of(xp.triu(xp.ones((n, n), x.dtype)))
    return sum_(cumprod(others, -1) * later * unsqueeze(g.movedim(dim, -1), -2), -1).movedim(-1, dim)


class CumMax(Op):
    """The largest element so far, and the last place where it stood; NaN above all."""

    name = "cummax"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec, *, dim: int) -> tuple[Spec, Spec]:
        return x, x.with_dtype(DEFAULT_INT)

    @classmethod
    def sweep(cls, xp: Any, out: tuple[Array, Array], x: Array, dim: int, wins: Any) -> None:
        if not x.ndim:
            x, out = x.reshape(1), (out[0].reshape(1), out[1].reshape(1))
        values, places = (xp.moveaxis(a, dim, 0) for a in out)
        steps = xp.moveaxis(x, dim, 0)
        for i in range(len(steps)):
            if not i:
                values[0], places[0] = steps[0], 0
                continue
            won = wins(steps[i], values[i - 1]) | (steps[i] != steps[i])
            values[i] = xp.where(won, steps[i], values[i - 1])
            places[i] = xp.where(won, i, places[i - 1])

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, dim: int) -> None:
        CumMax.sweep(xp, out, x, dim, lambda new, old: new >= old)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        _, places = node.saved[0]
        if not places.ndim:
            return (g[0],)
        return (GatherAdjoint.apply(g[0], places, shape=node.specs[0].shape, dim=node.params["dim"]),)


class CumMin(CumMax):
    """The smallest element so far, and the last place where it stood; NaN below all."""

    name = "cummin"
    saves = ("out",)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, dim: int) -> None:
        CumMax.sweep(xp, out, x, dim, lambda new, old: new <= old)


class LogCumSumExp(FloatUnary):
    name = "logcumsumexp"
    saves = ("x",)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dim: int) -> None:
        if not x.ndim:
            out[...] = x
            return
        steps, sums = xp.moveaxis(x, dim, 0), xp.moveaxis(out, dim, 0)
        with quiet():
            for i in range(len(steps)):
                sums[i] = steps[i] if not i else xp.logaddexp(sums[i - 1], steps[i])

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        """exp(x[i] - y[i]) t[i], where t[i] = g[i] + t[i + 1] exp(y[i] - y[i + 1]) sums over the later results.

        As y only grows, no exponent is above 0. It is linear in g, so that forward mode is right too.
        """
        (x,) = node.saved
        dim = node.params["dim"]
        if not x.ndim or not x.numel():
            return (g,)
        x, g = x.to(float64), g.to(float64)  # large parts of both signs may cancel
        y = clamp(logcumsumexp(x, dim), -1e300, 1e300)
        decay = _after_zeros(diff(flip(y, dim), dim=dim), dim)
        return (exp(x - y) * flip(DecayedSum.apply(flip(g, dim), decay, dim=dim), dim),)


class DecayedSum(Op):
    """s[i] = v[i] + s[i - 1] exp(decay[i]) along a dimension: running sums that fade, for decays up to 0."""

    name = "decayed_sum"
    saves = ("decay", "out")

    @staticmethod
    def infer(v: Spec, decay: Spec, *, dim: int) -> Spec:
        return v

    @staticmethod
    def reference(xp: Any, out: Array, v: Array, decay: Array, *, dim: int) -> None:
        steps, fade, sums = (xp.moveaxis(a, dim, 0) for a in (v, xp.exp(decay), out))
        for i in range(len(steps)):
            sums[i] = steps[i] if not i else steps[i] + sums[i - 1] * fade[i]

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        """The same sum from the other end, and what came from the step before."""
        decay, out = node.saved
        dim = node.params["dim"]
        later = _after_zeros(_but_last(flip(decay, dim), dim), dim)
        back = flip(DecayedSum.apply(flip(g, dim), later, dim=dim), dim)
        return back, back * _after_zeros(_but_last(out, dim), dim) * exp(decay)


def _but_last(x: Tensor, dim: int) -> Tensor:
    return narrow(x, dim, 0, x.shape[dim] - 1)


def _after_zeros(x: Tensor, dim: int) -> Tensor:
    """`x` one place later along `dim`, after a zero."""
    shape = [1 if d == dim else n for d, n in enumerate(x.shape)]
    return cat([Tensor.of(x.device.xp.zeros(shape, x.dtype)), x], dim)


def cumprod(input: Tensor, dim: int, *, dtype: DType | None = None) -> Tensor:
    """Products of all elements up to each one, along `dim`; integers become int64, or `dtype` if one is given.

    >>> cumprod(Tensor([1.0, 2.0, 3.0]), 0)
    tensor([1., 2., 6.])
    """
    x = input.to(dtype or (input.dtype if is_floating(input.dtype) else DEFAULT_INT))
    result: Tensor = CumProd.apply(x, dim=dim_index("cumprod", dim, x.ndim))
    return result


def cummax(input: Tensor, dim: int) -> Extreme:
    """The largest element up to each one, along `dim`, and its place: (values, indices)."""
    return Extreme(*CumMax.apply(input, dim=dim_index("cummax", dim, input.ndim)))


def cummin(input: Tensor, dim: int) -> Extreme:
    """The smallest element up to each one, along `dim`, and its place: (values, indices)."""
    return Extreme(*CumMin.apply(input, dim=dim_index("cummin", dim, input.ndim)))


def logcumsumexp(input: Tensor, dim: int) -> Tensor:
    """log(cumsum(exp(x))) along `dim`, without overflow."""
    x = float_of(input)
    result: Tensor = LogCumSumExp.apply(x, dim=dim_index("logcumsumexp", dim, x.ndim))
    return result


def diff(
    input: Tensor, n: int = 1, dim: int = -1, prepend: Tensor | None = None, append: Tensor | None = None
) -> Tensor:
    """Differences of neighbours along `dim`, taken `n` times.

    Args:
        prepend, append: elements to put before or behind `input` first.

    >>> diff(Tensor([1.0, 4.0, 9.0]))
    tensor([3., 5.])
    """
    if not input.ndim:
        raise ShapeError("diff: a single number has no neighbours; input needs a dimension")
    if n < 0:
        raise ArgumentError(f"diff: n must be 0 or more, got {n}")
    d = dim_index("diff", dim, input.ndim)
    if n == 0:
        return input
    if prepend is not None or append is not None:
        input = cat([x for x in (prepend, input, append) if x is not None], d)
    for _ in range(min(n, input.shape[d])):
        length = max(input.shape[d] - 1, 0)
        high, low = narrow(input, d, input.shape[d] - length, length), narrow(input, d, 0, length)
        input = high ^ low if input.dtype.kind == "b" else high - low
    return input


def _strips(y: Tensor, x: Tensor | None, dx: float, dim: int) -> Tensor:
    """The area between neighbours, times two."""
    length = max(y.shape[dim] - 1, 0)
    pairs = narrow(y, dim, y.shape[dim] - length, length) + narrow(y, dim, 0, length)
    if x is None:
        return pairs * dx
    if x.ndim == 1 and y.ndim > 1:
        x = x.reshape([-1 if d == dim else 1 for d in range(y.ndim)])
    return pairs * diff(x, dim=dim - y.ndim)


def trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of samples `y` along `dim` by the trapezoidal rule.

    Args:
        x: where the samples stand, one-dimensional or as `y`; else `dx` apart.

    >>> trapezoid(Tensor([1.0, 2.0, 3.0]))
    tensor(4.)
    """
    if not y.ndim:
        raise ShapeError("trapezoid: a single number has no dimension to integrate along")
    d = dim_index("trapezoid", dim, y.ndim)
    strips = _strips(y, x, as_tensor(dx).item(), d)
    return sum_(float_of(strips), d) / 2


def trapz(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The same as `trapezoid`."""
    return trapezoid(y, x, dx=dx, dim=dim)


def cumulative_trapezoid(y: Tensor, x: Tensor | None = None, *, dx: float = 1.0, dim: int = -1) -> Tensor:
    """The integral of samples `y` up to each one, along `dim`; arguments as for `trapezoid`."""
    if not y.ndim:
        raise ShapeError("cumulative_trapezoid: a single number has no dimension to integrate along")
    d = dim_index("cumulative_trapezoid", dim, y.ndim)
    return cumsum(float_of(_strips(y, x, dx, d)), d) / 2
