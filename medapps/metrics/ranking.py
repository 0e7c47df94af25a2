"""The area under the ROC curve: the chance that a positive case gets a higher score than a negative one.

Equal scores count half. Two classes: DeLong's variance on the logit scale, which keeps the interval inside (0, 1). More
classes, or groups: the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps.metrics.bootstrap import DEFAULT, Resampling, estimate_from_draws
from medapps.metrics.estimate import Z95, Estimate, not_defined
from medapps.metrics.predictions import Predictions, check_predictions

__all__ = ["area", "auc", "class_areas", "delong_variance", "macro_area", "roc_curve"]

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


def auc(
    probabilities: ArrayLike | Predictions,
    labels: ArrayLike = (),
    groups: Sequence[Any] | None = None,
    resampling: Resampling = DEFAULT,
) -> Estimate:
    """The area under the ROC curve; class 1 is positive. More than 2 classes: mean over each class against the rest.

    Args:
        probabilities: (N, K), rows summing to 1.
        labels: (N,), 0 to K - 1.
        groups: (N,), whose case each is (patient); None when each stands for itself.
        resampling: draws and seed of the bootstrap, used for K > 2 or repeated groups.

    Source: DeLong et al., Biometrics 44 (1988), eq. 5; its logit scale: Pepe, 2003, section 5.2.

    >>> print(auc([[0.9, 0.1], [0.6, 0.4], [0.65, 0.35], [0.2, 0.8]], [0, 0, 1, 1]))
    0.750 (95 % interval 0.069 to 0.992, n = 4)
    """
    p = check_predictions(probabilities, labels, groups)
    return class_areas(p, resampling)[0]


def class_areas(p: Predictions, resampling: Resampling) -> tuple[Estimate, tuple[Estimate, ...]]:
    """The area over all classes, and each class against the rest (for K = 2 these are all the same figure)."""
    draws = _area_draws(p, resampling) if p.is_grouped or p.k > 2 else np.empty((0, p.k))
    if p.is_grouped:
        each = tuple(_grouped_area(p, k, draws[:, k], resampling) for k in range(p.k))
    else:
        each = tuple(_delong_area(p, k) for k in range(p.k))
    if p.k == 2:
        return each[1], each
    if missing := [e for e in each if not e.is_defined]:
        return not_defined(missing[0].method, n=p.n), each
    macro = estimate_from_draws(macro_area(p), draws.mean(1), p.n, resampling.name(p))
    fewest = min(min(_group_counts(p, k)) for k in range(p.k))
    return _or_newcombe(macro, fewest, fewest), each


def macro_area(probabilities: ArrayLike | Predictions, labels: ArrayLike = ()) -> float:
    """The area alone, without the cost of an interval, to compare epochs by; NaN when a class is missing."""
    p = check_predictions(probabilities, labels)
    ks = [1] if p.k == 2 else range(p.k)
    return float(np.mean([area(p.probabilities[:, k], p.labels == k) for k in ks]))


def area(scores: Scores, positive: Truth) -> float:
    """Share of (positive, negative) pairs in the right order, ties counted half; NaN if one side is empty.

    >>> area(np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True]))
    0.75
    """
    return float(_placements(scores, positive)[0].mean()) if 0 < positive.sum() < len(positive) else float("nan")


def delong_variance(scores: Scores, positive: Truth) -> float:
    """The variance of `area`; needs two cases on each side.

    Source: DeLong et al., Biometrics 44 (1988), eq. 5, for one curve.
    """
    return sum(float(v.var(ddof=1)) / len(v) for v in _placements(scores, positive))


def roc_curve(scores: Scores, positive: Truth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rates, from (0, 0) to (1, 1), one point for each distinct score, highest score first."""
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    hits = np.cumsum(positive[order])[last]
    false = 1 + last - hits
    return np.append(0, false / (~positive).sum()), np.append(0, hits / positive.sum())


def _placements(scores: Scores, positive: Truth) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each positive case the share of negatives below it, for each negative the share of positives above it."""
    up, down = np.sort(scores[positive]), np.sort(scores[~positive])
    below = (np.searchsorted(down, up, "left") + np.searchsorted(down, up, "right")) / (2 * max(1, len(down)))
    above = 1 - (np.searchsorted(up, down, "left") + np.searchsorted(up, down, "right")) / (2 * max(1, len(up)))
    return below, above


def _delong_area(p: Predictions, k: int) -> Estimate:
    """Class `k` against the rest, with DeLong's interval."""
    scores, positive = p.probabilities[:, k], p.labels == k
    ups, downs = int(positive.sum()), int((~positive).sum())
    if not (ups and downs):
        return not_defined(_why_absent(p, k), n=p.n)
    value = area(scores, positive)
    variance = delong_variance(scores, positive) if min(ups, downs) > 1 else 0.0
    if variance <= 0 or not 0 < value < 1:
        return Estimate(value, *_newcombe_interval(value, ups, downs), p.n, "Newcombe's method 5")
    half = Z95 * np.sqrt(variance) / (value * (1 - value))
    logit = np.log(value / (1 - value))
    low, high = (float(1 / (1 + np.exp(-(logit + sign * half)))) for sign in (-1, 1))
    return Estimate(value, low, high, p.n, "DeLong, logit scale")


def _grouped_area(p: Predictions, k: int, draws: Scores, resampling: Resampling) -> Estimate:
    """Class `k` against the rest, with the interval of the bootstrap over groups."""
    if p.class_counts[k] in (0, p.n):
        return not_defined(_why_absent(p, k), n=p.n)
    value = area(p.probabilities[:, k], p.labels == k)
    return _or_newcombe(estimate_from_draws(value, draws, p.n, resampling.name(p)), *_group_counts(p, k))


def _or_newcombe(found: Estimate, ups: int, downs: int) -> Estimate:
    """`found`, or, where the order is perfect in every draw, an interval that counts each group as one case."""
    if found.has_interval or found.value not in (0.0, 1.0):
        return found
    limits = _newcombe_interval(found.value, ups, downs)
    return Estimate(found.value, *limits, found.n, f"Newcombe's method 5 on {ups} and {downs} groups")


def _group_counts(p: Predictions, k: int) -> tuple[int, int]:
    """How many groups have a case of class `k`, and how many one of another class."""
    is_k = p.labels == k
    return len(np.unique(p.group_index[is_k])), len(np.unique(p.group_index[~is_k]))


def _newcombe_interval(value: float, ups: int, downs: int) -> tuple[float, float]:
    """A score interval that has an honest width at an area of 0 or 1, where DeLong's variance vanishes.

    Source: Newcombe, Statist. Med. 25 (2006), 559-573, method 5.
    """
    from scipy.optimize import brentq

    extra = (ups + downs) / 2 - 1

    def excess(t: float) -> float:
        variance = t * (1 - t) / (ups * downs) * (1 + extra * (1 - t) / (2 - t) + extra * t / (1 + t))
        return (value - t) ** 2 - Z95**2 * variance

    inside = min(max(value, 1e-9), 1 - 1e-9)  # at the value itself the excess is negative, but at the ends it is zero
    low = 0.0 if value == 0 else float(brentq(excess, 0.0, inside))
    high = 1.0 if value == 1 else float(brentq(excess, inside, 1.0))
    return low, high


def _area_draws(p: Predictions, resampling: Resampling) -> NDArray[np.float64]:
    """(draws, K): the area of each class in each draw; NaN where a draw has no positive or no negative case."""
    ranked = [_Ranked(p.probabilities[:, k], p.labels == k) for k in range(p.k)]
    step = max(1, 4_000_000 // p.n)
    rows = [[r.areas(w) for r in ranked] for w in _case_weights(p, resampling, step)]
    return np.concatenate([np.stack(columns, 1) for columns in rows])


def _case_weights(p: Predictions, resampling: Resampling, step: int) -> Iterator[NDArray[np.float64]]:
    for weights in resampling.group_weights(p.group_count):
        for start in range(0, len(weights), step):
            yield weights[start : start + step][:, p.group_index]


class _Ranked:
    """Cases sorted by score once, so that a draw costs a few passes and no sort."""

    def __init__(self, scores: Scores, positive: Truth) -> None:
        self.order = np.argsort(scores, kind="stable")
        ordered = scores[self.order]
        self.starts = np.append(0, np.flatnonzero(np.diff(ordered)) + 1)  # of each run of equal scores
        self.positive = positive[self.order]

    def areas(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        w = weights[:, self.order]
        ups = np.add.reduceat(w * self.positive, self.starts, axis=1)
        downs = np.add.reduceat(w * ~self.positive, self.starts, axis=1)
        below = np.cumsum(downs, 1) - downs / 2
        pairs = ups.sum(1) * downs.sum(1)
        return np.asarray(np.divide((ups * below).sum(1), pairs, out=np.full(len(w), np.nan), where=pairs > 0))


def _why_absent(p: Predictions, k: int) -> str:
    return f"no case of class {k}" if p.class_counts[k] == 0 else f"all cases are of class {k}"
