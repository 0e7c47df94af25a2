"""The gate that slices must pass before they are one volume: each fault has a code and one sentence.

Nothing here reads files: slices come in as places, and go out as an order with a geometry, or as the first fault.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.image import Direction, Spacing
from medapps.readers.dicom_geometry import Plane, direction_rows

__all__ = ["CODES", "Fault", "Slice", "Stack", "judge", "orientation"]

CODES = {
    "G100": "a file cannot be read",
    "G101": "missing slice",
    "G102": "duplicate slice",
    "G103": "uneven step",
    "G104": "mixed orientation",
    "G105": "mixed size",
    "G106": "mixed frame of reference",
    "G107": "gantry tilt",
    "G108": "several series",
    "G109": "slices without position",
}

_PARALLEL = math.cos(math.radians(0.5))  # slices of one volume; files round their cosines to four digits or so
_EVEN = 0.02  # a slice may lie this part of a step from its place on the even grid
_ROUNDING_MM = 0.05  # or this much, for files that round positions to 0.1 mm, up to a tenth of a step
_STRAIGHT = 10.0  # degrees from a main plane up to which an oblique stack is not called so


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame as the gate sees it. `name` is what sentences call it."""

    name: str
    rows: int
    columns: int
    plane: Plane
    frame_of_reference: str = ""


@dataclass(frozen=True)
class Fault:
    """Why slices are no volume: a key of `CODES`, and one sentence without the file's name."""

    code: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.code} {CODES[self.code]}: {self.sentence}"


@dataclass(frozen=True, eq=False)
class Stack:
    """A volume: indices of the slices from first to last along the normal of their plane, and where it lies."""

    order: tuple[int, ...]
    spacing_mm: Spacing | None
    origin_mm: tuple[float, float, float] | None
    direction: Direction | None


def judge(slices: Sequence[Slice]) -> Stack | Fault:
    """Order slices by their position along the normal, or say what is wrong with them first.

    One slice alone always passes, with what is known about its place. Several need a position, an orientation, one
    size, one frame of reference, and places on an even grid: each within 2 % of a step, or 0.05 mm (a tenth of a step
    at most), of it.
    """
    if len(slices) == 1:
        return _single(slices[0].plane)
    for check in (_placed, _same_frame_of_reference, _same_orientation, _same_size):
        fault = check(slices)
        if fault:
            return fault
    axes = _known(slices[0].plane.axes)
    positions = np.stack([_known(s.plane.position) for s in slices])
    along = positions @ axes[:, 2]
    order = np.argsort(along, kind="stable")
    names = [slices[i].name for i in order]
    placed = positions[order] - positions[order[0]]
    fault = _duplicates(along[order], names) or _tilt(placed, axes) or _gaps(along[order], names)
    if fault:
        return fault
    step = float(np.diff(along[order]).mean())
    first = slices[order[0]].plane
    x, y, z = (float(v) for v in positions[order[0]])
    spacing = None if first.pixel_mm is None else (step, *first.pixel_mm)
    return Stack(tuple(int(i) for i in order), spacing, (x, y, z), direction_rows(axes))


def orientation(axes: NDArray[np.float64] | None) -> str:
    """ "axial", "coronal" or "sagittal" by the normal of a plane, "oblique ..." beyond 10 degrees, or "unknown".

    >>> orientation(np.eye(3))
    'axial'
    """
    if axes is None:
        return "unknown"
    normal = np.abs(axes[:, 2])
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() >= math.cos(math.radians(_STRAIGHT)) else f"oblique {name}"


def _single(plane: Plane) -> Stack:
    spacing = None if plane.pixel_mm is None else (plane.step_mm, *plane.pixel_mm)
    p = plane.position
    origin = None if p is None else (float(p[0]), float(p[1]), float(p[2]))
    return Stack((0,), spacing, origin, None if plane.axes is None else direction_rows(plane.axes))


def _known(value: NDArray[np.float64] | None) -> NDArray[np.float64]:
    assert value is not None  # `_placed` has seen to it
    return value


def _placed(slices: Sequence[Slice]) -> Fault | None:
    missing = [s.name for s in slices if s.plane.position is None or s.plane.axes is None]
    if not missing:
        return None
    return Fault("G109", f"{_count(missing, slices)} not say where they lie ({_some(missing)}); read them one by one")


def _count(some: Sequence[str], slices: Sequence[Slice]) -> str:
    return f"{len(some)} of {len(slices)} slices do"


def _some(names: Sequence[str]) -> str:
    """Up to three names."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _odd_ones(slices: Sequence[Slice], key: Callable[[Slice], object]) -> list[str]:
    """Names of the slices whose key is not the most frequent one."""
    keys = [key(s) for s in slices]
    common = max(dict.fromkeys(keys), key=keys.count)
    return [s.name for s, k in zip(slices, keys, strict=True) if k != common]


def _same_frame_of_reference(slices: Sequence[Slice]) -> Fault | None:
    odd = _odd_ones(slices, lambda s: s.frame_of_reference)
    if not odd:
        return None
    return Fault("G106", f"{_count(odd, slices)} not share the others' frame of reference ({_some(odd)}); split them")


def _same_orientation(slices: Sequence[Slice]) -> Fault | None:
    middle = _known(slices[len(slices) // 2].plane.axes)
    cosines = [np.sum(_known(s.plane.axes) * middle, axis=0).min() for s in slices]
    turned = [s.name for s, c in zip(slices, cosines, strict=True) if c < _PARALLEL]
    if not turned:
        return None
    if len(turned) > len(slices) / 2:
        turned = [s.name for s in slices if s.name not in turned]
    return Fault(
        "G104",
        f"{_count(turned, slices)} not lie parallel to the others ({_some(turned)}; a localiser?); take them out",
    )


def _same_size(slices: Sequence[Slice]) -> Fault | None:
    def size(s: Slice) -> object:
        return s.rows, s.columns, s.plane.pixel_mm and tuple(round(v, 4) for v in s.plane.pixel_mm)

    odd = _odd_ones(slices, size)
    if not odd:
        return None
    return Fault("G105", f"{_count(odd, slices)} not have the others' size or pixel spacing ({_some(odd)}); split them")


def _duplicates(along: NDArray[np.float64], names: Sequence[str]) -> Fault | None:
    steps = np.diff(along)
    same = np.flatnonzero(steps < max(0.01 * float(np.median(steps)), 1e-4))
    if not len(same):
        return None
    places = len(along) - len(same)
    if len(along) % places == 0 and places > 1:
        each = len(along) // places
        even = np.diff(np.flatnonzero(np.append(True, steps >= max(0.01 * float(steps.max()), 1e-4))))
        if (even == each).all():
            return Fault(
                "G102", f"{each} slices lie at each of {places} places (phases or echoes?); export one of each"
            )
    first = int(same[0])
    return Fault("G102", f"{names[first]} and {names[first + 1]} lie at the same place; keep one of them")


def _tilt(placed: NDArray[np.float64], axes: NDArray[np.float64]) -> Fault | None:
    """Do positions move sideways? All alike is a tilted gantry, else the slices are on no line."""
    along, sideways = placed @ axes[:, 2], placed @ axes[:, :2]
    share = along / along[-1]
    tolerance = _tolerance(float(along[-1]) / (len(along) - 1))
    if np.abs(sideways).max() <= tolerance:
        return None
    if np.abs(sideways - share[:, None] * sideways[-1]).max() > tolerance:
        return Fault("G103", "the slices do not lie on one line; export the series again, or resample it")
    angle = math.degrees(math.atan2(float(np.linalg.norm(sideways[-1])), float(along[-1])))
    return Fault("G107", f"the slices are sheared by {angle:.1f} degrees; resample them to a straight grid")


def _tolerance(step: float) -> float:
    return max(_EVEN * step, min(_ROUNDING_MM, 0.1 * step))


def _gaps(along: NDArray[np.float64], names: Sequence[str]) -> Fault | None:
    count = len(along)
    even = np.linspace(along[0], along[-1], count)
    if np.abs(along - even).max() <= _tolerance(float(along[-1] - along[0]) / (count - 1)):
        return None
    steps = np.diff(along)
    step = float(np.median(steps[steps <= 1.5 * steps.min()]))
    index = np.rint((along - along[0]) / step).astype(np.int64)
    on_grid = np.abs(along - along[0] - index * (along[-1] - along[0]) / index[-1]).max() <= _tolerance(step)
    total = int(index[-1]) + 1
    if not on_grid or total > 2 * count:
        low, high = float(steps.min()), float(steps.max())
        worst = int(np.abs(steps - np.median(steps)).argmax())
        return Fault(
            "G103",
            f"steps between slices go from {low:.4g} to {high:.4g} mm, the oddest one after {names[worst]}; "
            "resample the series, or export it again",
        )
    gone = sorted(set(range(total)) - set(index.tolist()))
    which = f"slice {gone[0] + 1} of {total} is" if len(gone) == 1 else f"slices {_numbers(gone)} of {total} are"
    return Fault("G101", f"{which} missing, after {names[int((index < gone[0]).sum()) - 1]}; export the series again")


def _numbers(gone: Sequence[int]) -> str:
    return ", ".join(str(i + 1) for i in gone[:8]) + (f" and {len(gone) - 8} more" if len(gone) > 8 else "")
