"""Losses of classification and segmentation, and the weights that make rare classes count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minidl import Tensor
from minidl.nn import functional as F

__all__ = ["class_weights", "classification_loss", "segmentation_loss"]


def classification_loss(
    logits: Tensor, target: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Cross-entropy, averaged over the images by the weight of their class.

    logits: (N, K); target: (N,), int64; weight: (K,) or None for equal weights.
    """
    return F.cross_entropy(logits, target, weight=weight, label_smoothing=label_smoothing)


def class_weights(labels: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """Weights (K,) that give every class the same total; their mean over the images is 1. An empty class gets 0.

    Source: King and Zeng, "Logistic regression in rare events data", Political Analysis 9 (2001), section 4.

    >>> class_weights(np.array([0, 1, 1, 1]), 2).tolist()
    [2.0, 0.6666666865348816]
    """
    counts = np.bincount(labels, minlength=classes)
    present = np.count_nonzero(counts)
    return np.where(counts, len(labels) / (present * np.maximum(counts, 1)), 0.0).astype(np.float32)


def segmentation_loss(logits: Tensor, target: Tensor, dice: float = 1.0) -> Tensor:
    """Cross-entropy over the pixels plus `dice` times the soft Dice loss of the classes that are not background.

    Cross-entropy has a good gradient everywhere; Dice does not care how large the background is.
    logits: (N, K, H, W); target: (N, H, W), int64.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), online methods (training).
    """
    loss = F.cross_entropy(logits, target)
    if not dice:
        return loss
    truth = F.one_hot(target, logits.shape[1]).movedim(-1, 1)[:, 1:].to(logits.dtype)
    return loss + dice * F.soft_dice_loss(logits.softmax(1)[:, 1:], truth)
