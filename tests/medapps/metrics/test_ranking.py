"""The area under the ROC curve against pairs counted one by one, scikit-learn, and published figures."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.metrics import (
    Resampling,
    area,
    auc,
    check_predictions,
    class_areas,
    delong_variance,
    macro_area,
    roc_curve,
)
from tests.medapps.metrics.draws import predictions, two_columns

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")

FEW = Resampling(draws=300)

# Albumin, total protein, 10 - K-G score, and whether surgery helped: 43 complete records of the ovarian cancer patients
# of DeLong et al., Biometrics 44 (1988), as in the SAS/STAT user's guide, "Comparing Receiver Operating Characteristic
# Curves"; it prints these areas and standard errors.
OVARIAN = np.fromstring(
    """3.0 5.8 10 0 3.2 6.3 5 1 3.9 6.8 3 1 2.8 4.8 6 0 3.2 5.8 3 1 0.9 4.0 5 0 2.5 5.7 8 0 1.6 5.6 5 1 3.8 5.7 5 1
    3.7 6.7 6 1 3.2 5.4 4 1 3.8 6.6 6 1 4.1 6.6 5 1 3.6 5.7 5 1 4.3 7.0 4 1 3.6 6.7 4 0 2.3 4.4 6 1 4.2 7.6 4 0
    4.0 6.6 6 0 3.5 5.8 6 1 3.8 6.8 7 1 3.0 4.7 8 0 4.5 7.4 5 1 3.7 7.4 5 1 3.1 6.6 6 1 4.1 8.2 6 1 4.3 7.0 5 1
    4.3 6.5 4 1 3.2 5.1 5 1 2.6 4.7 6 1 3.3 6.8 6 0 1.7 4.0 7 0 3.7 6.1 5 1 3.3 6.3 7 1 4.2 7.7 6 1 3.5 6.2 5 1
    2.9 5.7 9 0 2.1 4.8 7 1 2.8 6.2 8 0 4.0 7.0 7 1 3.3 5.7 6 1 3.7 6.9 5 1 3.6 6.6 5 1""",
    sep=" ",
).reshape(43, 4) * [1, 1, -1, 1]


@pytest.mark.parametrize(
    ("column", "published_area", "published_error"), [(0, 0.7366, 0.0927), (1, 0.6478, 0.1000), (2, 0.7258, 0.1028)]
)
def test_area_and_standard_error_are_the_published_ones(column, published_area, published_error):
    scores, positive = OVARIAN[:, column], OVARIAN[:, 3] == 1
    assert area(scores, positive) == pytest.approx(published_area, abs=5e-5)
    assert delong_variance(scores, positive) ** 0.5 == pytest.approx(published_error, abs=5e-5)


@pytest.mark.parametrize("decimals", [1, 2, 8])
def test_area_is_the_share_of_pairs_in_order_with_ties_counted_half(decimals):
    rng = np.random.default_rng(0)
    scores, positive = np.round(rng.random(70), decimals), rng.random(70) < 0.4
    up, down = scores[positive][:, None], scores[~positive][None]
    pairs = (up > down).mean() + 0.5 * (up == down).mean()
    assert area(scores, positive) == pytest.approx(pairs, abs=1e-12)
    assert area(scores, positive) == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-12)


def test_variance_agrees_with_the_kernel_written_out():
    """DeLong's eq. 5 from the matrix of all pairs."""
    scores, positive = np.round(OVARIAN[:, 0], 0), OVARIAN[:, 3] == 1
    up, down = scores[positive][:, None], scores[~positive][None]
    order = (up > down) + 0.5 * (up == down)
    wanted = order.mean(1).var(ddof=1) / len(up) + order.mean(0).var(ddof=1) / down.size
    assert delong_variance(scores, positive) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("k", [3, 5])
def test_macro_area_agrees_with_scikit_learn(k):
    probabilities, labels = predictions(k=k)
    wanted = sklearn.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    found = auc(probabilities, labels, resampling=FEW)
    assert found.value == pytest.approx(wanted, abs=1e-12)
    assert macro_area(probabilities, labels) == found.value
    assert found.low < found.value < found.high
    assert found.method == "bootstrap, 300 draws of 120 cases, percentile"


def test_a_draw_of_the_bootstrap_agrees_with_scikit_learn_on_the_drawn_cases():
    """One draw with ties: the sorted weights against the cases written out as often as they were drawn."""
    probabilities, labels = predictions(n=30, k=3)
    probabilities = np.round(probabilities, 1)
    probabilities /= probabilities.sum(1, keepdims=True)
    groups = np.arange(30) // 2
    found = auc(probabilities, labels, groups, Resampling(2, seed=5))
    draws = []
    for weights in np.concatenate(list(Resampling(2, seed=5).group_weights(15))):
        drawn = np.repeat(np.arange(30), weights[groups].astype(int))
        draws.append(sklearn.roc_auc_score(labels[drawn], probabilities[drawn], multi_class="ovr"))
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(draws, [2.5, 97.5])), abs=1e-12)


def test_the_bootstrap_agrees_with_delong_when_each_case_is_its_own_patient():
    """Large n, area far from 1, so both are nearly normal: ends within 0.01. One doubled case turns groups on."""
    probabilities, labels = predictions(n=400, k=2)
    plain = auc(probabilities, labels)
    groups = np.arange(400)
    groups[1] = 0
    grouped = auc(probabilities, labels, groups)
    assert plain.method == "DeLong, logit scale"
    assert (grouped.low, grouped.high) == pytest.approx((plain.low, plain.high), abs=0.01)


def test_perfect_order_is_not_certainty():
    found = auc(two_columns([0.1, 0.2, 0.8, 0.9]), [0, 0, 1, 1])
    assert (found.value, found.high) == (1.0, 1.0)
    assert 0.2 < found.low < 0.9
    assert found.method == "Newcombe's method 5"
    swapped = auc(two_columns([0.9, 0.8, 0.2, 0.1]), [0, 0, 1, 1])
    assert (swapped.value, swapped.low, swapped.high) == pytest.approx((0.0, 0.0, 1 - found.low), abs=1e-9)


def test_the_limit_at_a_perfect_order_solves_newcombes_equation():
    low, m, n = auc(two_columns([0.1] * 6 + [0.9] * 9), [0] * 6 + [1] * 9).low, 9, 6
    extra = (m + n) / 2 - 1
    variance = low * (1 - low) / (m * n) * (1 + extra * (1 - low) / (2 - low) + extra * low / (1 + low))
    assert (1 - low) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-5)


def test_perfect_order_of_few_patients_counts_patients():
    labels = np.arange(40) % 2
    probabilities = two_columns(np.where(labels, 0.9, 0.1))
    grouped = auc(probabilities, labels, np.arange(40) // 4, FEW)
    assert grouped.value == 1.0
    assert grouped.low < auc(probabilities, labels).low
    assert grouped.method == "Newcombe's method 5 on 10 and 10 groups"
    three = auc(np.eye(3)[np.arange(12) % 3], np.arange(12) % 3, resampling=FEW)
    assert (three.value, three.high) == (1.0, 1.0)
    assert three.low < 0.8


def test_a_missing_class_is_not_defined_and_says_so():
    assert str(auc(two_columns([0.1, 0.7]), [1, 1])) == "not defined (all cases are of class 1, n = 2)"
    probabilities, _ = predictions(n=30, k=3)
    macro, each = class_areas(check_predictions(probabilities, np.arange(30) % 2), FEW)
    assert macro.method == "no case of class 2"
    assert [e.is_defined for e in each] == [True, True, False]
    assert np.isnan(macro_area(probabilities, np.arange(30) % 2))


def test_a_class_of_one_patient_gives_no_interval_and_says_why():
    probabilities, labels = predictions(n=60, k=3)
    labels = np.where(labels == 2, 0, labels)
    labels[:2] = 2
    found = auc(probabilities, labels, np.arange(60) // 2, FEW)
    assert found.is_defined
    assert not found.has_interval
    assert "draws miss a class" in found.method


def test_one_case_on_a_side_still_gets_an_interval():
    found = auc(two_columns([0.1, 0.4, 0.9, 0.3]), [0, 0, 0, 1])
    assert found.value == pytest.approx(1 / 3)
    assert 0 < found.low < found.value < found.high < 1


def test_the_curve_agrees_with_scikit_learn_and_holds_the_area():
    probabilities, labels = predictions(n=50, k=2)
    scores, positive = np.round(probabilities[:, 1], 1), labels == 1
    false, true = roc_curve(scores, positive)
    wanted_false, wanted_true, _ = sklearn.roc_curve(positive, scores, drop_intermediate=False)
    np.testing.assert_allclose(false, wanted_false)
    np.testing.assert_allclose(true, wanted_true)
    assert np.trapezoid(true, false) == pytest.approx(area(scores, positive))


def test_delong_intervals_hold_the_truth_in_about_95_of_100_samples():
    """Normal scores 1.5 apart have an area of Phi(1.5 / sqrt 2) = 0.8556; 600 samples: 95 +- 1.8 %."""
    rng = np.random.default_rng(11)
    labels, held = np.repeat([0, 1], 30), 0
    for _ in range(600):
        scores = 1 / (1 + np.exp(-rng.normal(1.5 * labels)))
        found = auc(two_columns(scores), labels)
        held += found.low <= 0.85556 <= found.high
    assert 0.93 <= held / 600 <= 0.98
