"""evaluate_diagnosis against figures counted by hand from pooled probabilities, and its text read back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.evaluate_diagnosis import DiagnosisEvaluation, evaluate_diagnosis
from medapps.inference import Decision
from medapps.metrics import Resampling
from tests.medapps.metrics.draws import predictions

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

CLASSES = ("bacteria", "normal", "virus")
DECISION = Decision("mean", 0.5, "normal", 0.55, "Youden", 0.5, "fixed")
FEW = Resampling(draws=200)
SIZE = 3  # images a patient
LABELS = np.repeat(np.arange(40) % 3, SIZE)
GROUPS = tuple(f"p{i // SIZE}" for i in range(40 * SIZE))


def images():
    rng = np.random.default_rng(3)
    raw = rng.random((len(LABELS), 3)) + 0.35 * np.eye(3)[LABELS]
    return raw / raw.sum(1, keepdims=True)


@pytest.fixture(scope="module")
def found():
    return evaluate_diagnosis(images(), LABELS, CLASSES, GROUPS, DECISION, split="test", resampling=FEW)


def by_hand():
    pooled = images().reshape(40, SIZE, 3).mean(1)
    sharp = pooled**2  # the temperature is 0.5
    return pooled, sharp / sharp.sum(1, keepdims=True), LABELS[::SIZE]


def test_patients_and_images_are_counted_apart(found):
    _, p, truth = by_hand()
    assert (found.patients.n, found.patients.groups, found.images.n, found.images.groups) == (40, 40, 120, 40)
    assert found.patients.metrics["accuracy"].value == pytest.approx((p.argmax(1) == truth).mean())
    assert found.images.metrics["accuracy"].value == pytest.approx((images().argmax(1) == LABELS).mean())
    assert "groups" in found.images.metrics["accuracy"].method


def test_disease_against_healthy_is_what_scikit_learn_says(found):
    _, p, truth = by_hand()
    ill, scores = truth != 1, 1 - p[:, 1]
    called = scores >= 0.55
    assert found.operating["auc"].value == pytest.approx(sklearn.roc_auc_score(ill, scores))
    assert found.operating["sensitivity"].value == pytest.approx(sklearn.recall_score(ill, called))
    assert found.operating["specificity"].value == pytest.approx(sklearn.recall_score(~ill, ~called))
    assert found.operating["precision"].value == pytest.approx(sklearn.precision_score(ill, called))
    assert all(e.low <= e.value <= e.high for e in found.operating.values())


def test_referral_and_calibration_before_and_after(found):
    pooled, p, truth = by_hand()
    kept = p.max(1) > 0.5
    assert 0 < kept.mean() < 1
    assert found.referral["coverage"].value == pytest.approx(kept.mean())
    assert found.referral["accuracy"].value == pytest.approx((p.argmax(1) == truth)[kept].mean())
    assert found.referral["accuracy"].n == kept.sum()
    for q, figures in ((pooled, found.before), (p, found.after)):
        assert figures["brier"].value == pytest.approx(((q - np.eye(3)[truth]) ** 2).sum(1).mean())
    assert found.after["calibration_error"] == found.patients.metrics["calibration_error"]


def test_without_a_healthy_class_there_is_no_operating_point():
    decision = replace(DECISION, healthy=None, threshold=None, threshold_rule="none")
    found = evaluate_diagnosis(images(), LABELS, CLASSES, GROUPS, decision, split="test", resampling=FEW)
    assert found.operating == {}
    assert DiagnosisEvaluation.from_json(found.to_json()).to_json() == found.to_json()


def test_what_is_written_is_read_back_the_same(found):
    text = found.to_json()
    assert DiagnosisEvaluation.from_json(text).to_json() == text
    assert json.loads(text)["task"] == "diagnose"
    assert json.loads(text)["notice"].startswith("For research")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: "{", "is not JSON"),
        (lambda e: [], "is not that of a diagnosis"),
        (lambda e: {**e, "task": "segment"}, "is not that of a diagnosis"),
        (lambda e: {k: v for k, v in e.items() if k != "before"}, "'before' is missing"),
        (lambda e: {**e, "operating": {}}, "operating must hold auc, sensitivity, specificity, precision"),
        (lambda e: {**e, "referral": {"coverage": 1, "accuracy": 1}}, "an estimate must be a table"),
        (lambda e: {**e, "decision": {}}, "decision: must hold"),
        (lambda e: {**e, "images": {**e["images"], "split": "val"}}, "not of the same classes and split"),
        (lambda e: {**e, "patients": None}, "is not what medapps writes"),
    ],
)
def test_a_damaged_text_is_one_sentence(found, change, message):
    changed = change(json.loads(found.to_json()))
    with pytest.raises(InputError, match=message) as caught:
        DiagnosisEvaluation.from_json(changed if isinstance(changed, str) else json.dumps(changed))
    assert "\n" not in str(caught.value)


def test_probabilities_that_are_none_are_refused():
    with pytest.raises(InputError, match="must sum to 1"):
        evaluate_diagnosis(2 * predictions(120)[0] / 3, LABELS, CLASSES, GROUPS, DECISION, split="test")
