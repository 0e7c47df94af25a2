"""The page of a classification as plain data: every number already in words, so that the template only places it."""

from __future__ import annotations

from typing import Any

from medapps.evaluate import Evaluation
from medapps.metrics import OWN_FIGURES
from medapps.report.diagnosis import diagnosis_sections
from medapps.report.figures import Figure, draw_curves, draw_reliability, draw_roc
from medapps.report.folder import RunFiles
from medapps.report.gallery import hang_pictures
from medapps.report.limits import known_limits
from medapps.report.words import Shown, as_table, best_epoch, count, frame, show

__all__ = ["build_page"]


def build_page(run: RunFiles, title: str | None) -> dict[str, Any]:
    """All that the template shows, in its order."""
    found = run.evaluation
    return {
        **frame(run, title, found.cost if found else None),
        "evaluation": found,
        "unit": unit(run),
        "verdict": verdict(found, unit(run)) if found else "",
        "headline": headline(found) if found else [],
        "calibration": _calibration(found) if found else [],
        "reliability": draw_reliability(run.scores) if run.scores else None,
        "splits": _splits(run),
        "grouping": _grouping(run.diagnosis.images if run.diagnosis else found) if found else "",
        "diagnosis": diagnosis_sections(run) if run.diagnosis else None,
        "curves": _curves(run),
        "roc": draw_roc(run.scores, found.classes, _areas(found)) if run.scores and found else None,
        "has_scores": run.scores is not None,
        "confusion": _confusion(found) if found else [],
        "per_class": _per_class(found) if found else [],
        "walls": hang_pictures(run.examples, found.classes, run.scores) if run.examples and found else None,
        "limits": known_limits(run),
    }


def unit(run: RunFiles) -> str:
    """What one case is. A patient with two diagnoses has two cases."""
    found = run.diagnosis.patients if run.diagnosis else None
    return "images" if found is None else "patients" if found.groups == found.n else "diagnoses"


def verdict(found: Evaluation, unit: str) -> str:
    """The result in a sentence."""
    figure = found.metrics.get("accuracy")
    who = f"{found.n:,} {found.split} {unit}"
    if found.groups < found.n:
        who += f" of {found.groups:,} patients"
    if figure is None or not figure.has_interval:
        return f"Judged on {who}."
    low, high = 100 * figure.low, 100 * figure.high
    return f"Right in {100 * figure.value:.1f} % of {who} (95 % interval {low:.1f} to {high:.1f} %)."


def headline(found: Evaluation) -> list[tuple[str, str, Shown]]:
    """Name, meaning and figure of each card."""
    two = len(found.classes) == 2
    positive = found.classes[1] if two else ""
    words = {
        "auc": (
            "AUC",
            "chance that a positive case gets a higher score than a negative one" if two else "mean over the classes",
        ),
        "accuracy": ("Accuracy", "share of right answers"),
        "balanced_accuracy": ("Balanced accuracy", "as if all classes were equally frequent"),
        "sensitivity": ("Sensitivity", f"share of {positive} found" if two else "mean over the classes"),
        "specificity": (
            "Specificity",
            f"share of the others not called {positive}" if two else "mean over the classes",
        ),
    }
    more = [key for key in found.metrics if key not in OWN_FIGURES]
    words |= {key: (key.replace("_", " ").capitalize(), "as a plug-in measures it") for key in more}
    return [(*words[key], show(found.metrics[key])) for key in words if key in found.metrics]


def _calibration(found: Evaluation) -> list[tuple[str, str, Shown]]:
    words = {
        "calibration_error": ("Calibration error", "mean gap between confidence and accuracy, 15 bins; 0 is best"),
        "brier": ("Brier score", "mean squared distance of the probabilities from the truth; 0 is best"),
    }
    return [(*words[key], show(found.metrics[key])) for key in words if key in found.metrics]


def _splits(run: RunFiles) -> dict[str, Any]:
    """Images, patients and images of each class, split by split, as far as the run tells."""
    data, found = run.data, run.evaluation
    sizes, groups, counts = (as_table(data.get(key)) for key in ("n", "groups", "counts"))
    classes = list(found.classes) if found else [str(c) for c in data.get("classes", []) or []]
    rows = []
    for split in dict.fromkeys([*sizes, *([found.split] if found else [])]):
        judged = found if found and found.split == split else None
        each = counts.get(split, judged.confusion.sum(1).tolist() if judged else None)
        patients = groups.get(split, judged.groups if judged and judged.groups < judged.n else None)
        each = each if isinstance(each, list) and len(each) == len(classes) else [None] * len(classes)
        rows.append((split, [count(v) for v in (sizes.get(split, judged.n if judged else None), patients, *each)]))
    shape = data.get("image_shape")
    side = " x ".join(str(v) for v in shape[1:]) if isinstance(shape, list) and len(shape) == 3 else ""
    return {"classes": classes, "rows": rows, "side": side}


def _grouping(found: Evaluation) -> str:
    if found.groups < found.n:
        return f"The {found.n:,} judged images are of {found.groups:,} patients; intervals are over patients."
    return "No two judged images are known to be of one patient; each counts on its own."


def _curves(run: RunFiles) -> list[Figure]:
    names = {"val_auc": "AUC", "val_accuracy": "accuracy", "val_balanced_accuracy": "balanced accuracy"}
    return draw_curves(run.history, names, best_epoch(run))


def _areas(found: Evaluation) -> list[str]:
    return [
        show(found.per_class[name]["auc"]).value if "auc" in found.per_class[name] else "?" for name in found.classes
    ]


def _confusion(found: Evaluation) -> list[tuple[str, list[tuple[str, str, float]], str]]:
    """For each true class: counts, shares in words and as a number from 0 to 1, and the sum."""
    table = []
    for name, row in zip(found.classes, found.confusion.tolist(), strict=True):
        total = sum(row)
        cells = [(f"{v:,}", f"{100 * v / total:.0f} %" if total else "-", v / total if total else 0.0) for v in row]
        table.append((name, cells, f"{total:,}"))
    return table


def _per_class(found: Evaluation) -> list[tuple[str, str, list[Shown]]]:
    keys = ("auc", "sensitivity", "specificity", "precision")
    sums = found.confusion.sum(1)
    return [
        (name, f"{sums[i]:,}", [show(found.per_class[name][key]) for key in keys if key in found.per_class[name]])
        for i, name in enumerate(found.classes)
    ]
