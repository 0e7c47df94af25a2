"""How far apart the surfaces of a predicted and of a true region are, in millimetres.

Programs of the same name differ here, by tens of millimetres on the same masks, so every choice is told:

- The surface of a mask is the set of its voxels with a neighbour outside it, across a face (6 neighbours in a volume,
  4 in a picture, which is a volume of one slice). What lies beyond the border of the image is outside.
- A distance is from the centre of a surface voxel to the nearest centre of the other surface, in the image's spacing.
- The Hausdorff distance at 95 % is the larger of the two 95th percentiles, truth to prediction and back; it is not the
  percentile of both sets thrown together, which is smaller when one surface is larger than the other.
- The average is over both sets together.
- From a mask to an empty one the distance is infinite; between two empty ones it is not defined (NaN).

Sources: Maier-Hein, Reinke et al., Nature Methods 21 (2024), 195-212 (which figure for what, and HD95 as the larger
percentile); Podobnik and Vrtovec, MICCAI 2024, LNCS 15008, doi 10.1007/978-3-031-72114-4_30 (how programs differ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError

__all__ = ["SurfaceDistances", "surface_distances"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances between two surfaces, in the unit of the spacing.

    to_prediction: (T,), from each voxel of the true surface to the nearest one of the predicted surface.
    to_truth: (P,), from each voxel of the predicted surface to the nearest one of the true surface.
    """

    to_prediction: NDArray[np.float64]
    to_truth: NDArray[np.float64]

    @property
    def hausdorff95(self) -> float:
        """The larger of the two 95th percentiles (between two ranks: linear); infinite when one mask is empty."""
        sides = [side for side in (self.to_prediction, self.to_truth) if len(side)]
        if not sides:
            return math.nan
        return max(float(np.percentile(s, 95)) if math.isfinite(s[0]) else math.inf for s in sides)

    @property
    def average(self) -> float:
        """Mean of all distances, both ways together; infinite when one mask is empty.

        Source: Heimann et al., IEEE Trans. Med. Imaging 28 (2009), 1251-1265, section II.C.
        """
        count = len(self.to_prediction) + len(self.to_truth)
        return float(self.to_prediction.sum() + self.to_truth.sum()) / count if count else math.nan

    def within(self, tolerance: float) -> float:
        """The normalised surface Dice: share of both surfaces that lies at most `tolerance` from the other.

        0 when one mask is empty, NaN when both are. Each surface voxel counts as one, whatever its area.

        Source: Nikolov et al., J. Med. Internet Res. 23 (2021), e26151, section on the surface DSC.
        """
        count = len(self.to_prediction) + len(self.to_truth)
        near = (self.to_prediction <= tolerance).sum() + (self.to_truth <= tolerance).sum()
        return float(near) / count if count else math.nan


def surface_distances(truth: Mask, prediction: Mask, spacing: Sequence[float] | None = None) -> SurfaceDistances:
    """The distances between the surfaces of two masks of one shape, (z, y, x).

    spacing: (z, y, x), millimetres between the centres of neighbours; None: distances are in voxels.

    Raises:
        InputError: if the shapes differ, are not (z, y, x), or the spacing is not three positive numbers.

    >>> truth, prediction = np.zeros((2, 1, 1, 9), bool)
    >>> truth[..., 2], prediction[..., 5] = True, True
    >>> surface_distances(truth, prediction, (5.0, 1.0, 0.5)).hausdorff95
    1.5
    """
    if truth.ndim != 3 or truth.shape != prediction.shape:
        raise InputError(f"masks: must be (z, y, x) and of one shape, got {truth.shape} and {prediction.shape}")
    step = np.ones(3) if spacing is None else np.asarray(spacing, np.float64)
    if step.shape != (3,) or not (np.isfinite(step) & (step > 0)).all():
        raise InputError(f"spacing: must be three positive numbers (z, y, x), got {spacing}")
    if len(truth) == 1:  # a picture: its one slice has no neighbours to lie open to
        truth, prediction, step = truth[0], prediction[0], step[1:]
    box = _box(truth | prediction)
    true, predicted = _surface(truth[box]), _surface(prediction[box])
    return SurfaceDistances(_distances(true, predicted, step), _distances(predicted, true, step))


def _box(mask: Mask) -> tuple[slice, ...]:
    """The smallest box that holds `mask`; nothing beyond it can change a surface or a distance."""
    every = range(mask.ndim)
    lines = (np.flatnonzero(mask.any(tuple(a for a in every if a != axis))) for axis in every)
    return tuple(slice(line[0], line[-1] + 1) if len(line) else slice(0) for line in lines)


def _surface(mask: Mask) -> Mask:
    from scipy import ndimage

    return np.asarray(mask & ~ndimage.binary_erosion(mask))  # by default faces alone count, and beyond is outside


def _distances(of: Mask, to: Mask, step: NDArray[np.float64]) -> NDArray[np.float64]:
    """From each voxel set in `of` to the nearest one set in `to`."""
    from scipy import ndimage

    if not to.any():
        return np.full(int(of.sum()), np.inf)
    return np.asarray(ndimage.distance_transform_edt(~to, sampling=step)[of], np.float64)
