"""cross_entropy and nll_loss: how far predicted class probabilities are from the true classes.

With classes as the target, cross_entropy is one op, label smoothing included: each logit is read once forward and once
backward, and nothing of their size is kept. Forward keeps the largest x of each place and log(sum(exp(x - largest))),
so backward is g * weight * (exp(x - largest - that) - 1 at the target).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, is_recording
from minidl.core.way import common_device
from minidl.device import CPU, CudaKernels, device_of, numba_enabled, parallel
from minidl.device.cuda import BLOCK, REALS
from minidl.device.dtypes import accumulator
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.ops.compare import ne
from minidl.ops.nll import Nll, OfClasses, Survey, survey
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.reduce_loops import row_totals
from minidl.ops.softmax import log_softmax, softmax
from minidl.ops.softmax_loops import cross_entropy_rows, cross_entropy_slope_rows
from minidl.ops.where import where

__all__ = ["cross_entropy", "nll_loss", "reduce_loss"]


class CrossEntropy(OfClasses):
    """weight[t] * (log(sum(exp(x))) - x[t]) of each place, 0 where t is ignored; and what that is made of.

    With a `share` it is so much of the sum of all places instead of each for itself. What losses are made of are the
    largest x and log(sum(exp(x - largest))), apart: their sum would be rounded to the last digit of the largest, and a
    loss of 1e-4 beside logits of 10 would keep two digits.
    """

    name = "cross_entropy"
    saves = ("x", "target", "weight", "out")
    images = ("x",)

    @staticmethod
    def infer(
        x: Spec, target: Spec, weight: Spec, *, ignore_index: int, smoothing: float, share: float | None
    ) -> tuple[Spec, Spec, Spec]:
        places = x.with_shape(*target.shape)
        return places if share is None else x.with_shape(), places, places

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        total, top, level = out
        loss = total if share is None else xp.empty(target.shape, x.dtype)
        top[...] = x.max(axis=1)
        level[...] = xp.log(xp.exp(x - xp.expand_dims(top, 1)).sum(axis=1))
        kept = target != ignore_index
        classes = xp.where(kept, target, 0)
        loss[...] = level - (xp.take_along_axis(x, xp.expand_dims(classes, 1), axis=1).squeeze(1) - top)
        loss *= weight[classes]
        if smoothing:
            off = xp.expand_dims(level, 1) - (x - xp.expand_dims(top, 1))
            even = xp.moveaxis(off, 1, -1) @ weight / x.shape[1]
            loss *= 1 - smoothing
            loss += even * smoothing
        loss *= kept
        if share is not None:
            total[...] = xp.sum(loss, dtype=accumulator(x.dtype)) * share

    @staticmethod
    def cpu(
        out: tuple[Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        total, top, level = out
        loss = total.reshape(-1) if share is None else np.empty(target.size, x.dtype)
        parallel(cross_entropy_rows, target.size, loss, top.reshape(-1), level.reshape(-1), x.reshape(-1),
                 target.reshape(-1), weight, ignore_index, smoothing)  # fmt: skip
        if share is not None:
            total[...] = row_totals(loss, 1)[0] * share

    @staticmethod
    def cuda(
        out: tuple[Array, Array, Array], x: Array, target: Array, weight: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        total, top, level = out
        places, blocks = target.size, _blocks(target.size)
        sums = device_of(x).xp.empty(blocks, np.float64)
        how = (places, x.shape[1], _plane(x), ignore_index, smoothing)
        CUDA.launch_blocks(
            "losses", blocks, total if share is None else None, top, level, sums, x, target, weight, *how
        )
        if share is not None:
            CUDA.launch_blocks("total_loss", 1, total, sums, blocks, share)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, target, weight, (_, top, level) = node.saved
        if not is_recording():
            made = CrossEntropyGrad.apply(g[0], x, target, weight, top.detach(), level.detach(), **node.params)
            return made, None, None
        kept, smoothing, share = ne(target, node.params["ignore_index"]), node.params["smoothing"], node.params["share"]
        classes, g = where(kept, target, 0), where(kept, g[0] if share is None else g[0] * share, 0.0)
        hit = (g * weight[classes] * (1 - smoothing)).unsqueeze(1)
        even = g.unsqueeze(1) * (smoothing / x.shape[1]) * _along(weight, x, 1)
        return softmax(x, 1) * (hit + sum_(even, 1, keepdim=True)) - _one_hot(classes, x) * hit - even, None, None


class CrossEntropyGrad(Op):
    """The gradient of the logits; for a second derivative it is written in ops instead."""

    name = "cross_entropy_grad"
    images = ("x", "out")

    @staticmethod
    def infer(
        g: Spec, x: Spec, target: Spec, weight: Spec, top: Spec, level: Spec,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> Spec:  # fmt: skip
        return x

    @staticmethod
    def reference(
        xp: Any, out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        g = g if share is None else g * g.dtype.type(share)
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
        g, x, target, weight, top, level = arrays
        fits = g.dtype == x.dtype == weight.dtype == top.dtype == level.dtype and target.dtype == np.int64
        return super().cpu_takes(arrays, params) and fits and x.size > 0

    @staticmethod
    def cpu(
        out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        g = g if share is None else g * g.dtype.type(share)  # one for all places
        flat = [a.reshape(-1) for a in (out, g, x, target, weight, top, level)]
        parallel(cross_entropy_slope_rows, target.size, *flat, int(share is None), ignore_index, smoothing)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return cls.cpu_takes(arrays, params)

    @staticmethod
    def cuda(
        out: Array, g: Array, x: Array, target: Array, weight: Array, top: Array, level: Array,
        *, ignore_index: int, smoothing: float, share: float | None,
    ) -> None:  # fmt: skip
        how = (int(share is not None), 1.0 if share is None else share, x.shape[1], _plane(x), ignore_index, smoothing)
        CUDA.launch("slopes", target.size, out, g, x, target, weight, top, level, *how)


CUDA = CudaKernels(__file__, "cross_entropy.cuh")
BLOCKS = 256  # at most, of sums over all places


def _blocks(places: int) -> int:
    return min(-(-places // BLOCK), BLOCKS)


def _plane(x: Array) -> int:
    """Places of one sample of logits (N, C, ...)."""
    return math.prod(x.shape[2:])


def survey_on_gpu(target: Array, weight: Array | None, classes: int, ignore_index: int) -> Survey:
    """As `survey`, in one launch and one message to the host."""
    common_device("cross_entropy", (target,) if weight is None else (target, weight))
    blocks = _blocks(target.size)
    found = device_of(target).xp.empty((blocks, 3), np.float64)
    real = found.dtype if weight is None else weight.dtype
    given = (found, weight, target, target.size, classes, ignore_index)
    CUDA.start("survey", real, target.size, blocks, blocks, given)
    kept, wrong, weights = found.get().sum(0)
    return Survey(int(kept), int(wrong), float(weights))


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
    log_p = log_softmax(input, dim)
    smooth = target if not label_smoothing else target * (1 - label_smoothing) + label_smoothing / classes
    loss = -sum_(log_p * smooth * _along(weight, input, dim), dim)
    positions = loss.numel() // (classes if input.ndim == 1 else 1) or 1
    return sum_(loss) / positions if reduction == "mean" else reduce_loss(loss, reduction)


def _hard(
    input: Tensor, target: Tensor, weight: Tensor | None, dim: int, ignore_index: int, reduction: str, smoothing: float
) -> Tensor:
    """cross_entropy with classes as the target."""
    kept = _check_target(input, target, weight, ignore_index, dim)
    factor = Tensor.of(input.device.xp.ones(input.shape[dim], input.dtype)) if weight is None else weight
    one = dim == 0
    logits, classes = (input.unsqueeze(0), target.unsqueeze(0)) if one else (input, target)
    share = _share(reduction, kept)
    loss = CrossEntropy.apply(logits, classes, factor, ignore_index=ignore_index, smoothing=smoothing, share=share)[0]
    return loss if share is not None else reduce_loss(loss.squeeze(0) if one else loss, reduction)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-input[target], averaged: the loss of log-probabilities.

    Arguments as for `cross_entropy`, with `input` log-probabilities and `target` classes.
    """
    dim = min(1, input.ndim - 1)
    kept = _check_target(input, target, weight, ignore_index, dim)
    factor = Tensor.of(input.device.xp.ones(input.shape[dim], input.dtype)) if weight is None else weight
    one = dim == 0
    given = (input.unsqueeze(0), target.unsqueeze(0)) if one else (input, target)
    share = _share(reduction, kept)
    loss: Tensor = Nll.apply(*given, factor, ignore_index=ignore_index, share=share)
    return loss if share is not None else reduce_loss(loss.squeeze(0) if one else loss, reduction)


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


def _share(reduction: str, kept: float) -> float | None:
    """What the sum of all losses is multiplied by; None where it is not asked for.

    The mean is over the places that are kept, each counted by the weight of its class: `kept` in all.
    """
    return {"mean": 1 / kept if kept else math.nan, "sum": 1.0}.get(reduction)


def _check_target(
    input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, dim: int
) -> float:  # fmt: skip
    """How many places are not ignored, each counted by the weight of its class."""
    positions = input.shape[:dim] + input.shape[dim + 1 :]
    if input.ndim == 0:
        raise ShapeError("cross_entropy: input must be (N, C, ...), got a single number")
    if target.dtype.kind not in "iu":
        raise DTypeError(f"cross_entropy: target must hold classes as int64, or probabilities in the shape of input "
                         f"{input.shape}; got {target.dtype} of shape {target.shape}")  # fmt: skip
    if target.shape != positions:
        raise ShapeError(f"cross_entropy: target must be {positions} beside input {input.shape}, got {target.shape}")
    classes = input.shape[dim]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"cross_entropy: weight must be ({classes},), one for each class, got {weight.shape}")
    places = target.array
    found = _surveyed(target, None if weight is None else weight.array, classes, ignore_index)
    if found is not None and not found.wrong:
        return found.kept if weight is None else found.weight
    kept = places != ignore_index
    wrong = places[kept & ((places < 0) | (places >= classes))]
    if wrong.size:
        raise ShapeError(
            f"cross_entropy: target {int(wrong[0])} is no class; input has {classes}, from 0 to {classes - 1}"
        )
    if weight is None:
        return int(kept.sum())
    return float(target.device.xp.bincount(places[kept], minlength=classes) @ weight.array)


def _surveyed(target: Tensor, weight: Array | None, classes: int, ignore_index: int) -> Survey | None:
    """What a kernel finds out about the classes; None where there is none for them."""
    places = target.array
    if not places.size or places.dtype != np.int64:
        return None
    if target.device is CPU:
        factors = np.ones(classes) if weight is None else weight
        return survey(places, factors, ignore_index) if numba_enabled() else None
    has_kernel = CrossEntropy.cuda is not None and places.flags.c_contiguous
    if not has_kernel or (weight is not None and weight.dtype.char not in REALS):
        return None
    return survey_on_gpu(places, weight, classes, ignore_index)
