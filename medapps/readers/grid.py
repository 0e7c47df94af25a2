"""Where a DICOM frame lies on the voxel grid of an image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.image import Image
from medapps.readers.dicom_geometry import Plane

__all__ = ["NEAR", "OnGrid", "on_grid"]

NEAR = 0.1  # a pixel may lie this part of a voxel from the voxel it stands for


@dataclass(frozen=True, eq=False)
class OnGrid:
    """A frame in voxels (x, y, z) of an image: its first pixel, and the steps to the next row and column."""

    start: NDArray[np.float64]
    down: NDArray[np.float64]
    right: NDArray[np.float64]

    def is_aligned(self, rows: int, columns: int) -> bool:
        """Do both steps go from voxel to voxel along an axis, over the whole frame?"""
        return all(
            np.abs(np.rint(step)).sum() == 1 and np.abs(step - np.rint(step)).max() * count <= NEAR
            for step, count in ((self.down, rows), (self.right, columns))
        )


def on_grid(place: Plane, image: Image) -> OnGrid | None:
    """The frame at `place` as `image` counts voxels, or None where one of the two has no place in space.

    The step between slices that an image of one slice does not know is taken for 1 mm.
    """
    if place.position is None or place.axes is None or place.pixel_mm is None:
        return None
    if image.origin_mm is None or image.direction is None or image.spacing_mm is None:
        return None
    z, y, x = image.spacing_mm
    inverse = np.diag([1 / x, 1 / y, 1 / (z or 1.0)]) @ np.linalg.inv(np.asarray(image.direction))
    down, right = (place.axes[:, axis] * step for axis, step in ((1, place.pixel_mm[0]), (0, place.pixel_mm[1])))
    return OnGrid(inverse @ (place.position - np.asarray(image.origin_mm)), inverse @ down, inverse @ right)
