"""Examples of a segmentation: the slices that a reader wants to see, kept beside the evaluation.

The best cases, those in the middle and the worst, by their Dice, so that no picture is chosen for its looks. Of a
volume one slice is kept: that with the largest true area, or for the worst cases that with the most wrong voxels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.readers.limits import Limits
from medapps.readers.npz import load_arrays
from medapps.segmentation_result import SegmentationEvaluation

__all__ = ["EXAMPLE_LIMITS", "KINDS", "SegmentationExamples", "read_segmentation_examples", "segmentation_examples"]

KINDS = ("best", "median", "worst")
_EACH = 4  # of each kind; fewer where there are fewer than 12 cases
EXAMPLE_LIMITS = Limits(dataset_bytes=512 << 20)  # of what a run folder may ask a report to load
_ARRAYS = ("images", "truth", "predicted", "sizes", "cases", "slices", "depths")
Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SegmentationExamples:
    """Slices of M cases. Smaller ones fill the upper left corner of the arrays.

    images: (M, C, H, W), uint8, C 1 or 3; truth, predicted: (M, H, W), uint8, classes.
    sizes: (M, 2), the height and width that are filled.
    cases: (M,), which case of the evaluation it is.
    slices, depths: (M,), which slice of the case, from 0, and of how many.
    kind: M of "best", "median", "worst".
    """

    images: NDArray[np.uint8]
    truth: Labels
    predicted: Labels
    sizes: NDArray[np.int64]
    cases: NDArray[np.int64]
    slices: NDArray[np.int64]
    depths: NDArray[np.int64]
    kind: tuple[str, ...]


def segmentation_examples(
    images: Sequence[NDArray[np.uint8]],
    truths: Sequence[Labels],
    predictions: Sequence[Labels],
    evaluation: SegmentationEvaluation,
) -> bytes:
    """The content of examples.npz.

    Args:
        images: N pictures or volumes (C, z, y, x), uint8, as they are to be looked at; C is 1 for all or 3 for all.
        truths, predictions: N label maps each, (z, y, x).
        evaluation: that of these cases, in the same order.

    Raises:
        InputError: if they are not the cases of the evaluation.
    """
    for name, given in (("images", images), ("truths", truths), ("predictions", predictions)):
        if len(given) != evaluation.n:
            raise InputError(f"{name}: must be the {evaluation.n} cases of the evaluation, got {len(given)}")
    if {image.ndim for image in images} != {4} or {image.dtype for image in images} != {np.dtype(np.uint8)}:
        raise InputError("images: must be uint8, (C, z, y, x)")
    if {len(image) for image in images} not in ({1}, {3}):
        raise InputError("images: must all have 1 channel or all have 3")
    chosen = _choose(evaluation)
    slices = [_slice(truths[i], predictions[i], kind) for kind, i in chosen]
    picked = [(i, z) for (_, i), z in zip(chosen, slices, strict=True)]
    arrays: dict[str, Any] = {
        "images": _stack([images[i][:, z] for i, z in picked], images[0].shape[:1]),
        "truth": _stack([truths[i][z] for i, z in picked]),
        "predicted": _stack([predictions[i][z] for i, z in picked]),
        "sizes": np.array([truths[i].shape[1:] for i, _ in picked], np.int64).reshape(-1, 2),
        "cases": np.array([i for i, _ in picked], np.int64),
        "slices": np.array(slices, np.int64),
        "depths": np.array([len(truths[i]) for i, _ in picked], np.int64),
        "names": np.array([evaluation.cases[i].name for i, _ in picked], np.str_),
        "dice": np.array([evaluation.cases[i].dice for i, _ in picked], np.float64),
        "kind": np.array([kind for kind, _ in chosen], np.str_),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def read_segmentation_examples(file: Path, evaluation: SegmentationEvaluation) -> SegmentationExamples:
    """The examples in a file that `segmentation_examples` made for this evaluation.

    Raises:
        InputError: if it is damaged or belongs to another evaluation.
    """
    again = "run `medapps evaluate` again"
    try:
        held = load_arrays(file, EXAMPLE_LIMITS)
        arrays = {name: held[name] for name in _ARRAYS}
        names = [str(name) for name in held["names"]]
        found = SegmentationExamples(**arrays, kind=tuple(str(kind) for kind in held["kind"]))
    except (KeyError, InputError):
        raise InputError(f"{file}: is damaged or not a file of examples; {again}") from None
    if not _fits(found, names, evaluation):
        raise InputError(f"{file}: does not hold slices of this run's {evaluation.n} cases; {again}")
    return found


def _choose(evaluation: SegmentationEvaluation) -> list[tuple[str, int]]:
    """Kind and number of each chosen case, from the best to the worst; cases without any class are left out."""
    dice = [case.dice for case in evaluation.cases]
    order = sorted((i for i, d in enumerate(dice) if math.isfinite(d)), key=lambda i: -dice[i])
    each = min(_EACH, math.ceil(len(order) / 3))
    best, rest = order[:each], order[each:]
    worst, rest = rest[max(0, len(rest) - each) :], rest[: max(0, len(rest) - each)]
    start = (len(rest) - each + 1) // 2 if len(rest) > each else 0
    kinds = zip(KINDS, (best, rest[start : start + each], worst), strict=True)
    return [(kind, i) for kind, indices in kinds for i in indices]


def _slice(truth: Labels, prediction: Labels, kind: str) -> int:
    shown = truth != prediction if kind == "worst" else truth > 0
    if not shown.any():
        shown = prediction > 0
    return int(shown.sum((1, 2)).argmax())


def _stack(pictures: Sequence[NDArray[np.uint8]], front: tuple[int, ...] = ()) -> NDArray[np.uint8]:
    """Pictures (*front, h, w) of several sizes in one array (M, *front, H, W), filled with 0."""
    height, width = (max((p.shape[axis] for p in pictures), default=1) for axis in (-2, -1))
    out = np.zeros((len(pictures), *front, height, width), np.uint8)
    for i, picture in enumerate(pictures):
        out[i, ..., : picture.shape[-2], : picture.shape[-1]] = picture
    return out


def _fits(found: SegmentationExamples, names: Sequence[str], evaluation: SegmentationEvaluation) -> bool:
    m, k = len(found.kind), len(evaluation.classes)
    if found.images.ndim != 4 or found.images.dtype != np.uint8 or found.images.shape[1] not in (1, 3):
        return False
    area = (m, *found.images.shape[2:])
    maps = (found.truth, found.predicted)
    numbers = (found.sizes, found.cases, found.slices, found.depths)
    return (
        len(found.images) == len(names) == m
        and all(v.shape == area and v.dtype == np.uint8 and bool((v < k).all()) for v in maps)
        and [v.shape for v in numbers] == [(m, 2), (m,), (m,), (m,)]
        and all(v.dtype.kind in "iu" for v in numbers)
        and bool(((found.sizes > 0) & (found.sizes <= area[1:])).all())
        and bool(((found.cases >= 0) & (found.cases < evaluation.n)).all())
        and bool(((found.slices >= 0) & (found.slices < found.depths)).all())
        and set(found.kind) <= set(KINDS)
        and names == [evaluation.cases[i].name for i in found.cases]
    )
