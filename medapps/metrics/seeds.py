"""Several seeds: how much a figure moves when only the random start changes, kept apart from the sampling error."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medapps.errors import InputError
from medapps.metrics.estimate import Estimate

__all__ = ["SeedRow", "over_seeds"]


@dataclass(frozen=True)
class SeedRow:
    """One figure over several trainings that differ in their seed alone.

    mean, sd: over the seeds (sd with n - 1); NaN when a seed has no figure, or, for sd, with one seed.
    low, high: the 95 % interval of a single training, mean over the seeds: what the choice of test cases explains.
        It is not an interval of `mean`.
    seeds, n: how many trainings; cases behind each figure (of the seed with the fewest).
    """

    name: str
    mean: float
    sd: float
    low: float
    high: float
    seeds: int
    n: int

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.mean:.3f} +- {self.sd:.3f} over {self.seeds} seeds; "
            f"one seed's 95 % interval {self.low:.3f} to {self.high:.3f}, n = {self.n}"
        )


def over_seeds(metrics: Sequence[Mapping[str, Estimate]], *, n_may_differ: bool = False) -> tuple[SeedRow, ...]:
    """A row for each figure from the `metrics` of several evaluations on the same cases.

    n_may_differ: whether a figure may rest on more of those cases with one seed than with another, as a distance does
        that is known only where a model found something.

    Raises:
        InputError: if there is none, or they do not measure the same figures on the same number of cases.

    >>> runs = [{"auc": Estimate(v, v - 0.02, v + 0.02, 100, "DeLong")} for v in (0.94, 0.96)]
    >>> print(over_seeds(runs)[0])
    auc: 0.950 +- 0.014 over 2 seeds; one seed's 95 % interval 0.930 to 0.970, n = 100
    """
    if not metrics:
        raise InputError("over_seeds: at least one evaluation is needed")
    if any(set(m) != set(metrics[0]) for m in metrics):
        raise InputError("over_seeds: all evaluations must hold the same figures")
    return tuple(_row(name, [m[name] for m in metrics], n_may_differ) for name in metrics[0])


def _row(name: str, estimates: Sequence[Estimate], n_may_differ: bool) -> SeedRow:
    sizes = {e.n for e in estimates}
    if len(sizes) > 1 and not n_may_differ:
        raise InputError(
            f"over_seeds: {name} rests on {min(sizes)} to {max(sizes)} cases; judge the same cases each time"
        )
    values = np.array([e.value for e in estimates])
    sd = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
    low, high = float(np.mean([e.low for e in estimates])), float(np.mean([e.high for e in estimates]))
    return SeedRow(name, float(values.mean()), sd, low, high, len(values), min(sizes))
