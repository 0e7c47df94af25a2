"""Region: one class in one case, measured in every way, so that all means are made of the same numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.metrics.overlap import Overlap, overlaps
from medapps.metrics.surface import surface_distances

__all__ = ["FIGURES", "OUTCOMES", "Region", "measure_regions"]

FIGURES = ("dice", "iou", "surface_dice", "hd95", "assd", "sensitivity", "precision", "volume_difference")
OUTCOMES = ("found", "missed", "false alarm", "absent")


@dataclass(frozen=True)
class Region:
    """What one class in one case came out as; a figure that is not defined is NaN.

    overlap: voxels.
    hd95, assd: the Hausdorff distance at 95 % and the average distance of the surfaces, in the unit of the spacing;
        not defined unless the class is both there and predicted.
    surface_dice: the normalised surface Dice at the evaluation's tolerance; 0 when one of the masks is empty.
    """

    overlap: Overlap
    hd95: float
    assd: float
    surface_dice: float

    @property
    def outcome(self) -> str:
        """found (predicted where it is, however badly), missed, false alarm, or absent: not there and not predicted."""
        true, predicted = self.overlap.true > 0, self.overlap.predicted > 0
        return OUTCOMES[(0 if predicted else 1) if true else (2 if predicted else 3)]

    def figures(self) -> dict[str, float]:
        """Every figure by its name, in the order of `FIGURES`."""
        return {name: getattr(self if hasattr(self, name) else self.overlap, name) for name in FIGURES}


def measure_regions(
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    spacing: Sequence[float] | None,
    classes: int,
    tolerance: float,
) -> tuple[Region, ...]:
    """Measure every class of a case but the background.

    Args:
        truth, prediction: label maps of one shape, (z, y, x), each value a class.
        spacing: (z, y, x), millimetres; None: distances are in voxels.
        classes: how many there are, with the background.
        tolerance: of the surface Dice, in the unit of the spacing.

    Raises:
        InputError: if the label maps or the spacing cannot be used.
    """
    counts = overlaps(truth, prediction, classes)
    return tuple(_measured(truth == k, prediction == k, spacing, counts[k], tolerance) for k in range(1, classes))


def _measured(
    truth: NDArray[np.bool_],
    prediction: NDArray[np.bool_],
    spacing: Sequence[float] | None,
    overlap: Overlap,
    tolerance: float,
) -> Region:
    distances = surface_distances(truth, prediction, spacing)
    hd95, assd = (v if math.isfinite(v) else math.nan for v in (distances.hausdorff95, distances.average))
    return Region(overlap, hd95, assd, distances.within(tolerance))
