"""soft_dice_loss: one minus the overlap of predicted and true regions, differentiable."""

from __future__ import annotations

import numpy as np

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.ops.cross_entropy import reduce_loss
from minidl.ops.reduce import sum as sum_
from minidl.ops.region_sums import region_sums

__all__ = ["one_hot", "soft_dice_loss"]


def soft_dice_loss(
    input: Tensor, target: Tensor, *, smooth: float = 1.0, batch: bool = True, reduction: str = "mean"
) -> Tensor:
    """1 - (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth), for each class.

    Args:
        input: probabilities, (N, C, d1, ...); take softmax or sigmoid of logits first.
        target: classes (N, d1, ...) of int64, or memberships in the shape of `input`.
        smooth: keeps the loss of a class that is in neither at 0, and its gradient finite.
        batch: sums run over the whole batch (steadier for small regions); False for each image alone.
        reduction: over classes (and images): "mean", "sum" or "none".

    Returns:
        One number; for "none" (C,), or (N, C) where `batch` is False.

    Raises:
        ShapeError: if target does not fit to input.

    Source: Milletari et al., 3DV 2016, with plain instead of squared sums below.

    >>> soft_dice_loss(Tensor([[[1.0, 0.0]]]), Tensor([[[1.0, 0.0]]]))
    tensor(0.)
    """
    if (found := region_sums(input, target, batch)) is not None:
        overlap, total, size = found
        return reduce_loss(1 - (2 * overlap + smooth) / (total + (size + smooth)), reduction)
    if target.shape != input.shape or input.ndim < 3:
        raise ShapeError(f"soft_dice_loss: input must be (N, C, d1, ...) and target (N, d1, ...) or of the same shape, "
                         f"got {input.shape} and {target.shape}")  # fmt: skip
    dims = tuple(d for d in range(input.ndim) if d > 1 or (batch and d == 0))
    overlap = sum_(input * target, dims)
    total = sum_(input, dims) + sum_(target, dims)
    return reduce_loss(1 - (2 * overlap + smooth) / (total + smooth), reduction)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Classes as vectors of zeros with a single one, int64; the new dimension is the last.

    Args:
        num_classes: length of the vectors; one more than the largest class when -1.

    >>> one_hot(Tensor([0, 2]).long())
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    xp = input.device.xp
    count = int(input.array.max()) + 1 if num_classes == -1 else num_classes
    if input.numel() and not 0 <= int(input.array.min()) <= int(input.array.max()) < count:
        raise ShapeError(
            f"one_hot: classes must lie from 0 to {count - 1}, got {int(input.array.min())} to {int(input.array.max())}"
        )
    return Tensor.of((input.array[..., None] == xp.arange(count)).astype(np.int64))
