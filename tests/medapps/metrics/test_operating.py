"""Operating points against scikit-learn's ROC curve; the referral curve against counting one case after another."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.metrics import (
    Resampling,
    check_predictions,
    classwise_calibration_error,
    coverage_and_accuracy,
    coverage_curve,
    expected_calibration_error,
    referral_threshold,
    sensitivity_threshold,
    youden_threshold,
)
from tests.medapps.metrics.draws import predictions, two_columns

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
FEW = Resampling(draws=300)


def scored(seed=0, n=200, digits=2):
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.4
    return np.round(rng.normal(positive, 1.2), digits), positive


@pytest.mark.parametrize("seed", range(4))
def test_youden_is_the_point_of_the_roc_curve_furthest_from_chance(seed):
    scores, positive = scored(seed)
    false, true, _ = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    called = scores >= youden_threshold(scores, positive)
    reached = called[positive].mean() - called[~positive].mean()
    assert reached == pytest.approx((true - false).max(), abs=1e-12)


@pytest.mark.parametrize("required", [0.5, 0.9, 0.95, 1.0])
def test_the_required_sensitivity_is_reached_at_the_best_specificity(required):
    scores, positive = scored(1)
    false, true, _ = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    called = scores >= sensitivity_threshold(scores, positive, required)
    assert called[positive].mean() >= required
    assert called[~positive].mean() == pytest.approx(false[true >= required].min(), abs=1e-12)


def test_a_threshold_needs_cases_of_both_kinds_and_a_possible_wish():
    scores = np.array([0.1, 0.9])
    with pytest.raises(InputError, match="cases with and without the disease are needed"):
        youden_threshold(scores, np.array([True, True]))
    with pytest.raises(InputError, match="sensitivity: must be above 0 and at most 1"):
        sensitivity_threshold(scores, np.array([True, False]), 1.2)


def test_the_referral_curve_is_what_counting_gives():
    probabilities, labels = predictions(n=80, k=3)
    p = check_predictions(np.round(probabilities, 2) / np.round(probabilities, 2).sum(1, keepdims=True), labels)
    top = p.probabilities.max(1)
    for threshold, coverage, right in zip(*coverage_curve(p), strict=True):
        kept = top > threshold
        assert coverage == pytest.approx(kept.mean())
        assert right == pytest.approx((p.predicted == labels)[kept].mean())


def test_the_lowest_threshold_that_is_right_often_enough_is_taken():
    probabilities, labels = predictions(n=200, k=3, seed=2)
    p = check_predictions(probabilities, labels)
    top, right = p.probabilities.max(1), p.predicted == p.labels
    threshold = referral_threshold(p, 0.95)
    assert 0 < threshold < 1
    assert right[top > threshold].mean() >= 0.95
    lower = [t for t in top if t < threshold and (top > t).sum() > (top > threshold).sum()]
    assert all(right[top > t].mean() < 0.95 for t in lower)


def test_nobody_or_everybody_may_be_referred():
    sure = check_predictions(two_columns([0.9, 0.8] * 10), [1] * 20)
    assert referral_threshold(sure, 0.9) == 0.0
    hopeless = check_predictions(two_columns([0.9, 0.8] * 10), [0] * 20)
    assert referral_threshold(hopeless, 0.9) == 1.0
    coverage, right = coverage_and_accuracy(hopeless, 1.0, FEW)
    assert coverage.value == 0
    assert not right.is_defined
    assert right.method == "every case is referred"


def test_a_few_lucky_cases_are_not_kept_alone():
    scores = np.concatenate([np.linspace(0.9, 0.99, 5), np.full(35, 0.6)])
    p = check_predictions(two_columns(scores), [1] * 5 + [0] * 35)
    assert referral_threshold(p, 0.9) == 1.0


def test_coverage_and_accuracy_have_intervals_over_patients():
    probabilities, labels = predictions(n=60, k=3)
    alone = coverage_and_accuracy(check_predictions(probabilities, labels), 0.5, FEW)
    groups = np.repeat(np.arange(60), 4)
    many = check_predictions(np.repeat(probabilities, 4, 0), np.repeat(labels, 4), groups)
    for one, four in zip(alone, coverage_and_accuracy(many, 0.5, FEW), strict=True):
        assert one.method == "Wilson"
        assert "groups" in four.method
        assert four.value == pytest.approx(one.value)
        assert four.high - four.low > 0.7 * (one.high - one.low)  # not half as long, as 4 times as many cases would be


def test_the_classwise_error_is_the_mean_of_each_class_against_the_rest():
    probabilities, labels = predictions(n=150, k=3)
    wanted = []
    for k in range(3):
        order = np.argsort(probabilities[:, k])
        gaps = [abs(probabilities[c, k].mean() - (labels[c] == k).mean()) * len(c) for c in np.split(order, 15)]
        wanted.append(sum(gaps) / 150)
    found = classwise_calibration_error(probabilities, labels, resampling=FEW)
    assert found.value == pytest.approx(np.mean(wanted), rel=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.value != pytest.approx(expected_calibration_error(probabilities, labels, resampling=FEW).value)
