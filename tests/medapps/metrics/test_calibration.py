"""Brier score against scikit-learn; the calibration error against bins counted in a loop, and on known truth."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.metrics import Resampling, brier, expected_calibration_error, reliability
from tests.medapps.metrics.draws import predictions, two_columns

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

FEW = Resampling(draws=300)


@pytest.mark.parametrize("k", [2, 4])
def test_brier_agrees_with_scikit_learn(k):
    probabilities, labels = predictions(k=k)
    predicted = probabilities[:, 1] if k == 2 else probabilities
    found = brier(probabilities, labels, resampling=FEW)
    assert found.value == pytest.approx(sklearn.brier_score_loss(labels, predicted), rel=1e-12)
    assert found.low < found.value < found.high


def test_the_interval_of_brier_is_the_normal_one_for_many_cases():
    """Mean of n independent terms: +- 1.96 sd / sqrt n; 2000 draws leave about 3 % of the width."""
    probabilities, labels = predictions(n=2000, k=2)
    squares = (probabilities[:, 1] - labels) ** 2
    half = 1.96 * squares.std() / 2000**0.5
    found = brier(probabilities, labels)
    assert (found.low, found.high) == pytest.approx((squares.mean() - half, squares.mean() + half), abs=0.15 * half)


def test_the_calibration_error_agrees_with_bins_counted_in_a_loop():
    probabilities, labels = predictions(n=150, k=3)
    order = np.argsort(probabilities.max(1))
    wanted = 0.0
    for chunk in np.split(order, 15):  # 15 bins of 10
        confidence = probabilities[chunk].max(1).mean()
        right = (probabilities[chunk].argmax(1) == labels[chunk]).mean()
        wanted += abs(confidence - right) * len(chunk) / 150
    found = expected_calibration_error(probabilities, labels, resampling=FEW)
    assert found.value == pytest.approx(wanted, rel=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_equal_confidences_share_a_bin():
    probabilities, labels = two_columns([0.2] * 10), [0] * 6 + [1] * 4
    bins = reliability(probabilities, labels)
    assert len(bins) == 1
    assert (bins[0].confidence, bins[0].accuracy, bins[0].n) == pytest.approx((0.8, 0.6, 10))
    assert expected_calibration_error(probabilities, labels, resampling=FEW).value == pytest.approx(0.2)


def test_calibrated_probabilities_reach_down_to_zero_and_overconfident_ones_do_not():
    rng = np.random.default_rng(0)
    p = rng.uniform(0.5, 1, 3000)
    labels = (rng.random(3000) < p).astype(int)
    assert expected_calibration_error(two_columns(p), labels).low < 0.01
    sure = two_columns(np.full(3000, 0.99))
    found = expected_calibration_error(sure, labels)
    assert found.low < 0.99 - p.mean() < found.high
    assert found.low > 0.2


def test_patients_make_the_interval_longer():
    probabilities, labels = predictions(n=60, k=2)
    many, repeated = np.repeat(probabilities, 5, 0), np.repeat(labels, 5)
    grouped, alone = brier(many, repeated, np.repeat(np.arange(60), 5)), brier(many, repeated)
    assert grouped.value == pytest.approx(alone.value)
    assert grouped.high - grouped.low > 1.8 * (alone.high - alone.low)  # sqrt 5 = 2.2
