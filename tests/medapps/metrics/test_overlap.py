"""Overlaps against scikit-learn, and the rule for what is not there."""

from __future__ import annotations

import math

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.metrics import Overlap, overlaps
from tests.medapps.metrics.shapes import box

RATIOS = ("dice", "iou", "sensitivity", "precision", "volume_difference")


def maps(k, seed=0, shape=(3, 8, 9)):
    rng = np.random.default_rng(seed)
    return rng.integers(0, k, (2, *shape)).astype(np.uint8)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_every_ratio_is_that_of_scikit_learn(k):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    truth, prediction = maps(k)
    wanted = {
        "dice": metrics.f1_score,
        "iou": metrics.jaccard_score,
        "sensitivity": metrics.recall_score,
        "precision": metrics.precision_score,
    }
    found = overlaps(truth, prediction, k)
    for name, score in wanted.items():
        each = score(truth.ravel(), prediction.ravel(), average=None)
        assert [getattr(o, name) for o in found] == pytest.approx(each.tolist(), abs=1e-12), name


def test_a_box_shifted_by_a_quarter_covers_three_quarters():
    truth, prediction = box((1, 10, 10), (0, 2, 0), (1, 6, 8)), box((1, 10, 10), (0, 2, 2), (1, 6, 10))
    (_, found) = overlaps(truth.astype(np.uint8), prediction.astype(np.uint8), 2)
    assert (found.both, found.missed, found.extra) == (24, 8, 8)
    assert (found.dice, found.iou, found.volume_difference) == (0.75, 24 / 40, 0.0)


@pytest.mark.parametrize(
    ("overlap", "wanted"),
    [
        (Overlap(0, 0, 0), (math.nan,) * 5),
        (Overlap(0, 5, 0), (0.0, 0.0, 0.0, math.nan, -1.0)),
        (Overlap(0, 0, 5), (0.0, 0.0, math.nan, 0.0, math.nan)),
        (Overlap(5, 0, 0), (1.0, 1.0, 1.0, 1.0, 0.0)),
    ],
    ids=["absent", "missed", "false alarm", "perfect"],
)
def test_what_an_empty_mask_counts_for(overlap, wanted):
    assert [getattr(overlap, name) for name in RATIOS] == pytest.approx(list(wanted), nan_ok=True)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (np.zeros((1, 2, 2), np.uint8), r"the shape of the truth, \(1, 2, 3\), got \(1, 2, 2\)"),
        (np.full((1, 2, 3), 3, np.uint8), "prediction: must hold 0 to 2 for 3 classes, got 3 to 3"),
        (np.full((1, 2, 3), -1, np.int8), "got -1 to -1"),
        (np.zeros((1, 2, 3)), "whole numbers"),
    ],
)
def test_label_maps_that_do_not_fit_are_refused(prediction, message):
    with pytest.raises(InputError, match=message):
        overlaps(np.zeros((1, 2, 3), np.uint8), prediction, 3)
