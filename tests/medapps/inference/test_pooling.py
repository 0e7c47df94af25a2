"""Pooling: one row a case, by the formula, whatever the order of the images."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.errors import InputError
from medapps.inference import POOLINGS, gather_cases, pool

P = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
INDEX = np.array([0, 1, 0, 1])


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ("mean", [0.55, 0.45]),
        (
            "log_mean",
            [np.sqrt(0.18) / (np.sqrt(0.18) + np.sqrt(0.08)), np.sqrt(0.08) / (np.sqrt(0.18) + np.sqrt(0.08))],
        ),
        ("max", [0.9 / 1.7, 0.8 / 1.7]),
    ],
)
def test_a_case_gets_what_the_formula_says(how, first):
    found = pool(P, INDEX, how)
    assert found[0] == pytest.approx(first, rel=1e-12)
    assert found.sum(1) == pytest.approx([1, 1], rel=1e-12)


def test_the_log_pool_is_the_softmax_of_the_mean_logits():
    from scipy.special import softmax

    logits = np.random.default_rng(0).normal(0, 3, (7, 4))
    wanted = softmax(logits.mean(0))
    assert pool(softmax(logits, axis=1), np.zeros(7, np.int64), "log_mean")[0] == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("how", POOLINGS)
def test_one_image_is_its_own_case_and_order_is_no_matter(how):
    assert pool(P, np.arange(4), how) == pytest.approx(P, rel=1e-12)
    turned = np.array([2, 3, 0, 1])
    assert pool(P[turned], INDEX[turned], how) == pytest.approx(pool(P, INDEX, how), rel=1e-12)


def test_an_impossible_image_does_not_turn_the_log_pool_into_nothing():
    found = pool(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([0, 0]), "log_mean")
    assert found == pytest.approx(np.array([[0.5, 0.5]]))


def test_an_unknown_pooling_is_one_sentence():
    with pytest.raises(InputError, match="pooling: 'median' is not known; known are mean, log_mean, max"):
        pool(P, INDEX, "median")


def test_a_patient_with_two_diagnoses_has_two_cases_of_one_group():
    cases = gather_cases(["a", "a", "b", "a"], np.array([1, 2, 0, 1]))
    assert cases.groups == ("a", "a", "b")
    assert cases.labels is not None
    assert cases.labels.tolist() == [1, 2, 0]
    assert cases.sizes.tolist() == [2, 1, 1]
    assert gather_cases(["a", "a", "b", "a"]).groups == ("a", "b")
