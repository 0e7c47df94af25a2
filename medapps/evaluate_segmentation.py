"""evaluate_segmentation: how well label maps agree with the truth, case by case and in the mean, with intervals.

Everything rests on cases: each has figures of its own, a mean gives each case the same weight, and intervals are drawn
over groups (patients). What empty masks count for stands in `EMPTY_RULE`, which goes into the JSON and the report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate import Cost
from medapps.files import csv_text
from medapps.metrics import (
    DEFAULT,
    FIGURES,
    CaseGroups,
    Estimate,
    Resampling,
    SeedRow,
    case_means,
    measure_regions,
    number_groups,
    over_seeds,
)
from medapps.segmentation_result import EMPTY_RULE, SegmentationEvaluation, SegmentedCase

__all__ = [
    "EMPTY_RULE", "SegmentationEvaluation", "SegmentedCase", "cases_csv", "evaluate_segmentation",
    "segmentation_seed_table",
]  # fmt: skip

LabelMaps = Sequence[NDArray[np.uint8]]
Spacings = Sequence[Sequence[float | None] | None]


def evaluate_segmentation(
    truths: LabelMaps,
    predictions: LabelMaps,
    spacings: Spacings | None,
    classes: Sequence[str],
    *,
    split: str,
    names: Sequence[str],
    groups: Sequence[Any] | None = None,
    cost: Cost | None = None,
    tolerance: float = 2.0,
    resampling: Resampling = DEFAULT,
) -> SegmentationEvaluation:
    """Measure how well the predicted label maps agree with the true ones.

    Args:
        truths, predictions: N label maps each, (z, y, x), 0 is the background; a picture has z = 1.
        spacings: N times (z, y, x) in millimetres, z may be None for a picture. Where one is not known, all distances
            are in pixels.
        classes: names of all classes, the background first, no two alike.
        split: which part of the data this is, for the record.
        names: N, what each case is called.
        groups: N, whose case each is (patient); intervals are then over groups. None: each case stands for itself.
        cost: what it cost, for the record.
        tolerance: of the surface Dice, in the unit of the distances. The default is a choice, not a fact; best is how
            far two readers differ on the same case.
        resampling: draws and seed of the bootstrap.

    Raises:
        InputError: one sentence that names the argument at fault.
    """
    _check(truths, predictions, spacings, classes, names, tolerance)
    index = np.arange(len(names)) if groups is None else number_groups([str(g) for g in groups], len(names))
    owners = [str(g) for g in (names if groups is None else groups)]
    steps = _steps(truths, spacings)
    labels = tuple(str(name) for name in classes)
    cases = []
    for i, (truth, prediction) in enumerate(zip(truths, predictions, strict=True)):
        try:
            regions = measure_regions(truth, prediction, steps[i] if steps else None, len(labels), tolerance)
        except InputError as error:
            raise InputError(f"{names[i]}: {error}") from None
        cases.append(SegmentedCase(str(names[i]), owners[i], regions))
    members = CaseGroups(index)
    metrics, per_class = _means(cases, labels[1:], members, resampling)
    return SegmentationEvaluation(
        metrics=metrics,
        per_class=per_class,
        cases=tuple(cases),
        n=len(cases),
        groups=members.group_count,
        classes=labels,
        unit="mm" if steps else "px",
        tolerance=tolerance,
        split=split,
        cost=cost,
    )


def segmentation_seed_table(evaluations: Sequence[SegmentationEvaluation]) -> tuple[SeedRow, ...]:
    """Mean and standard deviation of each figure over trainings that differ in their seed alone.

    Raises:
        InputError: if the evaluations judge different splits, classes or cases, or measure differently.
    """
    judged = {(e.split, e.classes, e.unit, e.tolerance, tuple(case.name for case in e.cases)) for e in evaluations}
    if len(judged) > 1:
        raise InputError("segmentation_seed_table: all evaluations must judge the same split, classes and cases")
    return over_seeds([e.metrics for e in evaluations], n_may_differ=True)


def cases_csv(evaluation: SegmentationEvaluation) -> str:
    """A table with a row for each class of each case; a cell is empty where a figure is not defined."""
    titles = {name: f"{name} ({evaluation.unit})" if name in ("hd95", "assd") else name for name in FIGURES}
    head = ["name", "group", "class", "outcome", *titles.values(), "true voxels", "predicted voxels", "notice"]
    rows = [
        [
            case.name, case.group, name, region.outcome,
            *(f"{v:.6f}" if math.isfinite(v) else "" for v in region.figures().values()),
            str(region.overlap.true), str(region.overlap.predicted), NOTICE,
        ]
        for case in evaluation.cases
        for name, region in zip(evaluation.classes[1:], case.regions, strict=True)
    ]  # fmt: skip
    return csv_text(head, rows)


def _check(
    truths: LabelMaps,
    predictions: LabelMaps,
    spacings: Spacings | None,
    classes: Sequence[str],
    names: Sequence[str],
    tolerance: float,
) -> None:
    if not truths:
        raise InputError("truths: there are no cases to judge (n = 0)")
    for title, given in (("predictions", predictions), ("names", names), ("spacings", spacings)):
        if given is not None and len(given) != len(truths):
            raise InputError(f"{title}: must be {len(truths)}, one for each true label map, got {len(given)}")
    if not 2 <= len(set(classes)) == len(classes):
        raise InputError(f"classes: must be different names, the background first, got {', '.join(classes)[:80]}")
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise InputError(f"tolerance: must be a number from 0 up, got {tolerance}")


def _steps(truths: LabelMaps, spacings: Spacings | None) -> list[tuple[float, ...]] | None:
    """The spacing of each case; None unless all are known. That of a picture's one slice matters nowhere."""
    known = []
    for truth, spacing in zip(truths, spacings or [], strict=False):
        full = [1.0 if v is None and axis == 0 and len(truth) == 1 else v for axis, v in enumerate(spacing or [None])]
        known.append(tuple(float(v) for v in full if v is not None))
    return known if known and all(len(step) == 3 for step in known) else None


def _means(
    cases: Sequence[SegmentedCase], names: Sequence[str], members: CaseGroups, resampling: Resampling
) -> tuple[dict[str, Estimate], dict[str, dict[str, Estimate]]]:
    """Every figure in the mean over the classes, and class by class."""
    tables = [[region.figures() for region in case.regions] for case in cases]
    metrics: dict[str, Estimate] = {}
    per_class: dict[str, dict[str, Estimate]] = {name: {} for name in names}
    for figure in FIGURES:
        values = np.array([[region[figure] for region in row] for row in tables], np.float64)
        metrics[figure], each = case_means(values, members, names, resampling)
        for name, estimate in zip(names, each, strict=True):
            per_class[name][figure] = estimate
    return metrics, per_class
