"""Where the voxels of a DICOM image lie: spacing, origin and direction, or None where the file does not say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.image import Direction, Spacing
from medapps.readers.dicom_values import frame_group

__all__ = ["Geometry", "Plane", "direction_rows", "geometry", "plane"]

_EVEN = 0.01  # steps between frames may differ by this part of a step


@dataclass(frozen=True)
class Geometry:
    """Geometry of an image; None is "unknown". `note` says why something had to stay unknown."""

    spacing_mm: Spacing | None = None
    origin_mm: tuple[float, float, float] | None = None
    direction: Direction | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class Plane:
    """Where one frame lies; None is "unknown".

    position: (3,), LPS mm, centre of the first pixel. axes: 3 x 3, columns = x, y and their normal.
    pixel_mm: distance between rows and between columns. step_mm: what the file says about the next slice.
    """

    position: NDArray[np.float64] | None
    axes: NDArray[np.float64] | None
    pixel_mm: tuple[float, float] | None
    step_mm: float | None


def plane(dataset: Any, frame: int) -> Plane:
    """Read the place of one frame, counted from 0."""
    measures = frame_group(dataset, frame, "PixelMeasuresSequence") or dataset
    orientation = (frame_group(dataset, frame, "PlaneOrientationSequence") or dataset).get("ImageOrientationPatient")
    pixel = _pixel(measures)
    return Plane(
        _position(dataset, frame),
        _axes(orientation),
        None if pixel is None else (float(pixel[0]), float(pixel[1])),
        _between(measures),
    )


def geometry(dataset: Any, frames: int) -> Geometry:
    """Read the geometry of `frames` frames, which are in file order.

    ImagerPixelSpacing is not used: it is measured at the detector, not in the patient.

    Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16.2 (functional groups), C.8.8.3.2 (dose grid).
    """
    measures = frame_group(dataset, 0, "PixelMeasuresSequence") or dataset
    pixel = _pixel(measures)
    axes = _axes((frame_group(dataset, 0, "PlaneOrientationSequence") or dataset).get("ImageOrientationPatient"))
    positions = [_position(dataset, frame) for frame in range(frames)]
    origin, note = positions[0], ""
    step = _between(measures) if frames == 1 else None
    if frames > 1 and axes is not None:
        step, axes, note = _steps(dataset, positions, axes, measures)
    spacing = None if pixel is None else (step, float(pixel[0]), float(pixel[1]))
    return Geometry(spacing, _triple(origin), None if axes is None else direction_rows(axes), note)


def _pixel(measures: Any) -> NDArray[np.float64] | None:
    pixel = _numbers(measures.get("PixelSpacing"), 2)
    return pixel if pixel is not None and (pixel > 0).all() else None


def _numbers(value: Any, count: int) -> NDArray[np.float64] | None:
    if value is None or value == "" or len(value) != count:
        return None
    numbers = np.array([float(v) for v in value])
    return numbers if np.isfinite(numbers).all() else None


def _axes(orientation: Any) -> NDArray[np.float64] | None:
    """Columns x, y, z from the six cosines; None when they are not two unit vectors at right angles."""
    numbers = _numbers(orientation, 6)
    if numbers is None:
        return None
    x, y = numbers[:3], numbers[3:]
    if abs(x @ x - 1) > 1e-2 or abs(y @ y - 1) > 1e-2 or abs(x @ y) > 1e-2:
        return None
    x = x / np.linalg.norm(x)
    y = y - (x @ y) * x  # files round the cosines to a few digits
    y = y / np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)], axis=1)


def _position(dataset: Any, frame: int) -> NDArray[np.float64] | None:
    item = frame_group(dataset, frame, "PlanePositionSequence") or (dataset if frame == 0 else None)
    return None if item is None else _numbers(item.get("ImagePositionPatient"), 3)


def _between(measures: Any) -> float | None:
    value = measures.get("SpacingBetweenSlices")
    step = abs(float(value)) if value not in (None, "") else 0.0
    return step if 0 < step < np.inf else None


def _steps(
    dataset: Any, positions: list[NDArray[np.float64] | None], axes: NDArray[np.float64], measures: Any
) -> tuple[float | None, NDArray[np.float64], str]:
    """Distance between frames, the axes with z along them, and a note when they are not evenly placed."""
    known = [p for p in positions if p is not None]
    offsets = _numbers(dataset.get("GridFrameOffsetVector"), len(positions))
    if len(known) == len(positions):
        moves = np.diff(np.stack(known), axis=0)
        along = moves @ axes[:, 2]
        sideways = np.abs(moves - along[:, None] * axes[:, 2]).max()
    elif offsets is not None:
        along, sideways = np.diff(offsets), 0.0
    else:
        return _between(measures), axes, ""
    step = float(along.mean())
    if abs(step) < 1e-6 or max(np.abs(along - step).max(), sideways) > _EVEN * abs(step):
        return None, axes, "frames are not evenly placed along one line"
    flipped = axes * np.array([1.0, 1.0, np.sign(step)])
    return abs(step), flipped, ""


def _triple(v: NDArray[np.float64] | None) -> tuple[float, float, float] | None:
    return None if v is None else (float(v[0]), float(v[1]), float(v[2]))


def direction_rows(axes: NDArray[np.float64]) -> Direction:
    """A 3 x 3 array as `Image` keeps it."""
    a, b, c = ((float(r[0]), float(r[1]), float(r[2])) for r in axes)
    return a, b, c
