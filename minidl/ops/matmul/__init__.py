"""matmul and linear: products of matrices, alone and in batches.

2·M·N·K floating-point operations on M·K + K·N + M·N numbers. The reference hands each product to the array module's
BLAS; on the CPU products that are worth a call of a kernel run on our own micro-kernel (`cpu.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Op, Run, Spec, Tensor, is_recording, registry
from minidl.device import CPU, device_of, empty
from minidl.device.dtypes import accumulator, promote
from minidl.errors import ShapeError
from minidl.ops.matmul.cpu import bound_multiply, bound_product, is_worth_it
from minidl.ops.matmul.finish import ACTIVATIONS, bound_slopes
from minidl.ops.reduce import SMALL
from minidl.ops.reduce_gpu import sums_on_gpu
from minidl.ops.reduce_loops import SUMS, reduction
from minidl.ops.views import reshape

__all__ = ["bmm", "linear", "matmul"]


class MatMul(Op):
    """(..., M, K) times (..., K, N); leading dimensions broadcast."""

    name = "matmul"
    saves = ("x", "y")
    saves_for = {"x": ("y",), "y": ("x",)}  # noqa: RUF012 - never changed
    strided = True
    defers = True  # for a softmax and another product, see `ops/attention`

    @staticmethod
    def infer(x: Spec, y: Spec) -> Spec:
        if x.shape[-1] != y.shape[-2]:
            raise ShapeError(
                f"matmul: input {x.shape} times other {y.shape}: inner lengths {x.shape[-1]} and {y.shape[-2]} differ"
            )
        try:
            batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        except ValueError:
            raise ShapeError(f"matmul: {x.shape} times {y.shape}: leading dimensions do not broadcast") from None
        return Spec((*batch, x.shape[-2], y.shape[-1]), promote(x.dtype, y.dtype))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, y: Array) -> None:
        xp.matmul(x, y, out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, y = arrays
        return x.dtype == y.dtype and is_worth_it(x.size, y.shape) and super().cpu_takes(arrays, params)

    @staticmethod
    def bind(out: Array, x: Array, y: Array) -> Run:
        if x.ndim > 2 and y.ndim == 2 and x.flags.c_contiguous and out.flags.c_contiguous and x.size:
            out, x = out.reshape(-1, out.shape[-1]), x.reshape(-1, x.shape[-1])  # one large instead of many small
        return bound_product(out, x, y)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, y = node.saved
        gx = matmul(g, y.mT) if node.needs[0] else None
        if not node.needs[1]:
            return gx, None
        if node.specs[1].ndim == 2:
            x, g = rows_of(x), rows_of(g)
        return gx, matmul(x.mT, g)


class Linear(Op):
    """x times the transposed weight, plus bias."""

    name = "linear"
    saves = ("x", "weight")
    saves_for = {"x": ("weight",), "weight": ("x",)}  # noqa: RUF012 - never changed
    defers = True  # for what comes behind it, see `then.py`
    joins = 0

    @staticmethod
    def infer(x: Spec, weight: Spec, bias: Spec | None = None) -> Spec:
        if not x.ndim:
            raise ShapeError("linear: input needs at least one dimension, (..., in_features)")
        if weight.ndim != 2:
            raise ShapeError(f"linear: weight must be (out_features, in_features), got {weight.shape}")
        if x.shape[-1] != weight.shape[1]:
            raise ShapeError(
                f"linear: input has {x.shape[-1]} features, but weight {weight.shape} takes {weight.shape[1]}"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise ShapeError(
                f"linear: bias must be ({weight.shape[0]},) beside weight {weight.shape}, got {bias.shape}"
            )
        return Spec((*x.shape[:-1], weight.shape[0]), promote(x.dtype, weight.dtype))

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, weight: Array, bias: Array | None = None) -> None:
        xp.matmul(x, weight.T, out=out)
        if bias is not None:
            xp.add(out, bias, out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        x, weight = arrays[:2]
        is_alike = x.dtype == weight.dtype == arrays[-1].dtype
        return is_alike and is_worth_it(x.size, weight.shape[::-1]) and super().cpu_takes(arrays, params)

    @staticmethod
    def bind(out: Array, x: Array, weight: Array, bias: Array | None = None) -> Run:
        return bound_product(*rows_and_weight(out, x, weight))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, weight = node.saved
        return gradients(node.needs, x, weight, g, present=node.joined())


class LinearGrad(AlikeOp):
    """The gradients of x, weight and bias that are needed, given that of activation(linear(x, weight, bias)).

    Behind the weight comes, where there is an activation, `at`: what tells its slope, what it was given or its result.
    What may come last is `present`, to which the gradient of x is added.
    """

    name = "linear_grad"

    @staticmethod
    def infer(
        g: Spec, x: Spec, weight: Spec, *more: Spec, needs: tuple[bool, ...], activation: str
    ) -> tuple[Spec, ...]:
        features = g.shape[-1]
        shapes = ((*g.shape[:-1], weight.shape[-1]), (features, x.shape[-1]), (features,))
        return tuple(g.with_shape(*shape) for shape, needed in zip(shapes, needs, strict=False) if needed)

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, ...], g: Array, x: Array, weight: Array, *more: Array,
        needs: tuple[bool, ...], activation: str,
    ) -> None:  # fmt: skip
        at, present = _told_apart(more, activation)
        if at is not None:
            g, given = xp.empty(g.shape, g.dtype), g
            registry.ops[f"{activation}_grad"].reference(xp, g, given, at)
        targets, count = iter(out), math.prod(g.shape[:-1])
        rows = g.reshape(count, g.shape[-1])
        if needs[0]:
            gx = next(targets)
            xp.matmul(g, weight, out=gx)
            if present is not None:
                gx += present
        if needs[1]:
            xp.matmul(rows.T, x.reshape(count, x.shape[-1]), out=next(targets))
        if len(needs) > 2 and needs[2]:
            next(targets)[...] = rows.sum(0, dtype=accumulator(g.dtype))

    @staticmethod
    def bind(
        out: tuple[Array, ...], g: Array, x: Array, weight: Array, *more: Array,
        needs: tuple[bool, ...], activation: str,
    ) -> Run:  # fmt: skip
        at, present = _told_apart(more, activation)
        (has_gx, has_gw), has_gb = needs[:2], needs[2:] == (True,)
        targets, rows, of_x, of_weight, slope = iter(out if type(out) is tuple else (out,)), _rows(g), None, None, None
        if has_gx:
            of_x = bound_multiply(_rows(next(targets)), rows, weight, is_added=present is not None)
        if has_gw:
            of_weight = bound_multiply(next(targets), rows.T, _rows(x))
        if at is not None:
            slope = bound_slopes(rows.shape, g.dtype, ACTIVATIONS.index(activation))
        first_present, of_bias = int(slope is not None), _rows_summed(rows)

        def run(out: tuple[Array, ...], g: Array, x: Array, weight: Array, *more: Array) -> None:
            rows = _rows(g)
            if slope is not None:
                given, rows = rows, empty(CPU, rows.shape, rows.dtype)
                total = slope(rows, given, _rows(more[0]))
            if of_x is not None:
                of_x(_rows(out[0]), rows, weight, *more[first_present:])
            if of_weight is not None:
                of_weight(out[has_gx], rows.T, _rows(x))
            if has_gb:
                out[-1][...] = of_bias(rows) if slope is None else total

        return run

    @classmethod
    def cuda(
        cls, out: tuple[Array, ...], g: Array, x: Array, weight: Array, *more: Array,
        needs: tuple[bool, ...], activation: str,
    ) -> None:  # fmt: skip
        """The slope and the sum of the rows by kernels of our own, products as in the reference: by cuBLAS."""
        xp, (at, present) = device_of(g).xp, _told_apart(more, activation)
        if at is not None:
            slope = registry.ops[f"{activation}_grad"].cuda
            if slope is None:
                cls.reference(xp, out, g, x, weight, *more, needs=needs, activation=activation)
                return
            g, given = xp.empty(g.shape, g.dtype), g
            slope(g, given, at)
        rest = () if present is None else (present,)
        cls.reference(xp, out, g, x, weight, *rest, needs=needs[:2], activation="none")
        if len(needs) > 2 and needs[2]:
            sums_on_gpu(out[-1], g, (g.size // g.shape[-1], g.shape[-1], 1))


def _told_apart(more: tuple[Array, ...], activation: str) -> tuple[Array | None, Array | None]:
    """`at` and `present`, None for what there is not."""
    at = None if activation == "none" else more[0]
    return at, more[-1] if len(more) > (at is not None) else None


def gradients(
    needs: tuple[bool, ...], x: Tensor | None, weight: Tensor | None, g: Tensor, at: Tensor | None = None,
    activation: str = "none", present: tuple[Tensor, ...] = (),
) -> Grads:  # fmt: skip
    """Those of the inputs of activation(linear(...)) that are needed, given that of the result.

    What may be `present` is the gradient that others have for x; it is added.
    """
    if not is_recording():
        # What no gradient needs was not kept; another tensor stands in.
        told = () if at is None else (at,)
        given = (g, x if x is not None else g, weight if weight is not None else g, *told, *present)
        found = iter(LinearGrad.apply(*given, needs=needs, activation=activation) if any(needs) else ())
        return tuple([next(found) if needed else None for needed in needs])
    if at is not None:
        g = registry.ops[f"{activation}_grad"].apply(g, at)
    gx = matmul(g, weight) if weight is not None and needs[0] else None
    rows = rows_of(g)
    gw = matmul(rows.mT, rows_of(x)) if x is not None and needs[1] else None
    gb = rows.sum(0) if len(needs) == 3 and needs[2] else None
    return (gx, gw, gb)[: len(needs)]


def rows_and_weight(out: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Result and factors of a linear map as matrices."""
    return _rows(out), _rows(x), weight.T


def _rows(a: Array) -> Array:
    """All leading dimensions as one."""
    return a if a.ndim == 2 else a.reshape(-1, a.shape[-1]) if a.size else a.reshape(math.prod(a.shape[:-1]), -1)


def _rows_summed(like: Array) -> Callable[[Array], Array]:
    """What gives the sum of all rows of a matrix that lies like this one."""
    return reduction(SUMS, (0,), like) if like.size >= SMALL else lambda rows: rows.sum(0)


def rows_of(x: Tensor) -> Tensor:
    """All leading dimensions as one."""
    return x if x.ndim == 2 else reshape(x, math.prod(x.shape[:-1]), x.shape[-1])


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, by NumPy's rules.

    Args:
        input: (..., M, K), or (K,), which stands for one row.
        other: (..., K, N), or (K,), which stands for one column. Leading dimensions broadcast.

    Returns:
        (..., M, N), without the dimension of an operand that was one-dimensional.

    Raises:
        ShapeError: if the inner lengths differ, or an operand has no dimension.

    >>> matmul(Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    if not input.ndim or not other.ndim:
        raise ShapeError(
            f"matmul: both operands need at least one dimension, got {input.shape} and {other.shape}; "
            "multiply by a single number with *"
        )
    if other.ndim == 1:
        return matmul(input, other.unsqueeze(1)).squeeze(-1)
    if input.ndim == 1:
        return matmul(input.unsqueeze(0), other).squeeze(-2)
    result: Tensor = MatMul.apply(input, other)
    return result


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """Products of matrices in a batch: (B, M, K) times (B, K, N) is (B, M, N)."""
    if input.ndim != 3 or mat2.ndim != 3 or input.shape[0] != mat2.shape[0]:
        raise ShapeError(f"bmm: needs (B, M, K) and (B, K, N), got {input.shape} and {mat2.shape}; matmul broadcasts")
    return matmul(input, mat2)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias.

    Args:
        input: (..., in_features), floating.
        weight: (out_features, in_features).
        bias: (out_features,), or None.

    Returns:
        (..., out_features).

    Raises:
        ShapeError: if features do not fit.

    >>> linear(Tensor([[1.0, 2.0]]), Tensor([[3.0, 4.0]]), Tensor([0.5]))
    tensor([[11.5]])
    """
    result: Tensor = Linear.apply(input, weight) if bias is None else Linear.apply(input, weight, bias)
    return result
