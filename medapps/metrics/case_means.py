"""Means over cases, class by class, with the bootstrap over groups: for figures that each case has of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.metrics.bootstrap import Resampling, estimate_from_draws
from medapps.metrics.estimate import Estimate, not_defined

__all__ = ["CaseGroups", "case_means"]


@dataclass(frozen=True, eq=False)
class CaseGroups:
    """Whose case each is: index (N,), 0 to G - 1, as `number_groups` gives it."""

    index: NDArray[np.int64]

    @property
    def group_count(self) -> int:
        """How many groups."""
        return int(self.index.max()) + 1

    @property
    def is_grouped(self) -> bool:
        """Whether some cases belong to the same group, so that they are not independent."""
        return self.group_count < len(self.index)


def case_means(
    values: NDArray[np.float64], groups: CaseGroups, names: Sequence[str], resampling: Resampling
) -> tuple[Estimate, tuple[Estimate, ...]]:
    """The mean over classes of the means over cases, and the mean over cases of each class.

    Each case counts once, each class as much as another. The mean over classes is not defined while one of them has
    no figure at all; its n counts the cases that have a figure for at least one class.

    Args:
        values: (N, K), NaN where a case has no figure for that class.
        names: K classes, for the words where a mean is not defined.
    """
    known = np.isfinite(values)
    n = known.sum(0)
    sums, sizes = _totals(np.where(known, values, 0.0), groups, resampling), _totals(known, groups, resampling)
    draws = np.divide(sums, sizes, out=np.full(sums.shape, np.nan), where=sizes > 0)
    means = np.array([values[known[:, k], k].mean() if n[k] else np.nan for k in range(len(names))])
    method = resampling.name(groups)
    each = tuple(
        estimate_from_draws(float(means[k]), draws[:, k], int(n[k]), method)
        if n[k]
        else not_defined(f"no case has this figure for {name}", n=0)
        for k, name in enumerate(names)
    )
    judged = int(known.any(1).sum())
    if empty := [name for name, size in zip(names, n, strict=True) if size == 0]:
        return not_defined(f"no case has this figure for {empty[0]}", n=judged), each
    return estimate_from_draws(float(means.mean()), draws.mean(1), judged, method), each


def _totals(
    columns: NDArray[np.float64] | NDArray[np.bool_], groups: CaseGroups, resampling: Resampling
) -> NDArray[np.float64]:
    """(draws, K): sums over the drawn groups."""
    of_group = np.zeros((groups.group_count, columns.shape[1]))
    np.add.at(of_group, groups.index, columns)
    return resampling.totals(of_group)
