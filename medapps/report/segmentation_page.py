"""The page of a segmentation as plain data: every number already in words, so that the template only places it."""

from __future__ import annotations

from typing import Any

import numpy as np

from medapps.metrics import Estimate
from medapps.report.figures import Figure, draw_curves
from medapps.report.folder import SegmentationFiles
from medapps.report.limits import segmentation_limits
from medapps.report.overlays import COLOURS, hang_overlays
from medapps.report.segmentation_figures import draw_spread
from medapps.report.words import Shown, as_table, best_epoch, count, frame, show
from medapps.segmentation_result import EMPTY_RULE, SegmentationEvaluation

__all__ = ["build_segmentation_page"]

_OVERLAP = {
    "dice": "Dice", "iou": "IoU", "sensitivity": "sensitivity", "precision": "precision",
    "volume_difference": "volume difference",
}  # fmt: skip
_SURFACE = {"surface_dice": "surface Dice", "hd95": "HD95", "assd": "ASSD"}


def build_segmentation_page(run: SegmentationFiles, title: str | None) -> dict[str, Any]:
    """All that segmentation.html.jinja shows, in its order."""
    found = run.evaluation
    return {
        **frame(run, title, found.cost if found else None),
        "evaluation": found,
        "verdict": verdict(found) if found else "",
        "headline": headline(found) if found else [],
        "empty_rule": EMPTY_RULE,
        "splits": _splits(run),
        "grouping": _grouping(found) if found else "",
        "curves": draw_curves(run.history, {"val_dice": "Dice"}, best_epoch(run)),
        "spreads": _spreads(found) if found else [],
        "overlap_head": ["class", *_OVERLAP.values()],
        "overlap": _overlap_rows(found) if found else [],
        "surface_head": ["class", "found", "missed", "false alarm", "absent", *_SURFACE.values()],
        "surface": _surface_rows(found) if found else [],
        "walls": hang_overlays(run.examples, found) if run.examples and found else None,
        "colours": COLOURS,
        "has_confusion": found is not None and len(found.classes) > 2,
        "limits": segmentation_limits(run),
    }


def verdict(found: SegmentationEvaluation) -> str:
    """The result in a sentence."""
    dice, who = found.metrics["dice"], f"{found.n:,} {found.split} cases"
    if found.groups < found.n:
        who += f" of {found.groups:,} patients"
    if not dice.has_interval:
        return f"Judged on {who}."
    return f"Mean Dice {dice.value:.3f} on {who} (95 % interval {dice.low:.3f} to {dice.high:.3f})."


def headline(found: SegmentationEvaluation) -> list[tuple[str, str, Shown]]:
    """Name, meaning and figure of each card."""
    mean = " Mean over the classes." if len(found.classes) > 2 else ""
    words = {
        "dice": ("Dice", f"twice the common voxels over both masks; 1 is best.{mean}"),
        "surface_dice": (
            "Surface Dice",
            f"share of both surfaces at most {found.tolerance:g} {found.unit} from the other; 1 is best.{mean}",
        ),
        "hd95": ("HD95", f"95 % of either surface are no farther than this from the other.{mean}"),
        "assd": ("ASSD", f"mean distance between the surfaces.{mean}"),
        "volume_difference": ("Volume difference", f"predicted minus true volume, as a share of the true one.{mean}"),
    }
    return [(*words[key], _show(key, found.metrics[key], found.unit)) for key in words]


def _show(key: str, estimate: Estimate, unit: str) -> Shown:
    if key in ("hd95", "assd"):
        return show(estimate, digits=2, unit=unit)
    return show(estimate, signed=key == "volume_difference")


def _splits(run: SegmentationFiles) -> dict[str, Any]:
    """Cases, patients and each class's share of all voxels, split by split, as far as the run tells."""
    data, found = run.data, run.evaluation
    sizes, groups, counts = (as_table(data.get(key)) for key in ("n", "groups", "counts"))
    classes = list(found.classes) if found else [str(c) for c in data.get("classes", []) or []]
    rows = []
    for split in dict.fromkeys([*sizes, *([found.split] if found else [])]):
        judged = found if found and found.split == split else None
        cells = [count(sizes.get(split, judged.n if judged else None)), count(groups.get(split))]
        rows.append((split, [*cells, *_shares(counts.get(split), len(classes))]))
    shape = data.get("image_shape")
    sides = [v for v in shape[1:] if v != 1] if isinstance(shape, list) else []
    return {"classes": classes, "rows": rows, "shape": " x ".join(str(v) for v in sides)}


def _shares(voxels: Any, classes: int) -> list[str]:
    whole = isinstance(voxels, list) and len(voxels) == classes and all(isinstance(v, int) for v in voxels)
    if not whole or sum(voxels) <= 0:
        return ["-"] * classes
    return [f"{100 * v / sum(voxels):.2g} %" for v in voxels]


def _grouping(found: SegmentationEvaluation) -> str:
    if found.groups < found.n:
        return f"The {found.n:,} judged cases are of {found.groups:,} patients; intervals are over patients."
    return "No two judged cases are known to be of one patient; each counts on its own."


def _spreads(found: SegmentationEvaluation) -> list[Figure]:
    names = found.classes[1:]
    dice, hd95 = (
        [np.array([case.regions[k].figures()[key] for case in found.cases]) for k in range(len(names))]
        for key in ("dice", "hd95")
    )
    note = "A class that was missed, or predicted where there is none, lies at 0."
    away = f"HD95 of each case, in {found.unit}"
    figures = (
        draw_spread(dice, names, "Dice", "Dice of each case, class by class", note, most=1.0),
        draw_spread(hd95, names, f"HD95 ({found.unit})", away, "Only cases where the class was found."),
    )
    return [figure for figure in figures if figure]


def _overlap_rows(found: SegmentationEvaluation) -> list[tuple[str, list[str], list[Shown]]]:
    each = found.per_class.items()
    return [(name, [], [_show(key, figures[key], found.unit) for key in _OVERLAP]) for name, figures in each]


def _surface_rows(found: SegmentationEvaluation) -> list[tuple[str, list[str], list[Shown]]]:
    counts = found.outcomes()
    return [
        (name, [f"{n:,}" for n in counts[name].values()], [_show(key, figures[key], found.unit) for key in _SURFACE])
        for name, figures in found.per_class.items()
    ]
