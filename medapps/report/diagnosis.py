"""The sections of a diagnosis: how patients are decided about, when a human is asked, and where the network looked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medapps.evaluate_diagnosis import DiagnosisEvaluation
from medapps.explain import overlay
from medapps.inference import Decision
from medapps.metrics import check_predictions
from medapps.report.diagnosis_figures import draw_operating_point, draw_referral, draw_two_reliabilities
from medapps.report.folder import Examples, RunFiles, Scores
from medapps.report.gallery import Card, case_rows, make_card, picture_uri
from medapps.report.words import Shown, show

__all__ = ["Look", "LookWall", "diagnosis_sections", "pick_looks"]

_SHOWN = 6  # patients of each kind
_POOLED = {
    "mean": "the mean of the images' probabilities",
    "log_mean": "the mean of the images' log-probabilities",
    "max": "the highest probability of each class among the images",
}
_WALLS = (
    ("Wrong, and not referred", "Mistakes that no human was asked about, the surest first.", "There is none."),
    ("Right", "Right calls, from the surest to the least sure.", "There is none."),
    ("Least sure", "Patients for whom no class stood out.", "There is none."),
    ("Referred to a human", "Patients left to a human, from the least sure upwards.", "Nobody was referred."),
)


@dataclass(frozen=True)
class Look:
    """A patient's most telling image, the same with the heat map of the call, and what was decided."""

    card: Card
    heat: str
    verdict: str
    images: int


@dataclass(frozen=True)
class LookWall:
    """Patients of one kind, or the sentence that says why there are none."""

    title: str
    reason: str
    looks: tuple[Look, ...]
    empty: str


def diagnosis_sections(run: RunFiles) -> dict[str, Any]:
    """All that the fragment shows, in its order; figures are None where predictions.csv is missing."""
    found, scores = run.diagnosis, run.scores
    assert found is not None
    classes, decision = found.patients.classes, found.decision
    p = check_predictions(scores.probabilities, scores.labels) if scores else None
    before = scores.uncalibrated if scores else None
    return {
        "levels": _levels(found),
        "how": _how(decision, classes),
        "disease": decision.disease(classes) if decision.healthy else "",
        "operating": _operating(found),
        "roc": draw_operating_point(p, decision, classes) if p and decision.healthy else None,
        "reliability": draw_two_reliabilities(before, p) if p and before is not None else None,
        "calibration": _calibration(found),
        "temperature": f"{decision.temperature:.2f}",
        "confident": _confident(decision),
        "referral": _referral(found),
        "curve": draw_referral(p, decision) if p else None,
        "walls": _walls(run.examples, scores, found) if run.examples else None,
    }


def _levels(found: DiagnosisEvaluation) -> list[tuple[str, str, list[Shown]]]:
    """The same figures for patients and for single images."""
    keys = ("auc", "accuracy", "balanced_accuracy")
    pair = (("patients", found.patients), ("single images", found.images))
    return [(name, f"{e.n:,}", [show(e.metrics[key]) for key in keys]) for name, e in pair]


def _how(decision: Decision, classes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each step of the decision, and how it was chosen."""
    rows = [
        ("images of a patient", f"pooled: {_POOLED[decision.pooling]}"),
        ("temperature", f"{decision.temperature:.3f}, the most likely one on the validation split"),
    ]
    if decision.threshold is not None:
        rows.append(
            (
                decision.disease(classes),
                f"from a probability of {decision.threshold:.3f} up, by {decision.threshold_rule}",
            )
        )
    rows.append(("referred to a human", f"{_confident(decision)} ({decision.referral_rule})"))
    return rows


def _confident(decision: Decision) -> str:
    if decision.refer_below <= 0:
        return "nobody"
    if decision.refer_below >= 1:
        return "everybody: on the validation split no confidence was enough"
    return f"whoever's most probable class has a probability of {decision.refer_below:.3f} or less"


def _operating(found: DiagnosisEvaluation) -> list[tuple[str, str, Shown]]:
    if not found.operating:
        return []
    disease = found.decision.disease(found.patients.classes)
    words = {
        "auc": ("AUC", f"{disease} against {found.decision.healthy}, whatever the threshold"),
        "sensitivity": ("Sensitivity", f"share of {disease} that is called so"),
        "specificity": ("Specificity", f"share of {found.decision.healthy} that is spared"),
        "precision": ("Precision", f"share of those called {disease} who are"),
    }
    return [(*words[key], show(found.operating[key])) for key in words]


def _calibration(found: DiagnosisEvaluation) -> list[tuple[str, Shown, Shown]]:
    words = {
        "calibration_error": "calibration error of the call",
        "classwise_calibration_error": "calibration error, mean over the classes",
        "brier": "Brier score",
    }
    return [(name, show(found.before[key]), show(found.after[key])) for key, name in words.items()]


def _referral(found: DiagnosisEvaluation) -> list[tuple[str, str, Shown]]:
    words = {
        "coverage": ("Coverage", "share of patients who are not referred"),
        "accuracy": ("Accuracy among them", "share of right calls among those not referred"),
    }
    return [(*words[key], show(found.referral[key])) for key in words]


def _walls(examples: Examples, scores: Scores | None, found: DiagnosisEvaluation) -> tuple[LookWall, ...]:
    top, right = examples.probabilities.max(1), examples.probabilities.argmax(1) == examples.labels
    kept = top > found.decision.refer_below
    doubt = np.argsort(top, kind="stable").tolist()
    picked = (
        [i for i in reversed(doubt) if kept[i] and not right[i]],
        _spread([i for i in reversed(doubt) if kept[i] and right[i]]),
        doubt,
        _spread([i for i in doubt if not kept[i]]),
    )
    return tuple(
        LookWall(title, why, pick_looks(examples, chosen[:_SHOWN], found, scores), empty)
        for (title, why, empty), chosen in zip(_WALLS, picked, strict=True)
    )


def pick_looks(
    examples: Examples, chosen: Sequence[int], found: DiagnosisEvaluation, scores: Scores | None
) -> tuple[Look, ...]:
    """The patients `chosen` among the examples."""
    classes, rows = found.patients.classes, case_rows(scores)
    verdicts = found.decision.verdicts(examples.probabilities, classes)
    return tuple(_look(examples, i, classes, rows, verdicts[i]) for i in chosen)


def _spread(chosen: list[int]) -> list[int]:
    return [chosen[i] for i in np.linspace(0, len(chosen) - 1, min(_SHOWN, len(chosen))).astype(int)]


def _look(examples: Examples, i: int, classes: tuple[str, ...], rows: dict[str, int], verdict: str) -> Look:
    heat = np.zeros(examples.images.shape[2:]) if examples.maps is None else examples.maps[i] / 255
    drawn = overlay(examples.images[i], heat).transpose(2, 0, 1)
    images = 1 if examples.sizes is None else int(examples.sizes[i])
    return Look(make_card(examples, i, classes, rows), picture_uri(drawn), verdict, images)
