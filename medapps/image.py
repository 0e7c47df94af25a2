"""Image: pixels that know where they are and how they want to be shown.

One axis order, (C, z, y, x), and one world, LPS in millimetres as in DICOM; readers translate at the border. What a
file does not say stays None here: nothing invents a spacing or a position.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError

__all__ = ["Direction", "Display", "Image", "Spacing"]

Spacing = tuple[float | None, float, float]
Direction = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

_FUNCTIONS = ("RANGE", "LINEAR", "LINEAR_EXACT", "SIGMOID", "LUT")


@dataclass(frozen=True, eq=False)
class Display:
    """How values become grey: the DICOM VOI step, then the polarity.

    function: "RANGE" maps `value_range` (or the smallest to the largest value, when None) to black to white;
    "LINEAR", "LINEAR_EXACT" and "SIGMOID" use `center` and `width`, in units of the values; "LUT" looks values up in
    `lut`, whose first entry belongs to `lut_first` and whose white is `lut_white`.
    inverted: the smallest value is white (MONOCHROME1). Inversion comes after the window, as the standard orders it.

    Source: DICOM PS3.3, C.11.2.1.2 (windows), C.11.2.1.1 (VOI LUT), C.7.6.3.1.2 (MONOCHROME1).
    """

    function: str = "RANGE"
    center: float = 0.0
    width: float = 0.0
    value_range: tuple[float, float] | None = None
    lut: NDArray[Any] | None = None
    lut_first: int = 0
    lut_white: int = 0
    inverted: bool = False

    def __post_init__(self) -> None:
        if self.function not in _FUNCTIONS:
            raise ImageError(f"Display: function must be one of {', '.join(_FUNCTIONS)}, got {self.function!r}")

    def fraction(self, values: NDArray[Any]) -> NDArray[np.float64]:
        """Brightness of each value, 0 (black) to 1 (white), float64; NaN becomes black.

        >>> Display("LINEAR", center=40, width=400).fraction(np.array([-200, 40, 240])).round(3).tolist()
        [0.0, 0.501, 1.0]
        """
        with np.errstate(over="ignore", invalid="ignore"):
            shown = np.clip(self._map(values.astype(np.float64)), 0.0, 1.0)
        shown = np.nan_to_num(shown, nan=1.0 if self.inverted else 0.0)
        return np.asarray(1.0 - shown if self.inverted else shown)

    def _map(self, v: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.function == "LUT" and self.lut is not None:
            index = np.clip(np.rint(np.nan_to_num(v)) - self.lut_first, 0, len(self.lut) - 1).astype(np.intp)
            return np.asarray(self.lut[index] / max(self.lut_white, 1), np.float64)
        if self.function == "LINEAR" and self.width > 1:
            return np.asarray((v - (self.center - 0.5)) / (self.width - 1) + 0.5)
        if self.function == "LINEAR":  # a window of width 1 is a threshold
            return np.asarray(v > self.center - 0.5, np.float64)
        if self.function == "LINEAR_EXACT":
            return np.asarray((v - self.center) / self.width + 0.5)
        if self.function == "SIGMOID":
            return np.asarray(1 / (1 + np.exp(-4 * (v - self.center) / self.width)))
        low, high = self.value_range or _finite_range(v)
        return np.asarray((v - low) / (high - low) if high > low else np.zeros_like(v))


def _finite_range(v: NDArray[np.float64]) -> tuple[float, float]:
    finite = v[np.isfinite(v)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture or a volume with its geometry.

    array: (C, z, y, x); C is 1 (grey) or 3 (red, green, blue). Grey values carry their physical unit where the file
        gives one (`meta["unit"]`, "HU" for CT).
    spacing_mm: distance between voxel centres, (z, y, x); z is None for a single slice that does not say it.
    origin_mm: centre of the first voxel, (x, y, z) in LPS.
    direction: 3 x 3, columns = unit vectors of the x, y and z index axes in LPS.
    modality: DICOM's code ("CT", "MR", ...), or "".
    meta: technical facts about the file. Never anything that names a patient.
    display: how the values become a grey picture.

    >>> Image(np.zeros((1, 1, 4, 6), np.uint8)).shape
    (1, 1, 4, 6)
    """

    array: NDArray[Any]
    spacing_mm: Spacing | None = None
    origin_mm: tuple[float, float, float] | None = None
    direction: Direction | None = None
    modality: str = ""
    meta: Mapping[str, str] = field(default_factory=dict)
    display: Display = field(default_factory=Display)

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[0] not in (1, 3) or 0 in self.array.shape:
            raise ImageError(f"Image: array must be (C, z, y, x) with C = 1 or 3, got {self.array.shape}")
        if self.spacing_mm is not None and not all(s is None or 0 < s < np.inf for s in self.spacing_mm):
            raise ImageError("Image: spacing_mm must be positive; leave it None when it is unknown")
        if self.direction is not None:
            d = np.asarray(self.direction, np.float64)
            if d.shape != (3, 3) or not np.allclose(d.T @ d, np.eye(3), atol=1e-3):
                raise ImageError("Image: direction must be 3 x 3 with unit columns at right angles")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, z, y, x)."""
        c, z, y, x = self.array.shape
        return c, z, y, x

    def with_array(self, array: NDArray[Any]) -> Image:
        """The same place and display with other values."""
        return replace(self, array=array)

    def plane(self, z: int = 0) -> NDArray[Any]:
        """Slice `z` as (C, y, x)."""
        if not -self.array.shape[1] <= z < self.array.shape[1]:
            raise ImageError(f"Image.plane: z must be below {self.array.shape[1]}, got {z}")
        return np.asarray(self.array[:, z])

    def to_uint8(self) -> NDArray[np.uint8]:
        """The picture to look at: (C, z, y, x), uint8, window and polarity applied.

        8-bit values without a window come back as they are.

        >>> Image(np.array([[[[0, 50, 100]]]], np.int16)).to_uint8().ravel().tolist()
        [0, 128, 255]
        """
        if self.array.dtype == np.uint8 and self.display.function == "RANGE" and self.display.value_range is None:
            return np.asarray(255 - self.array if self.display.inverted else self.array)
        return np.floor(self.display.fraction(self.array) * 255 + 0.5).astype(np.uint8)
