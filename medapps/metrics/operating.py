"""Operating points: the thresholds at which a model calls a case positive, or leaves it to a human.

All are chosen on the validation split. A threshold lies half-way between two scores that occurred, so that a rounding
error does not turn a call.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.metrics.bootstrap import DEFAULT, Resampling
from medapps.metrics.counts import accuracy
from medapps.metrics.estimate import Estimate, not_defined
from medapps.metrics.predictions import Predictions, check_predictions

__all__ = [
    "coverage_and_accuracy", "coverage_curve", "referral_threshold", "sensitivity_threshold", "youden_threshold",
]  # fmt: skip

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]
FEWEST = 10  # kept cases below which an accuracy is chance


def youden_threshold(scores: Scores, positive: Truth) -> float:
    """Call a case positive from this score up, and sensitivity + specificity is highest; of equals the lowest one.

    scores, positive: (N,), with cases of both kinds.

    Source: Youden, Cancer 3 (1950), 32-35.

    >>> youden_threshold(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, False, True, True]))
    0.5
    """
    thresholds, sensitivities, specificities = _candidates(scores, positive)
    return float(thresholds[int(np.argmax(np.round(sensitivities + specificities, 12)))])


def sensitivity_threshold(scores: Scores, positive: Truth, required: float) -> float:
    """The highest threshold that still finds the share `required` of the positive cases, so the most specific one.

    scores, positive: (N,), with cases of both kinds. required: above 0, at most 1.

    >>> sensitivity_threshold(np.array([0.1, 0.4, 0.6, 0.9]), np.array([False, True, False, True]), 1.0)
    0.25
    """
    if not 0 < required <= 1:
        raise InputError(f"sensitivity: must be above 0 and at most 1, got {required}")
    thresholds, sensitivities, _ = _candidates(scores, positive)
    return float(thresholds[sensitivities >= required - 1e-12][-1])


def _candidates(scores: Scores, positive: Truth) -> tuple[Scores, Scores, Scores]:
    """Thresholds, rising, with the sensitivity and the specificity at each."""
    if positive.all() or not positive.any():
        raise InputError("operating point: cases with and without the disease are needed to choose a threshold")
    values = np.unique(scores)
    between = (values[1:] + values[:-1]) / 2
    # Half-way between neighbouring floats is one of the two; it must not be the lower one.
    thresholds = np.concatenate([values[:1], np.where(between > values[:-1], between, values[1:])])
    up, down = np.sort(scores[positive]), np.sort(scores[~positive])
    found = 1 - np.searchsorted(up, thresholds, "left") / len(up)
    spared = np.searchsorted(down, thresholds, "left") / len(down)
    return thresholds, found, spared


def coverage_curve(p: Predictions) -> tuple[Scores, Scores, Scores]:
    """What is kept, and how often that is right, as the least certain cases are left out one level at a time.

    Returns:
        (M,) thresholds, rising from 0: a case is kept whose highest probability lies above; (M,) coverage, the share
        kept, falling from 1; (M,) accuracy among the kept.

    Source: El-Yaniv and Wiener, J. Machine Learning Research 11 (2010), section 2 (the risk-coverage curve).
    """
    top = p.probabilities.max(1)
    values, first = np.unique(np.sort(top), return_index=True)
    right = (p.predicted == p.labels)[np.argsort(top, kind="stable")]
    kept = p.n - first
    hits = np.cumsum(right[::-1])[::-1][first]
    between = (values[1:] + values[:-1]) / 2
    thresholds = np.concatenate([[0.0], np.where(between < values[1:], between, values[:-1])])
    return thresholds, kept / p.n, hits / kept


def referral_threshold(p: Predictions, required: float) -> float:
    """The lowest confidence above which the calls are right in the share `required` of the cases.

    0 keeps every case. At least 10 cases must be kept; where no threshold does it, 1 refers every case.
    """
    if not 0 < required <= 1:
        raise InputError(f"accuracy of the kept cases: must be above 0 and at most 1, got {required}")
    thresholds, coverage, right = coverage_curve(p)
    good = (right >= required - 1e-12) & (coverage * p.n >= min(FEWEST, p.n) - 1e-9)
    return float(thresholds[np.argmax(good)]) if good.any() else 1.0


def coverage_and_accuracy(
    p: Predictions, threshold: float, resampling: Resampling = DEFAULT
) -> tuple[Estimate, Estimate]:
    """The share of cases whose highest probability lies above `threshold`, and how often those calls are right."""
    kept = p.probabilities.max(1) > threshold
    coverage = accuracy(np.eye(2)[kept.astype(int)], np.ones(p.n, np.int64), p.group_index.tolist(), resampling)
    if not kept.any():
        return coverage, not_defined("every case is referred", n=0)
    rest = check_predictions(p.probabilities[kept], p.labels[kept], p.group_index[kept].tolist())
    return coverage, accuracy(rest, resampling=resampling)
