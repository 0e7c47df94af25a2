"""Overlays: the true and the predicted contour on the picture, with the errors between them tinted.

Two colours that all kinds of colour vision tell apart, and two widths, so that the colour is not needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from medapps.report.gallery import picture_uri
from medapps.segmentation_examples import KINDS, SegmentationExamples
from medapps.segmentation_result import SegmentationEvaluation

__all__ = ["COLOURS", "Overlay", "OverlayWall", "hang_overlays"]

# Source of the colours: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = {"truth": "#56b4e9", "prediction": "#e69f00", "confusion": "#cc79a7"}
_SIDE = 400  # pixels of a shown picture, about
_MARGIN = 0.35  # of what is shown around the regions, on each side
_LEAST = 40  # pixels of the image shown, where it has that many: smaller cuts tell nothing of the surroundings
_TINT = 0.45
_TITLES = {
    "best": ("Best", "The cases with the highest Dice."),
    "median": ("In the middle", "The cases around the median Dice: what to expect."),
    "worst": ("Worst", "The cases with the lowest Dice. Of a volume the slice with the most wrong voxels is shown."),
}
_T = TypeVar("_T", bound=np.generic)
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Overlay:
    """A picture as a data URI, and what stands beside it in words."""

    image: str
    dice: str
    place: str
    regions: tuple[tuple[str, str], ...]
    row: str


@dataclass(frozen=True)
class OverlayWall:
    """Pictures of one kind."""

    title: str
    reason: str
    cards: tuple[Overlay, ...]


def hang_overlays(examples: SegmentationExamples, evaluation: SegmentationEvaluation) -> tuple[OverlayWall, ...]:
    """The walls that have pictures. Names of cases may hold names of people, so a case is told by its row."""
    walls = []
    for kind in KINDS:
        chosen = [i for i, k in enumerate(examples.kind) if k == kind]
        cards = tuple(_card(examples, i, evaluation) for i in (reversed(chosen) if kind == "worst" else chosen))
        if cards:
            walls.append(OverlayWall(*_TITLES[kind], cards))
    return tuple(walls)


def _card(examples: SegmentationExamples, i: int, evaluation: SegmentationEvaluation) -> Overlay:
    height, width = examples.sizes[i]
    image = examples.images[i][:, :height, :width]
    maps = (labels[i][:height, :width] for labels in (examples.truth, examples.predicted))
    number = int(examples.cases[i])
    case, names = evaluation.cases[number], evaluation.classes[1:]
    regions = []
    for name, region in zip(names, case.regions, strict=True):
        hd95 = f", HD95 {region.hd95:.2f} {evaluation.unit}" if math.isfinite(region.hd95) else ""
        dice = f"Dice {region.overlap.dice:.3f}{hd95}" if region.outcome == "found" else region.outcome
        regions.append((name, dice))
    first = 2 + number * len(names)  # the head is line 1
    row = f"row {first}" if len(names) == 1 else f"rows {first} to {first + len(names) - 1}"
    return Overlay(
        image=picture_uri(_draw(image, *maps), 2 * _SIDE),
        dice=f"{case.dice:.3f}",
        place=f"slice {examples.slices[i] + 1} of {examples.depths[i]}" if examples.depths[i] > 1 else "",
        regions=tuple(regions),
        row=f"cases.csv, {row}",
    )


def _draw(image: Picture, truth: Picture, predicted: Picture) -> Picture:
    """(3, H, W): the part of the picture that matters, enlarged by a whole number, with contours and tints."""
    cut = _window((truth > 0) | (predicted > 0))
    image, truth, predicted = image[:, *cut], truth[cut], predicted[cut]
    scale = max(1, round(_SIDE / max(truth.shape)))
    canvas = np.repeat(image, 3, 0).astype(np.float64) if len(image) == 1 else image.astype(np.float64)
    for where, name in (
        ((truth > 0) & (predicted == 0), "truth"),
        ((truth == 0) & (predicted > 0), "prediction"),
        ((truth > 0) & (predicted > 0) & (truth != predicted), "confusion"),
    ):
        canvas[:, where] = (1 - _TINT) * canvas[:, where] + _TINT * _rgb(name)
    canvas = _enlarge(canvas, scale)
    canvas[:, _widen(_contour(_enlarge(truth, scale)))] = _rgb("truth")
    canvas[:, _contour(_enlarge(predicted, scale))] = _rgb("prediction")
    return np.rint(canvas).astype(np.uint8)


def _window(shown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """A square around what is shown, with a margin, as far as the picture reaches."""
    if not shown.any():
        return slice(None), slice(None)
    lines = [np.flatnonzero(shown.any(axis)) for axis in (1, 0)]
    side = max(_LEAST, round((1 + 2 * _MARGIN) * max(line[-1] - line[0] + 1 for line in lines)))
    cuts = []
    for line, size in zip(lines, shown.shape, strict=True):
        length = min(side, size)
        start = min(max(0, (line[0] + line[-1] + 1 - length) // 2), size - length)
        cuts.append(slice(start, start + length))
    return cuts[0], cuts[1]


def _rgb(name: str) -> NDArray[np.float64]:
    """(3, 1), 0 to 255."""
    return np.array([[int(COLOURS[name][i : i + 2], 16)] for i in (1, 3, 5)], np.float64)


def _enlarge(values: NDArray[_T], scale: int) -> NDArray[_T]:
    return values.repeat(scale, -2).repeat(scale, -1)


def _contour(labels: Picture) -> NDArray[np.bool_]:
    """Both sides of every edge between two classes."""
    line = np.zeros(labels.shape, bool)
    down, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    line[1:] |= down
    line[:-1] |= down
    line[:, 1:] |= right
    line[:, :-1] |= right
    return line


def _widen(line: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """One pixel more on each side."""
    wide = line.copy()
    wide[1:] |= line[:-1]
    wide[:-1] |= line[1:]
    wide[:, 1:] |= line[:, :-1]
    wide[:, :-1] |= line[:, 1:]
    return wide
