"""How far a predicted region and the true one cover each other, in counts of voxels.

The rule for empty masks, which decides what a mean over cases is worth: a ratio without trials is not defined and is
NaN. So a case whose class is neither there nor predicted says nothing and is left out; a class that was missed, or
predicted where there is none, has a Dice and an IoU of 0, and counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError

__all__ = ["Overlap", "overlaps"]


@dataclass(frozen=True)
class Overlap:
    """Voxels of one class in one case: in both masks, only in the true one, only in the predicted one.

    >>> found = Overlap(both=30, missed=10, extra=20)
    >>> found.dice, found.iou, found.sensitivity, found.precision, found.volume_difference
    (0.6666666666666666, 0.5, 0.75, 0.6, 0.25)
    >>> Overlap(0, 0, 0).dice, Overlap(0, 7, 0).dice
    (nan, 0.0)
    """

    both: int
    missed: int
    extra: int

    @property
    def true(self) -> int:
        """Voxels of the true mask."""
        return self.both + self.missed

    @property
    def predicted(self) -> int:
        """Voxels of the predicted mask."""
        return self.both + self.extra

    @property
    def dice(self) -> float:
        """Twice the common voxels over the sum of both masks; also known as F1.

        Source: Dice, Ecology 26 (1945), 297-302.
        """
        return _ratio(2 * self.both, self.true + self.predicted)

    @property
    def iou(self) -> float:
        """Common voxels over those of either mask: Jaccard's index."""
        return _ratio(self.both, self.both + self.missed + self.extra)

    @property
    def sensitivity(self) -> float:
        """Share of the true voxels that were found."""
        return _ratio(self.both, self.true)

    @property
    def precision(self) -> float:
        """Share of the predicted voxels that are true."""
        return _ratio(self.both, self.predicted)

    @property
    def volume_difference(self) -> float:
        """Predicted minus true volume, as a share of the true one: above 0 too much, below 0 too little."""
        return _ratio(self.predicted - self.true, self.true)


def overlaps(truth: NDArray[np.uint8], prediction: NDArray[np.uint8], classes: int) -> tuple[Overlap, ...]:
    """The overlap of every class, 0 (background) to `classes` - 1.

    Args:
        truth, prediction: label maps of one shape, (z, y, x), each value a class.
        classes: how many there are, with the background.

    Raises:
        InputError: if the shapes differ or a value is no class.

    >>> truth, prediction = np.array([[[0, 1, 1, 2]]], np.uint8), np.array([[[0, 1, 0, 0]]], np.uint8)
    >>> [round(o.dice, 3) for o in overlaps(truth, prediction, 3)]
    [0.5, 0.667, 0.0]
    """
    if truth.shape != prediction.shape:
        raise InputError(f"prediction: must have the shape of the truth, {truth.shape}, got {prediction.shape}")
    for name, labels in (("truth", truth), ("prediction", prediction)):
        _check_labels(name, labels, classes)
    pairs = truth.ravel().astype(np.int64) * classes + prediction.ravel()
    counts = np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
    both, true, predicted = counts.diagonal(), counts.sum(1), counts.sum(0)
    return tuple(Overlap(int(b), int(t - b), int(p - b)) for b, t, p in zip(both, true, predicted, strict=True))


def _check_labels(name: str, labels: NDArray[np.uint8], classes: int) -> None:
    if labels.dtype.kind not in "iu":
        raise InputError(f"{name}: must hold whole numbers, one for each class, got {labels.dtype}")
    low, high = (labels.min(), labels.max()) if labels.size else (0, 0)
    if low < 0 or high >= classes:
        raise InputError(f"{name}: must hold 0 to {classes - 1} for {classes} classes, got {low} to {high}")


def _ratio(hits: int, trials: int) -> float:
    return hits / trials if trials else math.nan
