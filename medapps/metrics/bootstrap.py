"""The bootstrap over groups: what the figure might have been, had other patients come.

Cases of one patient resemble each other. Drawing whole patients keeps that; drawing single images would make intervals
too short. Draws are seeded, so that the same predictions give the same interval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from medapps.metrics.estimate import Estimate

__all__ = ["DEFAULT", "Grouped", "Resampling", "estimate_from_draws"]

_CHUNK = 4_000_000  # weights held at a time: 32 MB
_MOST_UNDEFINED = 0.05  # share of draws without a figure (a class not drawn) beyond which no interval is given


class Grouped(Protocol):
    """Cases of which some may belong together, such as `Predictions`."""

    @property
    def group_count(self) -> int:
        """How many groups."""

    @property
    def is_grouped(self) -> bool:
        """Whether there are fewer groups than cases."""


@dataclass(frozen=True)
class Resampling:
    """How often to draw, and from which seed."""

    draws: int = 2000
    seed: int = 0

    def group_weights(self, groups: int) -> Iterator[NDArray[np.float64]]:
        """How often each group was drawn, (draws in this chunk, groups); rows sum to `groups`.

        Source: Field and Welsh, J. R. Statist. Soc. B 69 (2007), section 3 (the randomised cluster bootstrap).
        """
        rng = np.random.Generator(np.random.PCG64(self.seed))
        step = max(1, _CHUNK // groups)
        for start in range(0, self.draws, step):
            rows = min(step, self.draws - start)
            drawn = rng.integers(groups, size=(rows, groups)) + groups * np.arange(rows)[:, None]
            yield np.bincount(drawn.ravel(), minlength=rows * groups).reshape(rows, groups).astype(np.float64)

    def totals(self, of_group: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums over the drawn groups of `of_group` (groups, ...): (draws, ...). Enough for all made of counts."""
        groups, shape = len(of_group), of_group.shape[1:]
        flat = of_group.reshape(groups, -1)
        return np.concatenate([w @ flat for w in self.group_weights(groups)]).reshape(self.draws, *shape)

    def name(self, cases: Grouped) -> str:
        """The words for `Estimate.method`."""
        unit = "groups" if cases.is_grouped else "cases"
        return f"bootstrap, {self.draws} draws of {cases.group_count} {unit}"


DEFAULT = Resampling()


def estimate_from_draws(value: float, draws: NDArray[np.float64], n: int, name: str) -> Estimate:
    """The percentile interval of `draws` around `value`; none, and the reason, if the draws do not tell one.

    Draws that all agree do not mean certainty: with 20 patients and no mistake the next one can still be wrong.
    """
    known = draws[np.isfinite(draws)]
    if len(known) < (1 - _MOST_UNDEFINED) * len(draws):
        missing = len(draws) - len(known)
        return Estimate(value, np.nan, np.nan, n, f"no interval: {missing} of {len(draws)} draws miss a class")
    low, high = np.percentile(known, [2.5, 97.5])
    if high - low < 1e-12:
        return Estimate(value, np.nan, np.nan, n, "no interval: all draws agree")
    return Estimate(value, float(low), float(high), n, f"{name}, percentile")
