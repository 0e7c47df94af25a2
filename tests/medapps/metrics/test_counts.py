"""Accuracy and its kin against scikit-learn, their intervals against SciPy, by hand, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.metrics import (
    Resampling,
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    precision,
    sensitivity,
    specificity,
    wilson_interval,
)
from tests.medapps.metrics.draws import predictions, two_columns

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")

FEW = Resampling(draws=400)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_values_agree_with_scikit_learn(k):
    probabilities, labels = predictions(k=k)
    called = probabilities.argmax(1)
    assert accuracy(probabilities, labels).value == pytest.approx(sklearn.accuracy_score(labels, called))
    assert balanced_accuracy(probabilities, labels).value == pytest.approx(
        sklearn.balanced_accuracy_score(labels, called)
    )
    np.testing.assert_array_equal(confusion_matrix(probabilities, labels), sklearn.confusion_matrix(labels, called))
    for c in range(k):
        y, z = labels == c, called == c
        found = [f(probabilities, labels, positive=c).value for f in (sensitivity, specificity, precision)]
        wanted = sklearn.recall_score(y, z), sklearn.recall_score(~y, ~z), sklearn.precision_score(y, z)
        assert found == pytest.approx(wanted)


@pytest.mark.parametrize(("hits", "trials"), [(0, 5), (5, 5), (1, 3), (533, 624)])
def test_wilson_agrees_with_scipy(hits, trials):
    wanted = stats.binomtest(hits, trials).proportion_ci(method="wilson")
    assert wilson_interval(hits, trials) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_each_figure_carries_its_own_n():
    probabilities = two_columns([0.9, 0.8, 0.4, 0.1, 0.6])
    labels = [1, 1, 1, 0, 0]
    assert sensitivity(probabilities, labels).n == 3
    assert specificity(probabilities, labels).n == 2
    assert precision(probabilities, labels).n == 3  # three were called positive
    assert accuracy(probabilities, labels).n == 5
    assert accuracy(probabilities, labels).method == "Wilson"


def test_the_interval_of_a_mean_of_two_classes_is_the_one_worked_out_by_hand():
    """Sensitivity 8/10 (Wilson .4902, .9433), specificity 5/10 (.2366, .7634): mean .65, roots over 2."""
    probabilities = two_columns([0.9] * 8 + [0.1] * 2 + [0.9] * 5 + [0.1] * 5)
    found = balanced_accuracy(probabilities, [1] * 10 + [0] * 10)
    low = 0.65 - np.hypot(0.8 - 0.49016, 0.5 - 0.23659) / 2
    high = 0.65 + np.hypot(0.94331 - 0.8, 0.76341 - 0.5) / 2
    assert (found.value, found.low, found.high) == pytest.approx((0.65, low, high), abs=1e-5)


def test_a_missing_class_is_not_defined_and_says_so():
    probabilities = two_columns([0.9, 0.2])
    assert str(sensitivity(probabilities, [0, 0])) == "not defined (no case of class 1, n = 0)"
    assert not specificity(probabilities, [1, 1]).is_defined
    assert not balanced_accuracy(probabilities, [1, 1]).is_defined
    assert not precision(two_columns([0.1, 0.2]), [0, 1]).is_defined
    assert accuracy(probabilities, [1, 1]).is_defined


def test_the_bootstrap_over_groups_agrees_with_a_loop_over_patients():
    probabilities, labels = predictions(n=60, k=2)
    groups = np.arange(60) // 5
    right = (probabilities.argmax(1) == labels).reshape(12, 5).mean(1)
    rng = np.random.default_rng(1)
    means = [right[rng.integers(12, size=12)].mean() for _ in range(4000)]
    found = accuracy(probabilities, labels, groups, Resampling(4000))
    # The 2.5 % points of two independent sets of 4000 draws differ by less than 0.015 here.
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(means, [2.5, 97.5])), abs=0.02)
    assert found.method == "bootstrap, 4000 draws of 12 groups, percentile"


def test_repeated_images_of_a_patient_do_not_shorten_the_interval():
    probabilities, labels = predictions(n=40, k=2)
    one = accuracy(probabilities, labels)
    ten = accuracy(np.repeat(probabilities, 10, 0), np.repeat(labels, 10), np.repeat(np.arange(40), 10))
    alone = accuracy(np.repeat(probabilities, 10, 0), np.repeat(labels, 10))
    assert ten.high - ten.low == pytest.approx(one.high - one.low, rel=0.15)  # percentile against Wilson
    assert alone.high - alone.low < 0.5 * (ten.high - ten.low)


@pytest.mark.parametrize("metric", [accuracy, sensitivity, specificity, balanced_accuracy])
def test_no_mistake_among_few_patients_is_not_certainty(metric):
    labels = np.arange(40) % 2
    found = metric(two_columns(np.where(labels, 0.9, 0.1)), labels, np.arange(40) // 8, FEW)
    assert found.value == 1.0
    assert found.high == 1.0
    assert found.low < 0.7  # five patients: Wilson's 5 of 5 gives .566
    assert "5 groups" in found.method


def test_one_patient_gives_no_interval_but_for_the_extremes():
    probabilities, labels = predictions(n=10, k=2)
    found = accuracy(probabilities, labels, ["p"] * 10, FEW)
    assert found.is_defined
    assert not found.has_interval
    assert found.method == "no interval: all draws agree"


def test_the_same_input_gives_the_same_interval():
    probabilities, labels = predictions()
    groups = np.arange(120) // 4
    assert accuracy(probabilities, labels, groups, FEW) == accuracy(probabilities, labels, groups, FEW)
    assert accuracy(probabilities, labels, groups, Resampling(400, seed=1)) != accuracy(
        probabilities, labels, groups, FEW
    )


def test_intervals_hold_the_truth_in_about_95_of_100_samples():
    """400 samples: 95 +- 2.2 % (two standard errors); grouped intervals from 40 patients may fall a little short."""
    rng = np.random.default_rng(3)
    plain = grouped = 0
    for _ in range(400):
        patient = rng.beta(8, 2, size=40)  # each patient has his own chance of being called right; mean 0.8
        right = rng.random((40, 4)) < patient[:, None]
        p = two_columns(np.where(right.ravel(), 0.9, 0.1))
        ones = np.ones(160, int)
        one = accuracy(p[::4], ones[::4])
        many = accuracy(p, ones, np.repeat(np.arange(40), 4), Resampling(200))
        plain += one.low <= 0.8 <= one.high
        grouped += many.low <= 0.8 <= many.high
    assert 0.92 <= plain / 400 <= 0.985
    assert 0.90 <= grouped / 400 <= 0.985
