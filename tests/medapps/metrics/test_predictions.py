"""Every fault of probabilities, labels and groups gets one sentence."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.metrics import accuracy, auc, balanced_accuracy, brier, check_predictions, expected_calibration_error
from tests.medapps.metrics.draws import predictions

GOOD = [[0.5, 0.5], [0.2, 0.8]]
NAN = [[0.5, 0.5], [float("nan"), 0.5]]


@pytest.mark.parametrize(
    ("probabilities", "labels", "groups", "message"),
    [
        (np.empty((0, 2)), [], None, r"no cases to judge \(n = 0\)"),
        ([0.5, 0.5], [0, 1], None, r"must be \(N, K\) with at least 2 classes, got shape \(2,\)"),
        ([[1.0], [1.0]], [0, 0], None, "at least 2 classes"),
        (NAN, [0, 1], None, "1 of 2 rows hold NaN or infinity, the first is row 1"),
        ([[2.0, -1.0]], [0], None, "must lie between 0 and 1, got -1 to 2"),
        ([[0.5, 0.6]], [0], None, "row 0 sums to 1.1"),
        ([["a", "b"]], [0], None, "table of numbers"),
        (GOOD, [0], None, r"labels: must be \(2,\)"),
        (GOOD, [0.0, 1.0], None, "whole numbers, got float64"),
        (GOOD, [0, 2], None, "must be 0 to 1 for 2 classes, got 0 to 2"),
        (GOOD, [-1, 1], None, "got -1 to 1"),
        (GOOD, [0, 1], ["a"], "one group for each of the 2 cases, got 1"),
    ],
)
def test_a_fault_is_named(probabilities, labels, groups, message):
    with pytest.raises(InputError, match=message) as raised:
        check_predictions(probabilities, labels, groups)
    assert len(raised.value.args) == 1


@pytest.mark.parametrize("metric", [accuracy, auc, balanced_accuracy, brier, expected_calibration_error])
def test_every_metric_refuses_nan(metric):
    with pytest.raises(InputError, match="NaN"):
        metric(NAN, [0, 1])


def test_float32_probabilities_pass():
    probabilities, labels = predictions()
    assert check_predictions(probabilities.astype(np.float32), labels).n == 120


def test_groups_are_numbered_and_counted():
    probabilities, labels = predictions(n=4, k=2)
    checked = check_predictions(probabilities, labels, ["p2", "p1", "p2", "p3"])
    assert checked.group_index.tolist() == [0, 1, 0, 2]
    assert checked.is_grouped
    assert not check_predictions(probabilities, labels, list("abcd")).is_grouped
