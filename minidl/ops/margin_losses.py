"""Losses beyond cross-entropy and distance: divergences, likelihoods, margins, similarities. All made of ops."""

from __future__ import annotations

import math
from collections.abc import Callable

from minidl.core import Tensor
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.activation import sigmoid, softplus
from minidl.ops.activation_family import logsigmoid
from minidl.ops.binary import minimum
from minidl.ops.class_margins import MultilabelMargin, MultiMargin
from minidl.ops.compare import eq, gt
from minidl.ops.cross_entropy import reduce_loss
from minidl.ops.elementwise import broadcast
from minidl.ops.exponents import xlogy
from minidl.ops.indexing import check_bounds
from minidl.ops.norms import pairwise_distance
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.total_loss import reduced_loss, total_loss
from minidl.ops.unary import clamp, exp, log, rsqrt
from minidl.ops.views import squeeze, unsqueeze
from minidl.ops.where import where

__all__ = [
    "cosine_embedding_loss", "gaussian_nll_loss", "hinge_embedding_loss", "kl_div", "margin_ranking_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "poisson_nll_loss",
    "sigmoid_focal_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
]  # fmt: skip


def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    """target * (log(target) - input), averaged: how far the log-probabilities `input` are from `target`.

    Args:
        reduction: "mean" over all elements, "batchmean" over the first dimension (the true divergence), "sum", "none".
        log_target: `target` holds log-probabilities too.
    """
    kind = "log_divergence" if log_target else "divergence"
    if reduction == "batchmean" and input.numel():
        total = total_loss(kind, input, target, 1 / (input.shape[0] if input.ndim else 1))
    else:
        total = reduced_loss(kind, input, target, reduction)
    if total is not None:
        return total
    loss = exp(target) * (target - input) if log_target else xlogy(target, target) - target * input
    if reduction == "batchmean":
        return sum_(loss) / (input.shape[0] if input.ndim else 1)
    return reduce_loss(loss, reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False, *, eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The negative log-likelihood of counts `target` for Poisson rates, averaged.

    Args:
        input: the rate, or with `log_input` its logarithm.
        full: add Stirling's approximation of log(target!) for targets above 1.
        eps: added to a rate before its logarithm.
    """
    if (
        not full
        and (total := reduced_loss("log_rate" if log_input else "rate", input, target, reduction, eps)) is not None
    ):
        return total
    loss = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        big = gt(target, 1)
        safe = where(big, target, 2.0)
        loss = loss + where(big, safe * log(safe) - safe + 0.5 * log(2 * math.pi * safe), 0.0)
    return reduce_loss(loss, reduction)


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """The negative log-likelihood of `target` for normal distributions, averaged.

    Args:
        input: the means.
        var: the variances, which broadcast to `input`, or have its shape without the last dimension; held above
            `eps`, with the gradient of the number they are held at.
        full: add the constant log(2 pi) / 2.

    Raises:
        ShapeError, ArgumentError: if `var` does not fit or is negative.
    """
    spread = var if isinstance(var, Tensor) else Tensor.of(input.device.xp.full(input.shape, var, input.dtype))
    if spread.shape != input.shape:
        if input.shape[:-1] == spread.shape:
            spread = unsqueeze(spread, -1)
        elif broadcast("gaussian_nll_loss", input.spec, spread.spec) != input.shape:
            raise ShapeError(f"gaussian_nll_loss: var must fit input {input.shape}, got {spread.shape}")
    if spread.numel() and float(spread.array.min()) < 0:
        raise ArgumentError("gaussian_nll_loss: var must be 0 or more")
    held = spread + (where(spread < eps, eps, spread) - spread).detach()  # the bound is not differentiated
    difference = input - target
    loss = 0.5 * (log(held) + difference * difference / held)
    return reduce_loss(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def hinge_embedding_loss(input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean") -> Tensor:
    """The distance where target is 1, max(0, margin - distance) where it is -1, averaged."""
    if (total := reduced_loss("embedding", input, target, reduction, margin)) is not None:
        return total
    near = where(eq(target, 1), input, 0.0)
    apart = where(eq(target, -1), clamp(margin - input, min=0.0), 0.0)
    both = where(eq(target, 1) + eq(target, -1), near + apart, input + clamp(margin - input, min=0.0))
    return reduce_loss(both, reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """max(0, -target * (input1 - input2) + margin), averaged: `target` 1 wants input1 the larger, -1 the smaller."""
    difference = input1 - input2
    if (total := reduced_loss("ranking", difference, target, reduction, margin)) is not None:
        return total
    return reduce_loss(_hinge(-target * difference + margin), reduction)


def _hinge(x: Tensor) -> Tensor:
    """max(x, 0), with slope 1 at 0, as PyTorch's margins have it."""
    return clamp(x, min=0.0)


def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """log(1 + exp(-target * input)) for targets of 1 and -1, averaged."""
    if input.shape != target.shape:
        raise ShapeError(f"soft_margin_loss: target must have the shape of input, {input.shape}, got {target.shape}")
    if (total := reduced_loss("margin", input, target, reduction)) is not None:
        return total
    return reduce_loss(softplus(-target * input, threshold=math.inf), reduction)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None, *,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """The sum over wrong classes of max(0, margin - input[target] + input[class])^p, divided by the classes; averaged.

    Args:
        input: scores, (N, C) or (C,).
        target: classes, (N,) or one number.
        p: 1 or 2.
        weight: (C,), a factor for each true class.

    Raises:
        ArgumentError, ShapeError: for another `p`, or shapes that do not fit.
    """
    if not input.ndim and not target.ndim:  # one score of one class
        input, target = input.reshape(1), target.reshape(1)
    if p not in (1, 2):
        raise ArgumentError(f"multi_margin_loss: p must be 1 or 2, got {p}")
    if input.ndim not in (1, 2) or not input.shape[-1] or target.shape not in (input.shape[:-1], (1,) * input.ndim):
        raise ShapeError(f"multi_margin_loss: needs input (N, C) and target (N,), got {input.shape}, {target.shape}")
    if not is_floating(input.dtype):
        raise DTypeError(f"multi_margin_loss: input must be floating, got {input.dtype}")
    classes = input.shape[-1]
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"multi_margin_loss: weight must be ({classes},), one for each class, got {weight.shape}")
    rows = input if input.ndim == 2 else input.reshape(1, classes)
    places = target if target.ndim == 1 else target.reshape(-1)
    check_bounds("multi_margin_loss", places, classes)
    factor = Tensor.of(input.device.xp.ones(classes, input.dtype)) if weight is None else weight
    loss = MultiMargin.apply(rows, places, factor, p=p, margin=float(margin))
    return reduce_loss(loss if input.ndim > 1 else squeeze(loss, 0), reduction)


def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    """The sum over pairs (true class, other class) of max(0, 1 - input[true] + input[other]) / C, averaged.

    Args:
        input: scores, (N, C) or (C,).
        target: the true classes in front, -1 behind the last of them; in the shape of `input`.
    """
    if input.shape != target.shape or input.ndim not in (0, 1, 2) or not math.prod(input.shape[-1:]):
        raise ShapeError(f"multilabel_margin_loss: needs input and target (N, C), got {input.shape} and {target.shape}")
    rows = input.reshape(1, -1) if input.ndim < 2 else input
    wanted = target.reshape(rows.shape)
    check_bounds("multilabel_margin_loss", clamp(wanted, min=0), rows.shape[1])
    loss = MultilabelMargin.apply(rows, wanted)
    return reduce_loss(loss if input.ndim > 1 else squeeze(loss, 0), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """Binary cross-entropy of each class's sigmoid, averaged over the classes (last dimension), then over the batch."""
    if weight is None and input.ndim:
        factor = 1.0 if reduction == "mean" else 1 / max(input.shape[-1], 1)
        if (total := reduced_loss("entropy_of_logit", input, target, reduction, factor=factor)) is not None:
            return total
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    return reduce_loss(mean(loss if weight is None else loss * weight, -1), reduction)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    """1 - cosine for pairs with target 1, max(0, cosine - margin) with target -1, averaged.

    Args:
        input1, input2: (N, D), or (D,) for one pair.
        target: (N,), or one number.
    """
    if target.ndim > 1 or input1.ndim != input2.ndim or input1.ndim != target.ndim + 1:
        raise ShapeError(f"cosine_embedding_loss: needs inputs (N, D) and target (N,), got {input1.shape}, "
                         f"{input2.shape} and {target.shape}")  # fmt: skip
    products = [sum_(a * b, -1) for a, b in ((input1, input2), (input1, input1), (input2, input2))]
    cosine = products[0] * rsqrt((products[1] + 1e-12) * (products[2] + 1e-12))
    loss = where(eq(target, 1), 1 - cosine, where(eq(target, -1), _hinge(cosine - margin), 0.0))
    return reduce_loss(loss, reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2, eps: float = 1e-6,
    swap: bool = False, *, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin), averaged, d being the p-norm's distance.

    Args:
        anchor, positive, negative: (N, D) or (D,).
        swap: take d(positive, negative) instead of d(anchor, negative) where it is the smaller.

    Source: Balntas et al., BMVC 2016.
    """
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=lambda a, b: pairwise_distance(a, b, p, eps), margin=margin,
        swap=swap, reduction=reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0, swap: bool = False,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """`triplet_margin_loss` with any distance; `pairwise_distance` for None.

    Raises:
        ArgumentError: unless `margin` is above 0.
    """
    if margin <= 0:
        raise ArgumentError(f"triplet_margin_loss: margin must be above 0, got {margin}")
    if not anchor.ndim == positive.ndim == negative.ndim:
        raise ShapeError(f"triplet_margin_loss: all three must have as many dimensions, got {anchor.shape}, "
                         f"{positive.shape} and {negative.shape}")  # fmt: skip
    d = distance_function or pairwise_distance
    apart = d(anchor, negative)
    if swap:
        apart = minimum(apart, d(positive, negative))
    return reduce_loss(_hinge(margin + d(anchor, positive) - apart), reduction)


def sigmoid_focal_loss(
    input: Tensor, target: Tensor, alpha: float = 0.25, gamma: float = 2.0, reduction: str = "none"
) -> Tensor:
    """Binary cross-entropy of logits with easy examples weighted down by (1 - p_true)^gamma.

    Args:
        input: logits.
        target: 0 or 1, of the same shape.
        alpha: weight of the positive class, 1 - alpha of the negative; below 0 for none.

    Source: Lin et al., ICCV 2017; names and defaults are torchvision's.
    """
    if gamma == 2 and (total := reduced_loss("focal", input, target, reduction, alpha)) is not None:
        return total
    p = sigmoid(input)
    loss = softplus(input, threshold=math.inf) - target * input
    wrong = p + target - 2 * p * target
    loss = loss * wrong**gamma
    if alpha >= 0:
        loss = loss * (alpha * target + (1 - alpha) * (1 - target))
    return reduce_loss(loss, reduction)
