"""Dice of label maps, as training watches it; `medapps.evaluate_segmentation` is what results are reported with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["dice_scores"]


def dice_scores(truth: NDArray[np.integer], found: NDArray[np.integer], classes: int) -> NDArray[np.float64]:
    """2 |A and B| / (|A| + |B|) of each class but the background, (classes - 1,); NaN for a class in neither map.

    >>> dice_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), 3).round(3)
    array([0.667,   nan])
    """
    pairs = np.bincount((truth.astype(np.int64) * classes + found).ravel(), minlength=classes**2)
    table = pairs.reshape(classes, classes)
    sizes = table.sum(0) + table.sum(1)
    return np.asarray((2 * table.diagonal() / np.where(sizes, sizes, np.nan))[1:])
