"""Figures made of counts: each is a ratio of entries of the confusion matrix.

Without groups the intervals are Wilson's; where a patient has several cases, they come from the bootstrap over
patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps.metrics.bootstrap import DEFAULT, Resampling, estimate_from_draws
from medapps.metrics.estimate import Z95, Estimate, not_defined
from medapps.metrics.predictions import Predictions, check_predictions

__all__ = [
    "accuracy", "balanced_accuracy", "confusion_matrix", "mean_specificity", "precision", "sensitivity", "specificity",
    "wilson_interval",
]  # fmt: skip

Counts = NDArray[Any]
Ratio = tuple[Counts, Counts]  # hits and trials


def confusion_matrix(probabilities: ArrayLike | Predictions, labels: ArrayLike = ()) -> NDArray[np.int64]:
    """(K, K): how many cases of class i (row) were called class j (column); the most probable class is the call.

    >>> confusion_matrix([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, 1]).tolist()
    [[1, 0], [1, 1]]
    """
    p = check_predictions(probabilities, labels)
    return np.bincount(p.labels * p.k + p.predicted, minlength=p.k * p.k).reshape(p.k, p.k)


def wilson_interval(hits: float, trials: float) -> tuple[float, float]:
    """The 95 % score interval of a proportion; inside [0, 1], and of honest width at 0 and at all hits.

    Source: Wilson, J. Am. Statist. Assoc. 22 (1927), 209-212.

    >>> low, high = wilson_interval(10, 10)
    >>> round(low, 4), high
    (0.7225, 1.0)
    """
    p, zz = hits / trials, Z95 * Z95
    centre = p + zz / (2 * trials)
    half = Z95 * float(np.sqrt(p * (1 - p) / trials + zz / (4 * trials * trials)))
    low, high = ((centre + sign * half) / (1 + zz / trials) for sign in (-1, 1))
    return (0.0 if hits == 0 else low), (1.0 if hits == trials else high)


def accuracy(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """Share of cases whose most probable class is the true one; n is the number of cases."""
    p = check_predictions(probabilities, labels, groups)
    return _proportion(p, lambda c: (np.trace(c, axis1=-2, axis2=-1), c.sum((-2, -1))), "no cases", resampling)


def sensitivity(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
    *,
    positive: int = 1,
) -> Estimate:
    """Share of the cases of class `positive` that were called so (recall); n is the number of those cases."""
    p = check_predictions(probabilities, labels, groups)
    return _proportion(p, lambda c: _found(c, positive), f"no case of class {positive}", resampling)


def specificity(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
    *,
    positive: int = 1,
) -> Estimate:
    """Share of the cases of other classes that were not called class `positive`; n is the number of those cases."""
    p = check_predictions(probabilities, labels, groups)
    return _proportion(p, lambda c: _spared(c, positive), f"no case of another class than {positive}", resampling)


def precision(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
    *,
    positive: int = 1,
) -> Estimate:
    """Share of the cases called class `positive` that are of it; n is the number of those calls."""
    p = check_predictions(probabilities, labels, groups)
    return _proportion(p, lambda c: _called(c, positive), f"class {positive} was never called", resampling)


def balanced_accuracy(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """The mean over classes of the sensitivity: as if all classes were equally frequent. n is the number of cases."""
    return _mean_over_classes(check_predictions(probabilities, labels, groups), _found, resampling)


def mean_specificity(p: Predictions, resampling: Resampling) -> Estimate:
    """The mean over classes of the specificity, each class in turn against the others."""
    return _mean_over_classes(p, _spared, resampling)


def _found(c: Counts, positive: int) -> Ratio:
    return c[..., positive, positive], c[..., positive, :].sum(-1)


def _spared(c: Counts, positive: int) -> Ratio:
    others = c.sum((-2, -1)) - c[..., positive, :].sum(-1)
    return others - (c[..., positive].sum(-1) - c[..., positive, positive]), others


def _called(c: Counts, positive: int) -> Ratio:
    return c[..., positive, positive], c[..., positive].sum(-1)


def _proportion(p: Predictions, ratio: Callable[[Counts], Ratio], reason: str, resampling: Resampling) -> Estimate:
    """hits / trials with Wilson's interval, or the bootstrap over groups."""
    hits, trials = (int(v) for v in ratio(confusion_matrix(p)))
    if trials == 0:
        return not_defined(reason, n=0)
    value = hits / trials
    if not p.is_grouped:
        return Estimate(value, *wilson_interval(hits, trials), trials, "Wilson")
    counts = _group_confusions(p)
    found = estimate_from_draws(value, _divide(*ratio(resampling.totals(counts))), trials, resampling.name(p))
    if found.has_interval or hits not in (0, trials):
        return found
    # No mistake, or nothing but mistakes, in any draw: a group counts as one case, the most cautious reading.
    groups = int((ratio(counts)[1] > 0).sum())
    return Estimate(value, *wilson_interval(value * groups, groups), trials, f"Wilson over {groups} groups")


def _mean_over_classes(p: Predictions, ratio: Callable[[Counts, int], Ratio], resampling: Resampling) -> Estimate:
    matrix = confusion_matrix(p)
    ratios = [tuple(int(v) for v in ratio(matrix, k)) for k in range(p.k)]
    if empty := [k for k, (_, trials) in enumerate(ratios) if trials == 0]:
        return not_defined(f"class {empty[0]} leaves nothing to count", n=p.n)
    values = np.array([hits / trials for hits, trials in ratios])
    if not p.is_grouped:
        return _combined(values, [trials for _, trials in ratios], p.n, "Wilson limits of the classes, combined")
    counts = _group_confusions(p)
    totals = resampling.totals(counts)
    draws = np.mean([_divide(*ratio(totals, k)) for k in range(p.k)], axis=0)
    found = estimate_from_draws(float(values.mean()), draws, p.n, resampling.name(p))
    if found.has_interval or found.value not in (0.0, 1.0):
        return found
    groups = [int((ratio(counts, k)[1] > 0).sum()) for k in range(p.k)]
    return _combined(values, groups, p.n, f"Wilson limits of the classes, combined, over {p.group_count} groups")


def _combined(values: NDArray[np.float64], trials: Sequence[int], n: int, method: str) -> Estimate:
    """The mean of proportions; its limits are recovered from theirs.

    Source: Zou and Donner, Statistics in Medicine 27 (2008), section 2 (the MOVER).
    """
    mean = float(values.mean())
    low, high = np.array([wilson_interval(v * t, t) for v, t in zip(values, trials, strict=True)]).T
    below, above = (float(np.sqrt(np.sum(gap**2))) / len(values) for gap in (values - low, high - values))
    return Estimate(mean, max(0.0, mean - below), min(1.0, mean + above), n, method)


def _group_confusions(p: Predictions) -> NDArray[np.float64]:
    """(G, K, K): the confusion matrix of each group."""
    cell = (p.group_index * p.k + p.labels) * p.k + p.predicted
    counts = np.bincount(cell, minlength=p.group_count * p.k * p.k)
    return counts.reshape(p.group_count, p.k, p.k).astype(np.float64)


def _divide(hits: NDArray[Any], trials: NDArray[Any]) -> NDArray[np.float64]:
    """hits / trials, NaN where there were no trials."""
    return np.asarray(np.divide(hits, trials, out=np.full(np.shape(trials), np.nan), where=trials > 0))
