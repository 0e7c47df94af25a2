"""Predictions: probabilities, labels and groups, checked once, so that no metric meets a NaN or a wrong shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from medapps.errors import InputError

__all__ = ["Predictions", "check_predictions", "number_groups"]

_SUM_TOLERANCE = 1e-4  # float32 softmax over a thousand classes sums to 1 within 1e-5


@dataclass(frozen=True, eq=False)
class Predictions:
    """Checked predictions of N cases over K classes.

    probabilities: (N, K), float64, rows sum to 1; labels: (N,), int64, 0 to K - 1.
    group_index: (N,), int64, 0 to G - 1: whose case it is; group_count: G, N when no two cases belong together.
    """

    probabilities: NDArray[np.float64]
    labels: NDArray[np.int64]
    group_index: NDArray[np.int64]
    group_count: int

    @property
    def n(self) -> int:
        """How many cases."""
        return len(self.labels)

    @property
    def k(self) -> int:
        """How many classes."""
        return int(self.probabilities.shape[1])

    @property
    def is_grouped(self) -> bool:
        """Whether some cases belong to the same group, so that they are not independent."""
        return self.group_count < self.n

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """(N,): the most probable class; the first one when several are equally probable."""
        return np.asarray(self.probabilities.argmax(1), np.int64)

    @cached_property
    def class_counts(self) -> NDArray[np.int64]:
        """(K,): cases of each class."""
        return np.bincount(self.labels, minlength=self.k)


def check_predictions(
    probabilities: ArrayLike | Predictions, labels: ArrayLike = (), groups: Sequence[Any] | NDArray[Any] | None = None
) -> Predictions:
    """Check what every metric needs, and number the groups; `Predictions` pass as they are.

    Args:
        probabilities: (N, K), K >= 2, from 0 to 1, each row summing to 1.
        labels: (N,), whole numbers from 0 to K - 1.
        groups: (N,), whose case each is (patient); None when each case stands for itself.

    Raises:
        InputError: one sentence that names the first fault.
    """
    if isinstance(probabilities, Predictions):
        return probabilities
    p = _checked_probabilities(probabilities)
    y = _checked_labels(labels, *p.shape)
    index = np.arange(len(y)) if groups is None else number_groups(groups, len(y))
    return Predictions(p, y, index, int(index.max()) + 1)


def _checked_probabilities(probabilities: ArrayLike) -> NDArray[np.float64]:
    try:
        p = np.asarray(probabilities, np.float64)
    except (TypeError, ValueError):
        raise InputError("probabilities: must be an (N, K) table of numbers") from None
    if p.ndim != 2 or p.shape[1] < 2:
        raise InputError(f"probabilities: must be (N, K) with at least 2 classes, got shape {p.shape}")
    if len(p) == 0:
        raise InputError("probabilities: there are no cases to judge (n = 0)")
    if bad := int((~np.isfinite(p)).any(1).sum()):
        row = int(np.argmax((~np.isfinite(p)).any(1)))
        raise InputError(f"probabilities: {bad} of {len(p)} rows hold NaN or infinity, the first is row {row}")
    if p.min() < -_SUM_TOLERANCE or p.max() > 1 + _SUM_TOLERANCE:
        raise InputError(
            f"probabilities: must lie between 0 and 1, got {p.min():.6g} to {p.max():.6g}; apply softmax first"
        )
    sums = p.sum(1)
    if (off := np.abs(sums - 1)).max() > _SUM_TOLERANCE:
        row = int(off.argmax())
        raise InputError(f"probabilities: each row must sum to 1, row {row} sums to {sums[row]:.6g}")
    return p


def _checked_labels(labels: ArrayLike, n: int, k: int) -> NDArray[np.int64]:
    y = np.asarray(labels)
    if y.shape != (n,):
        raise InputError(f"labels: must be ({n},), one for each row of probabilities, got shape {y.shape}")
    if y.dtype.kind not in "iu":
        raise InputError(f"labels: must be whole numbers, got {y.dtype}")
    if y.min() < 0 or y.max() >= k:
        raise InputError(f"labels: must be 0 to {k - 1} for {k} classes, got {y.min()} to {y.max()}")
    return y.astype(np.int64)


def number_groups(groups: Sequence[Any] | NDArray[Any], n: int) -> NDArray[np.int64]:
    """(n,): 0 for the cases of the first group named, 1 for those of the next, and so on.

    Raises:
        InputError: if there is not one group for each of `n` cases.
    """
    if len(groups) != n:
        raise InputError(f"groups: must name one group for each of the {n} cases, got {len(groups)}")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(g, len(numbers)) for g in groups], np.int64)
