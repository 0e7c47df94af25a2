"""Losses that compare element with element: mse, l1, smooth l1, Huber, and binary cross-entropy.

Their means and sums are one op (`total_loss.py`), unless weights or a gradient of the target ask for more; those, and
the losses of the elements themselves, are written in ops.
"""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import MinidlError, ShapeError
from minidl.ops.activation import softplus
from minidl.ops.compare import lt
from minidl.ops.cross_entropy import reduce_loss
from minidl.ops.reduce import sum as sum_
from minidl.ops.total_loss import reduced_loss
from minidl.ops.unary import abs as abs_
from minidl.ops.unary import clamp, log
from minidl.ops.where import where

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "huber_loss", "l1_loss", "mse_loss", "smooth_l1_loss",
]  # fmt: skip


def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:  # fmt: skip
    """(input - target)², averaged; both of one shape.

    Args:
        weight: a factor for each element, of the same shape; a mean is divided by their sum.

    >>> mse_loss(Tensor([1.0, 2.0]), Tensor([0.0, 0.0]))
    tensor(2.5)
    """
    _same_shape("mse_loss", input, target)
    if weight is None and (loss := reduced_loss("square", input, target, reduction)) is not None:
        return loss
    difference = input - target
    return _weighted_mean("mse_loss", difference * difference, weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:  # fmt: skip
    """|input - target|, averaged; both of one shape; `weight` as in `mse_loss`."""
    _same_shape("l1_loss", input, target)
    if weight is None and (loss := reduced_loss("distance", input, target, reduction)) is not None:
        return loss
    return _weighted_mean("l1_loss", abs_(input - target), weight, reduction)


def huber_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """Half the squared difference up to `delta`, from there on a straight line of slope `delta`.

    Args:
        weight: a factor for each element, of the same shape; a mean is that of the weighted losses, as in PyTorch.

    Source: Huber, Ann. Math. Statist. 35 (1964).
    """
    if delta <= 0:
        raise MinidlError(f"huber_loss: delta must be above 0, got {delta}")
    _same_shape("huber_loss", input, target)
    if weight is None and (loss := reduced_loss("huber", input, target, reduction, delta)) is not None:
        return loss
    difference = abs_(input - target)
    bent = where(lt(difference, delta), difference * difference * 0.5, delta * (difference - 0.5 * delta))
    return reduce_loss(bent if weight is None else bent * _alike("huber_loss", bent, weight), reduction)


def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    """`huber_loss` divided by `beta`: slope 1 far out; the plain l1 loss for beta 0."""
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    if beta > 0 and (loss := reduced_loss("huber", input, target, reduction, beta, 1 / beta)) is not None:
        return loss
    return huber_loss(input, target, reduction=reduction, delta=beta) / beta


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    """-(t log p + (1 - t) log(1 - p)), averaged; logarithms are held above -100, as in PyTorch.

    Args:
        input: probabilities from 0 to 1. For logits use `binary_cross_entropy_with_logits`, which does not round.
        target: of the same shape, from 0 to 1.
        weight: a factor for each element.
    """
    _same_shape("binary_cross_entropy", input, target)
    if weight is None and (total := reduced_loss("entropy", input, target, reduction)) is not None:
        return total
    loss = -(target * clamp(log(input), min=-100.0) + (1 - target) * clamp(log(1 - input), min=-100.0))
    return reduce_loss(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """Binary cross-entropy of sigmoid(input), averaged, finite for every finite logit.

    Args:
        input: logits.
        target: of the same shape, from 0 to 1.
        weight: a factor for each element.
        pos_weight: a factor for the positive part, broadcast to `input`.

    >>> binary_cross_entropy_with_logits(Tensor([0.0]), Tensor([1.0]))
    tensor(0.6931472)
    """
    _same_shape("binary_cross_entropy_with_logits", input, target)
    one = pos_weight is None or (
        pos_weight.numel() == 1 and pos_weight.ndim <= input.ndim and not pos_weight.requires_grad
    )
    if weight is None and one:
        kind, level = (
            ("entropy_of_logit", 0.0) if pos_weight is None else ("weighted_entropy_of_logit", pos_weight.item())
        )
        if (total := reduced_loss(kind, input, target, reduction, level)) is not None:
            return total
    factor: Tensor | float = 1.0 if pos_weight is None else 1 + (pos_weight - 1) * target
    loss = (1 - target) * input + factor * softplus(-input, threshold=float("inf"))
    return reduce_loss(loss if weight is None else loss * weight, reduction)


def _weighted_mean(op: str, loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    """The loss reduced, where a mean counts each element by its weight."""
    if weight is None:
        return reduce_loss(loss, reduction)
    weighted = loss * _alike(op, loss, weight)
    return sum_(weighted) / sum_(weight) if reduction == "mean" else reduce_loss(weighted, reduction)


def _alike(op: str, loss: Tensor, weight: Tensor) -> Tensor:
    if weight.shape != loss.shape:
        raise ShapeError(f"{op}: weight must have the shape of input, {loss.shape}, got {weight.shape}")
    return weight


def _same_shape(op: str, input: Tensor, target: Tensor) -> Tensor:
    if input.shape != target.shape:
        raise ShapeError(f"{op}: target must have the shape of input, {input.shape}, got {target.shape}; reshape one")
    return target
