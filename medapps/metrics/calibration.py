"""Calibration: does a probability of 0.8 mean right in 8 of 10 cases?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps.metrics.bootstrap import DEFAULT, Resampling, estimate_from_draws
from medapps.metrics.estimate import Estimate
from medapps.metrics.predictions import Predictions, check_predictions

__all__ = ["Bin", "brier", "classwise_calibration_error", "expected_calibration_error", "reliability"]

BINS = 15


@dataclass(frozen=True)
class Bin:
    """Cases of similar confidence: their mean confidence, the share of right answers, their number."""

    confidence: float
    accuracy: float
    n: int


def brier(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Mean squared distance between the probabilities and the truth; 0 is best.

    Two classes: mean of (p - y)^2, from 0 to 1. More: the sum of that over the classes, from 0 to 2.

    Source: Brier, Monthly Weather Review 78 (1950), eq. 2.
    """
    p = check_predictions(probabilities, labels, groups)
    squares = ((p.probabilities - np.eye(p.k)[p.labels]) ** 2).sum(1) / (2 if p.k == 2 else 1)
    sums, sizes = _by_group(p, squares[:, None])[:, 0], _by_group(p, np.ones((p.n, 1)))[:, 0]
    totals = resampling.totals(np.stack([sums, sizes], 1))
    return estimate_from_draws(float(squares.mean()), totals[:, 0] / totals[:, 1], p.n, resampling.name(p))


def expected_calibration_error(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Mean gap between confidence (the highest probability) and accuracy, over 15 bins with equal numbers of cases.

    The figure is too high by chance alone, and a draw adds to that, so the interval is the basic one, which reflects
    the draws at the figure and so takes that excess off; it is cut to [0, 1] and made to hold the figure.

    Source: Guo et al., ICML 2017, eq. 3; equal-mass bins: Nixon et al., CVPR workshops 2019, section 3.3.
    """
    p = check_predictions(probabilities, labels, groups)
    top = p.probabilities.max(1)
    return _mean_gap(p, [_gaps(top, p.predicted == p.labels)], resampling)


def classwise_calibration_error(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """The calibration error of each class's own probability, mean over the classes; the interval as above.

    The plain error looks at the most probable class alone; this one also sees a disease that is always given 0.3.

    Source: Kull et al., NeurIPS 2019, eq. 3, with 15 bins of equal mass.
    """
    p = check_predictions(probabilities, labels, groups)
    gaps = [_gaps(p.probabilities[:, k], p.labels == k) for k in range(p.k)]
    return _mean_gap(p, gaps, resampling)


def _gaps(scores: NDArray[np.float64], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, bins): score minus truth of each case, in the column of its bin."""
    bins = _bins(scores)
    gaps = np.zeros((len(scores), int(bins.max()) + 1))
    gaps[np.arange(len(scores)), bins] = scores - truth
    return gaps


def _mean_gap(p: Predictions, tables: Sequence[NDArray[np.float64]], resampling: Resampling) -> Estimate:
    """The calibration error behind `tables` of gaps, mean over the tables, with its basic interval."""
    gaps, share = np.concatenate(tables, 1), 1 / len(tables)
    value = float(np.abs(gaps.sum(0)).sum() / p.n) * share
    totals = resampling.totals(np.concatenate([_by_group(p, gaps), _by_group(p, np.ones((p.n, 1)))], 1))
    draws = np.abs(totals[:, :-1]).sum(1) / totals[:, -1] * share
    spread = estimate_from_draws(value, draws, p.n, resampling.name(p))
    if not spread.has_interval:
        return spread
    low, high = max(0.0, 2 * value - spread.high), min(1.0, 2 * value - spread.low)
    return Estimate(value, min(low, value), max(high, value), p.n, f"{resampling.name(p)}, basic")


def reliability(probabilities: ArrayLike | Predictions, labels: ArrayLike = ()) -> tuple[Bin, ...]:
    """The bins behind the calibration error, from the least to the most confident."""
    p = check_predictions(probabilities, labels)
    right, top = p.predicted == p.labels, p.probabilities.max(1)
    bins = _bins(top)
    return tuple(
        Bin(float(top[bins == b].mean()), float(right[bins == b].mean()), int((bins == b).sum()))
        for b in range(int(bins.max()) + 1)
    )


def _bins(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,): the bin of each case by its score; equal scores share a bin, and no bin is empty."""
    n = len(scores)
    wanted = np.arange(n) * min(BINS, n) // n
    first = np.searchsorted(np.sort(scores), scores, "left")  # rank of the first case with that score
    return np.unique(wanted[first], return_inverse=True)[1]


def _by_group(p: Predictions, columns: NDArray[np.float64]) -> NDArray[np.float64]:
    """(G, columns): sums over the cases of each group."""
    out = np.zeros((p.group_count, columns.shape[1]))
    np.add.at(out, p.group_index, columns)
    return out
