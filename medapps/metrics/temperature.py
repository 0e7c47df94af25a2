"""Temperature: one number that takes over-confidence off a network without changing its calls.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017, section 4.2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps.errors import InputError
from medapps.metrics.predictions import check_predictions

__all__ = ["LEAST_PROBABILITY", "fit_temperature", "with_temperature"]

LEAST_PROBABILITY = 1e-12  # stands in for zero under a logarithm
_RANGE = (0.05, 20.0)


def fit_temperature(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """The temperature that makes the labels most likely; fit it on the validation split, never on the test split.

    Above 1 the network was too sure of itself. As a function of 1 / T the mean negative log-likelihood is convex, so
    there is one minimum; it is looked for from 0.05 to 20. Where the most probable class is right in every case, the
    likelihood only grows as T falls, the data do not tell a temperature, and 1 is given.

    Args:
        probabilities: (N, K), rows summing to 1. Their logarithms serve as logits; those differ from the network's by
            a constant in each row, which softmax does not see.
        labels: (N,), 0 to K - 1.

    Raises:
        InputError: one sentence that names the argument at fault.

    >>> p = np.array([[0.99, 0.01], [0.99, 0.01], [0.99, 0.01], [0.01, 0.99]])  # sure, but wrong in 1 of 4 cases
    >>> round(float(with_temperature(p, fit_temperature(p, [0, 0, 1, 1])).max()), 3)
    0.75
    """
    from scipy.optimize import minimize_scalar

    p = check_predictions(probabilities, labels)
    rows = np.arange(p.n)
    if (p.predicted == p.labels).all():
        return 1.0

    def loss(log_t: float) -> float:
        warmed = with_temperature(p.probabilities, float(np.exp(log_t)))
        return float(-np.log(np.maximum(warmed[rows, p.labels], LEAST_PROBABILITY)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))


def with_temperature(probabilities: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """softmax(log p / T) for rows of probabilities (N, K); T = 1 changes nothing, a large T makes all classes equal.

    >>> with_temperature(np.array([[0.9, 0.1]]), 2.0).round(3).tolist()
    [[0.75, 0.25]]
    """
    if not temperature > 0:
        raise InputError(f"temperature: must be a positive number, got {temperature}")
    logits = np.log(np.maximum(probabilities, LEAST_PROBABILITY)) / temperature
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
