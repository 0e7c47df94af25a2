"""The temperature: found back where it is known, equal to SciPy's optimum on logits, and of no effect on calls."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from medapps.errors import InputError
from medapps.metrics import expected_calibration_error, fit_temperature, with_temperature


def sharpened(factor, n=4000, k=3, seed=0):
    """Probabilities that are `factor` times too sharp: labels are drawn from the calibrated ones."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1.5, (n, k))
    labels = np.array([rng.choice(k, p=p) for p in softmax(logits, axis=1)])
    return logits * factor, labels


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(factor):
    logits, labels = sharpened(factor)
    # The Fisher information of log T here is about 0.6 a case: its standard error is 0.02 for 4000 cases.
    assert np.log(fit_temperature(softmax(logits, axis=1), labels)) == pytest.approx(np.log(factor), abs=0.08)


def test_it_is_the_minimum_that_another_optimiser_finds():
    logits, labels = sharpened(2.0, n=300)

    def loss(t):
        return -log_softmax(logits / t[0], axis=1)[np.arange(300), labels].mean()

    wanted = minimize(loss, [1.0], bounds=[(0.05, 20)]).x[0]
    assert fit_temperature(softmax(logits, axis=1), labels) == pytest.approx(wanted, rel=1e-3)


def test_it_lowers_the_calibration_error_and_changes_no_call():
    logits, labels = sharpened(4.0)
    p = softmax(logits, axis=1)
    warmed = with_temperature(p, fit_temperature(p, labels))
    assert (warmed.argmax(1) == p.argmax(1)).all()
    before, after = (expected_calibration_error(q, labels).value for q in (p, warmed))
    assert before > 0.2
    assert after < 0.03


def test_without_a_mistake_there_is_no_temperature_to_find():
    assert fit_temperature(np.array([[0.9, 0.1], [0.4, 0.6]]), [0, 1]) == 1.0


def test_it_is_the_softmax_of_the_divided_logits():
    logits = np.random.default_rng(1).normal(0, 2, (5, 4))
    assert with_temperature(softmax(logits, axis=1), 2.5) == pytest.approx(softmax(logits / 2.5, axis=1), rel=1e-9)
    assert with_temperature(np.array([[0.0, 1.0]]), 1.0) == pytest.approx(np.array([[0.0, 1.0]]), abs=1e-11)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(InputError, match="temperature: must be a positive number"):
        with_temperature(np.array([[0.5, 0.5]]), temperature)
