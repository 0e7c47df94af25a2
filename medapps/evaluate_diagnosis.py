"""evaluate_diagnosis: what a model's decisions about patients are worth, and its opinions of single images.

The test split is judged once, with the decision as the validation split chose it; nothing is chosen here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.errors import InputError
from medapps.evaluate import Cost, Evaluation, evaluate_classifier
from medapps.inference import Decision, gather_cases
from medapps.metrics import (
    DEFAULT,
    Estimate,
    Predictions,
    Resampling,
    auc,
    brier,
    check_predictions,
    classwise_calibration_error,
    coverage_and_accuracy,
    expected_calibration_error,
    precision,
    sensitivity,
    specificity,
)

__all__ = ["CALIBRATION", "OPERATING", "REFERRAL", "DiagnosisEvaluation", "evaluate_diagnosis"]

Figures = dict[str, Estimate]
CALIBRATION = ("calibration_error", "classwise_calibration_error", "brier")
OPERATING = ("auc", "sensitivity", "specificity", "precision")
REFERRAL = ("coverage", "accuracy")
_FIELDS = {"patients", "images", "decision", "before", "after", "operating", "referral"}


@dataclass(frozen=True, eq=False)
class DiagnosisEvaluation:
    """What `evaluate_diagnosis` found.

    patients: the evaluation of the pooled, calibrated probabilities, a case for each patient (for a patient with two
        diagnoses, one for each). images: that of single images, as the network gives them.
    decision: what was applied.
    before, after: calibration_error, classwise_calibration_error and brier of the patients, without and with the
        temperature.
    operating: auc of disease against healthy, and sensitivity, specificity and precision at the threshold; empty when
        no class is healthy.
    referral: coverage, the share of patients who are not referred, and the accuracy of the calls of those.
    """

    patients: Evaluation
    images: Evaluation
    decision: Decision
    before: Figures
    after: Figures
    operating: Figures
    referral: Figures

    def to_json(self) -> str:
        """Text for evaluation.json; the same evaluation gives the same bytes, and nothing in it is NaN."""
        plain = {
            "notice": NOTICE,
            "task": "diagnose",
            "decision": self.decision.to_dict(),
            "patients": json.loads(self.patients.to_json()),
            "images": json.loads(self.images.to_json()),
            **{name: _plain(getattr(self, name)) for name in ("before", "after", "operating", "referral")},
        }
        return json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> DiagnosisEvaluation:
        """The evaluation that `to_json` wrote.

        Raises:
            InputError: one sentence that names what is wrong.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError):
            raise InputError("evaluation: is not JSON") from None
        if not isinstance(plain, Mapping) or plain.get("task") != "diagnose":
            raise InputError("evaluation: is not that of a diagnosis")
        if missing := sorted(_FIELDS - set(plain)):
            raise InputError(f"evaluation: {missing[0]!r} is missing")
        patients, images = (Evaluation.from_json(json.dumps(plain[name])) for name in ("patients", "images"))
        if patients.classes != images.classes or patients.split != images.split:
            raise InputError("evaluation: patients and images are not of the same classes and split")
        try:
            decision = Decision.from_dict(plain["decision"], patients.classes)
            return cls(
                patients,
                images,
                decision,
                _figures(plain, "before", CALIBRATION),
                _figures(plain, "after", CALIBRATION),
                _figures(plain, "operating", OPERATING if decision.healthy is not None else ()),
                _figures(plain, "referral", REFERRAL),
            )
        except InputError as error:
            raise InputError(f"evaluation: {error}") from None


def evaluate_diagnosis(
    probabilities: NDArray[np.float64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    groups: Sequence[str],
    decision: Decision,
    *,
    split: str,
    cost: Cost | None = None,
    metrics: Sequence[str] = (),
    resampling: Resampling = DEFAULT,
) -> DiagnosisEvaluation:
    """Measure decisions about patients; intervals are over patients.

    Args:
        probabilities: (N, K) of the images, each row summing to 1.
        labels: (N,), the true class of each image, 0 to K - 1.
        classes: K names.
        groups: (N,), the patient of each image.
        decision: as chosen on the validation split.
        split: which part of the data this is, for the record.
        cost: what it cost, for the record.
        metrics: names of further figures of patients and of images, which plug-ins bring.
        resampling: draws and seed of the bootstrap.

    Raises:
        InputError: one sentence that names the argument at fault.
    """
    check_predictions(probabilities, labels, groups)
    cases = gather_cases(groups, labels)
    assert cases.labels is not None
    pooled = decision.pooled(probabilities, cases.index)
    calibrated = decision.calibrated(pooled)
    before, after = (check_predictions(p, cases.labels, cases.groups) for p in (pooled, calibrated))
    kept = dict(zip(REFERRAL, coverage_and_accuracy(after, decision.refer_below, resampling), strict=True))
    judge: dict[str, Any] = {"split": split, "metrics": metrics, "resampling": resampling}
    return DiagnosisEvaluation(
        patients=evaluate_classifier(calibrated, cases.labels, classes, groups=cases.groups, cost=cost, **judge),
        images=evaluate_classifier(probabilities, labels, classes, groups=groups, **judge),
        decision=decision,
        before=_calibration(before, resampling),
        after=_calibration(after, resampling),
        operating=_operating(after, decision, classes, resampling),
        referral=kept,
    )


def _calibration(p: Predictions, resampling: Resampling) -> Figures:
    figures = (expected_calibration_error, classwise_calibration_error, brier)
    return {name: f(p, resampling=resampling) for name, f in zip(CALIBRATION, figures, strict=True)}


def _operating(p: Predictions, decision: Decision, classes: Sequence[str], resampling: Resampling) -> Figures:
    """Disease, whichever it is, against healthy."""
    if decision.healthy is None or decision.threshold is None:
        return {}
    scores = decision.diseased(p.probabilities, classes)
    ill = (p.labels != list(classes).index(decision.healthy)).astype(np.int64)
    called, groups = np.eye(2)[(scores >= decision.threshold).astype(int)], p.group_index.tolist()
    area = auc(np.stack([1 - scores, scores], 1), ill, groups, resampling)
    at = check_predictions(called, ill, groups)
    counted = (f(at, resampling=resampling) for f in (sensitivity, specificity, precision))
    return dict(zip(OPERATING, (area, *counted), strict=True))


def _plain(figures: Figures) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in figures.items()}


def _figures(plain: Mapping[str, Any], name: str, wanted: Sequence[str]) -> Figures:
    table = plain[name]
    if not isinstance(table, Mapping) or set(table) != set(wanted):
        raise InputError(f"{name} must hold {', '.join(wanted) or 'nothing'}")
    return {key: Estimate.from_dict(table[key]) for key in wanted}
