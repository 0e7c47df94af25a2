"""cross_entropy and nll_loss: how far predicted class probabilities are from the true classes.

With classes as the target, cross_entropy is one op, label smoothing and reduction included: each logit is read once
forward and once backward, and nothing of their size is kept. Forward keeps the largest x of each place and
log(sum(exp(x - largest))), so backward is g * weight * (exp(x - largest - that) - 1 at the target).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Run, Spec, Tensor, is_recording
from minidl.device import CudaKernels, device_of
from minidl.device.cuda import BLOCK
from minidl.device.dtypes import DType, accumulator
from minidl.device.threads import Blocks
from minidl.device.turn import in_one_line
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.ops.compare import ne
from minidl.ops.cross_entropy_loops import REDUCTIONS, Layout, cross_entropies, cross_entropy_slopes
from minidl.ops.nll import Nll, OfClasses, add_parts, reduced, shared, true_classes
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.soft_cross_entropy import SoftCrossEntropy
from minidl.ops.softmax import log_softmax, softmax
from minidl.ops.where import where

__all__ = ["cross_entropy", "nll_loss", "reduce_loss"]


class CrossEntropy(OfClasses):
    """weight[t] * (log(sum(exp(x))) - x[t]) of each place, 0 where t is ignored; and what that is made of.

    With the reduction "sum" it is the sum of all places, and with "mean" that divided by the sum of their weights,
    which is the fourth result. What losses are made of are the largest x and log(sum(exp(x - largest))), apart: their
    sum would be rounded to the last digit of the largest, and a loss of 1e-4 beside logits of 10 would keep two digits.
    """

    name = "cross_entropy"
    saves = ("x", "target", "weight", "out")
    saves_results = constants = (1, 2, 3)

    @staticmethod
    def infer(
        x: Spec, target: Spec, weight: Spec, *, ignore_index: int, smoothing: float, reduction: str
    ) -> tuple[Spec, Spec, Spec, Spec]:
        places = x.with_shape(*target.shape)
        return places if reduction == "none" else x.with_shape(), places, places, Spec((), accumulator(x.dtype))

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> None:  # fmt: skip
        total, top, level, counted = out
        kept, classes = true_classes(xp, target, x.shape[1], ignore_index)
        top[...] = x.max(axis=1)
        level[...] = xp.log(xp.exp(x - xp.expand_dims(top, 1)).sum(axis=1))
        loss = level - (xp.take_along_axis(x, xp.expand_dims(classes, 1), axis=1).squeeze(1) - top)
        factor = weight[classes] * kept
        loss *= factor
        if smoothing:
            off = xp.expand_dims(level, 1) - (x - xp.expand_dims(top, 1))
            even = xp.moveaxis(off, 1, -1) @ weight / x.shape[1]
            loss *= 1 - smoothing
            loss += even * smoothing * kept
        reduced(xp, (total, counted), loss, factor, reduction)

    @staticmethod
    def bind(
        out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> Run:  # fmt: skip
        how = Layout.of(x)
        x_line, weight_line, shape, each = how.in_one_line(x), in_one_line(weight), (how.units, 3), reduction == "none"
        losses = Blocks(cross_entropies, how.units, size=x.nbytes)

        def run(out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array) -> None:
            total, top, level, counted = out
            parts = np.empty(shape)
            losses(parts, total.reshape(-1), top.reshape(-1), level.reshape(-1), x_line(x), target.reshape(-1),
                   weight_line(weight), how.is_apart, how.length, how.places, ignore_index, smoothing,
                   each)  # fmt: skip
            add_parts((total, counted), parts, target, weight, ignore_index, reduction)

        return run

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> None:  # fmt: skip
        total, top, level, counted = out
        blocks = min(-(-target.size // BLOCK), BLOCKS)
        parts = device_of(x).xp.empty((blocks, 3), np.float64)
        how = (target.size, x.shape[1], _plane(x), ignore_index, smoothing)
        each = total if reduction == "none" else None
        CUDA.launch_blocks("losses", blocks, top, each, level, parts, x, target, weight, *how)
        add_parts((total, counted), parts.get(), target, weight, ignore_index, reduction)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, target, weight, (_, top, level, counted) = node.saved
        if not is_recording():
            gx = CrossEntropyGrad.apply(g[0], x, target, weight, top, level, counted, **node.params)
            return gx, None, None
        kept, smoothing = ne(target, node.params["ignore_index"]), node.params["smoothing"]
        g = g[0] / counted if node.params["reduction"] == "mean" else g[0]
        classes, g = where(kept, target, 0), where(kept, g, 0.0)
        hit = (g * weight[classes] * (1 - smoothing)).unsqueeze(1)
        even = g.unsqueeze(1) * (smoothing / x.shape[1]) * _along(weight, x, 1)
        return softmax(x, 1) * (hit + sum_(even, 1, keepdim=True)) - _one_hot(classes, x) * hit - even, None, None


class CrossEntropyGrad(Op):
    """The gradient of the logits; for a second derivative it is written in ops instead."""

    name = "cross_entropy_grad"
    strided = True

    @staticmethod
    def infer(
        g: Spec, x: Spec, target: Spec, weight: Spec, top: Spec, level: Spec, counted: Spec,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> Spec:  # fmt: skip
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array,
        counted: Array, *, ignore_index: int, smoothing: float, reduction: str,
    ) -> None:  # fmt: skip
        g = shared(g, counted, reduction)
        kept = target != ignore_index
        classes = xp.where(kept, target, 0)
        hit = xp.expand_dims(g * weight[classes] * kept * x.dtype.type(1 - smoothing), 1)
        even = xp.expand_dims(g * kept * x.dtype.type(smoothing / x.shape[1]), 1)
        xp.exp((x - xp.expand_dims(top, 1)) - xp.expand_dims(level, 1), out=out)
        out *= hit + even * weight.sum()
        by_class = (-1, *[1] * (x.ndim - 2))
        out -= (xp.expand_dims(classes, 1) == xp.arange(x.shape[1]).reshape(by_class)) * hit
        out -= even * weight.reshape(by_class)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        g, x, target, *rest = arrays
        fits = all(a.dtype == x.dtype for a in (g, *rest)) and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and x.size > 0

    @staticmethod
    def bind(
        out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array, counted: Array,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> Run:  # fmt: skip
        how, number = Layout.of(out), REDUCTIONS.index(reduction)
        lines = [in_one_line(g), how.in_one_line(x), *map(in_one_line, (target, weight, top, level, counted))]
        out_line, slopes = how.in_one_line(out), Blocks(cross_entropy_slopes, how.units, size=2 * out.nbytes)

        def run(out: Array, *given: Array) -> None:
            slopes(out_line(out), *[line(a) for line, a in zip(lines, given, strict=True)], how.is_apart, how.length,
                   how.places, number, ignore_index, smoothing)  # fmt: skip

        return run

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return cls.cpu_takes(arrays, params)

    @staticmethod
    def cuda(
        out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array, counted: Array,
        *, ignore_index: int, smoothing: float, reduction: str,
    ) -> None:  # fmt: skip
        share = counted if reduction == "mean" else None
        how = (int(reduction == "none"), x.shape[1], _plane(x), ignore_index, smoothing)
        CUDA.launch("slopes", target.size, out, g, share, x, target, weight, top, level, *how)


CUDA = CudaKernels(__file__, "cross_entropy.cuh")
BLOCKS = 256  # at most, of sums over all places


def _plane(x: Array) -> int:
    """Places of one sample of logits (N, C, ...)."""
    return math.prod(x.shape[2:])


def _one_hot(classes: Tensor, x: Tensor) -> Tensor:
    """1 where the class dimension of x is the class, else 0."""
    xp = classes.device.xp
    numbers = xp.arange(x.shape[1]).reshape(-1, *[1] * (x.ndim - 2))
    return Tensor.of((xp.expand_dims(classes.array, 1) == numbers).astype(x.dtype))


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log softmax(input)[target], averaged.

    Args:
        input: logits, (N, C) or (N, C, d1, ...), floating; (C,) for one sample.
        target: classes 0 to C - 1, (N,) or (N, d1, ...), int64; or class probabilities in the shape of `input`.
        weight: (C,), a factor for each class; the mean is then a weighted mean.
        ignore_index: positions with this target count for nothing.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the probability that is spread evenly over all classes, 0 to 1.

    Returns:
        One number, or the shape of the positions for "none".

    Raises:
        ShapeError: if shapes do not fit, or a class is out of range.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1]).long())
    tensor(0.6931472)
    """
    dim = min(1, input.ndim - 1)
    classes = input.shape[dim] if input.ndim else 1
    if target.shape != input.shape or not target.is_floating_point():
        return _hard(input, target, weight, dim, ignore_index, reduction, float(label_smoothing))
    if dim == 1 and input.dtype == target.dtype and not target.requires_grad and reduction in ("mean", "sum", "none"):
        factor = Tensor.of(_ones(input.device.xp, classes, input.dtype)) if weight is None else weight.to(input.dtype)
        if factor.shape == (classes,) and not factor.requires_grad:
            places = max(input.numel() // max(classes, 1), 1)
            share = {"mean": 1 / places, "sum": 1.0, "none": None}[reduction]
            how: dict[str, Any] = {"smoothing": float(label_smoothing), "share": share}
            return SoftCrossEntropy.apply(input, target, factor, **how)[0]  # type: ignore[no-any-return]
    log_p = log_softmax(input, dim)
    smooth = target if not label_smoothing else target * (1 - label_smoothing) + label_smoothing / classes
    loss = -sum_(log_p * smooth * _along(weight, input, dim), dim)
    positions = loss.numel() // (classes if input.ndim == 1 else 1) or 1
    return sum_(loss) / positions if reduction == "mean" else reduce_loss(loss, reduction)


def _hard(
    input: Tensor, target: Tensor, weight: Tensor | None, dim: int, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """cross_entropy with classes as the target."""
    logits, classes, factor, one = _checked(input, target, weight, dim, reduction)
    loss = CrossEntropy.apply(
        logits, classes, factor, ignore_index=ignore_index, smoothing=smoothing, reduction=reduction
    )[0]
    return loss.squeeze(0) if one and reduction == "none" else loss  # type: ignore[no-any-return]


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-input[target], averaged: the loss of log-probabilities.

    Arguments as for `cross_entropy`, with `input` log-probabilities and `target` classes.
    """
    logits, classes, factor, one = _checked(input, target, weight, min(1, input.ndim - 1), reduction)
    loss = Nll.apply(logits, classes, factor, ignore_index=ignore_index, reduction=reduction)[0]
    return loss.squeeze(0) if one and reduction == "none" else loss  # type: ignore[no-any-return]


def reduce_loss(loss: Tensor, reduction: str) -> Tensor:
    """The mean or the sum of element losses, or the losses themselves.

    Raises:
        MinidlError: for a reduction that is not "mean", "sum" or "none".
    """
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum_(loss)
    if reduction == "none":
        return loss
    raise MinidlError(f"loss: reduction must be 'mean', 'sum' or 'none', got {reduction!r}")


def _along(weight: Tensor | None, input: Tensor, dim: int) -> Tensor | float:
    """`weight` shaped to multiply the class dimension of `input`."""
    return 1.0 if weight is None else weight.reshape([-1 if d == dim else 1 for d in range(input.ndim)])


def _checked(
    input: Tensor, target: Tensor, weight: Tensor | None, dim: int, reduction: str
) -> tuple[Tensor, Tensor, Tensor, bool]:
    """Logits (N, C, ...), classes, the weight of each, and whether they were those of one place."""
    if input.ndim == 0:
        raise ShapeError("cross_entropy: input must be (N, C, ...), got a single number")
    if target.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: target must hold classes as int64, or probabilities in the shape of input "
                         f"{input.shape}; got {target.dtype} of shape {target.shape}")  # fmt: skip
    shape = input.shape
    if target.shape != shape[:dim] + shape[dim + 1 :]:
        places = shape[:dim] + shape[dim + 1 :]
        raise ShapeError(f"cross_entropy: target must be {places} beside input {shape}, got {target.shape}")
    if weight is not None and weight.shape != (shape[dim],):
        raise ShapeError(f"cross_entropy: weight must be ({shape[dim]},), one for each class, got {weight.shape}")
    if reduction not in ("mean", "sum", "none"):
        reduce_loss(input, reduction)
    if weight is None:
        weight = Tensor.of(_ones(input.device.xp, shape[dim], input.dtype))
    if dim == 0:
        return input.unsqueeze(0), target.unsqueeze(0), weight, True
    return input, target if target.array.flags.c_contiguous else target.contiguous(), weight, False


@functools.lru_cache(maxsize=64)
def _ones(xp: Any, classes: int, dtype: DType) -> Array:
    """The weights of classes that have none; nobody changes them."""
    return xp.ones(classes, dtype)
