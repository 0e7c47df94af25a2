"""Losses of overlap beyond Dice, for segmentation: Tversky's and the generalised Dice. Not in PyTorch."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.ops.cross_entropy import reduce_loss
from minidl.ops.reduce import sum as sum_
from minidl.ops.region_sums import region_sums

__all__ = ["generalized_dice_loss", "tversky_loss"]


def tversky_loss(
    input: Tensor, target: Tensor, *, alpha: float = 0.3, beta: float = 0.7, gamma: float = 1.0, smooth: float = 1.0,
    batch: bool = True, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """(1 - (TP + smooth) / (TP + alpha FP + beta FN + smooth))^gamma, for each class.

    Args:
        input: probabilities, (N, C, d1, ...).
        target: classes (N, d1, ...) of int64, or memberships in the shape of `input`.
        alpha, beta: cost of false positives and false negatives; 1/2 and 1/2 make it the Dice loss.
        gamma: below 1 favours hard classes (the focal Tversky loss of Abraham and Khan, ISBI 2019, has 3/4).
        smooth, batch, reduction: as for `soft_dice_loss`.

    Source: Salehi et al., MLMI 2017.

    >>> tversky_loss(Tensor([[[1.0, 0.0]]]), Tensor([[[1.0, 0.0]]]))
    tensor(0.)
    """
    hit, found, size = _sums("tversky_loss", input, target, batch)
    false_alarm, missed = found - hit, size - hit
    loss = 1 - (hit + smooth) / (hit + alpha * false_alarm + beta * missed + smooth)
    return reduce_loss(loss if gamma == 1 else loss**gamma, reduction)


def generalized_dice_loss(
    input: Tensor, target: Tensor, *, smooth: float = 1e-5, batch: bool = True, reduction: str = "mean"
) -> Tensor:
    """1 - 2 sum over classes of w TP / sum of w (p + t), with w = 1 / (size of the true region)².

    So a small region counts as much as a large one; a class that is in no target has the weight of the smallest one.

    Args:
        input, target, batch, reduction: as for `tversky_loss`; "none" gives one number for each image.
        smooth: added above and below.

    Source: Sudre et al., DLMIA 2017.
    """
    hit, found, true = _sums("generalized_dice_loss", input, target, batch)
    size = true.detach().array
    xp = input.device.xp
    largest = xp.where(size > 0, 1 / xp.maximum(size, 1e-12) ** 2, 0).max(-1, keepdims=True)
    weight = Tensor.of(
        xp.where(size > 0, 1 / xp.maximum(size, 1e-12) ** 2, xp.maximum(largest, 1e-12)).astype(input.dtype)
    )
    overlap, total = sum_(weight * hit, -1), sum_(weight * (found + true), -1)
    return reduce_loss(1 - (2 * overlap + smooth) / (total + smooth), reduction)


def _sums(name: str, input: Tensor, target: Tensor, batch: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For each class (and image): the probability where it is true, all of it, and the size of the true region."""
    if (sums := region_sums(input, target, batch)) is not None:
        return sums
    if target.shape != input.shape or input.ndim < 3:
        raise ShapeError(f"{name}: input must be (N, C, d1, ...) and target (N, d1, ...) or of the same shape, "
                         f"got {input.shape} and {target.shape}")  # fmt: skip
    dims = tuple(d for d in range(input.ndim) if d > 1 or (batch and d == 0))
    return sum_(input * target, dims), sum_(input, dims), sum_(target, dims)
