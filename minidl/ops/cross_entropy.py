"""cross_entropy and nll_loss: how far predicted class probabilities are from the true classes."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import DTypeError, MinidlError, ShapeError
from minidl.ops.compare import ne
from minidl.ops.indexing import gather, where
from minidl.ops.reduce import mean
from minidl.ops.reduce import sum as sum_
from minidl.ops.softmax import log_softmax

__all__ = ["cross_entropy", "nll_loss", "reduce_loss"]


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
    classes = input.shape[dim]
    log_p = log_softmax(input, dim)
    if target.shape == input.shape and target.is_floating_point():
        smooth = target if not label_smoothing else target * (1 - label_smoothing) + label_smoothing / classes
        loss = -sum_(log_p * smooth * _along(weight, input, dim), dim)
        positions = loss.numel() // (classes if input.ndim == 1 else 1) or 1
        return sum_(loss) / positions if reduction == "mean" else reduce_loss(loss, reduction)
    if not label_smoothing:
        return nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction=reduction)
    hard = nll_loss(log_p, target, weight, ignore_index=ignore_index, reduction="none")
    kept = ne(target, ignore_index)
    spread = where(kept, -sum_(log_p * _along(weight, input, dim), dim), 0.0)
    loss = hard * (1 - label_smoothing) + spread * (label_smoothing / classes)
    return _weighted_mean(loss, target, weight, ignore_index) if reduction == "mean" else reduce_loss(loss, reduction)


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """-input[target], averaged: the loss of log-probabilities.

    Arguments as for `cross_entropy`, with `input` log-probabilities and `target` classes.
    """
    dim = min(1, input.ndim - 1)
    _check_target(input, target, weight, ignore_index, dim)
    kept = ne(target, ignore_index)
    classes = where(kept, target, 0)
    loss = -gather(input, dim, classes.unsqueeze(dim)).squeeze(dim)
    if weight is not None:
        loss = loss * weight[classes]
    loss = where(kept, loss, 0.0)
    return _weighted_mean(loss, target, weight, ignore_index) if reduction == "mean" else reduce_loss(loss, reduction)


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


def _weighted_mean(loss: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int) -> Tensor:
    """The mean over kept positions, each counted by the weight of its class."""
    kept = ne(target, ignore_index)
    counts = kept.to(loss.dtype) if weight is None else where(kept, weight[where(kept, target, 0)], 0.0)
    return sum_(loss) / sum_(counts)


def _check_target(input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int, dim: int) -> None:
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
    wrong = target.array[(target.array != ignore_index) & ((target.array < 0) | (target.array >= classes))]
    if wrong.size:
        raise ShapeError(
            f"cross_entropy: target {int(wrong[0])} is no class; input has {classes}, from 0 to {classes - 1}"
        )
