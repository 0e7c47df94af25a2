"""Pooling: from what a network thinks of each image to one opinion of a patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError

__all__ = ["POOLINGS", "Cases", "gather_cases", "pool"]

Table = NDArray[np.float64]
_LEAST = 1e-12  # below it a probability is a rounding error, and its logarithm would outweigh every other image


@dataclass(frozen=True, eq=False)
class Cases:
    """Which images make one case, and so get one decision.

    index: (N,), the case of each image, 0 to P - 1, numbered as they first occur.
    groups: P patients. A patient with two diagnoses has two cases, one for each.
    labels: (P,), the true class; None where it is not known.
    sizes: (P,), images of each case.
    """

    index: NDArray[np.int64]
    groups: tuple[str, ...]
    labels: NDArray[np.int64] | None
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.groups)


def gather_cases(groups: Sequence[str], labels: NDArray[np.int64] | None = None) -> Cases:
    """The cases among images of the patients `groups` (N,), with the true classes `labels` (N,) where known.

    >>> cases = gather_cases(["a", "b", "a", "b"], np.array([0, 1, 0, 2]))
    >>> cases.index.tolist(), cases.groups, cases.sizes.tolist()
    ([0, 1, 0, 2], ('a', 'b', 'b'), [2, 1, 1])
    """
    known = [-1] * len(groups) if labels is None else [int(label) for label in labels]
    numbers: dict[tuple[str, int], int] = {}
    index = np.array([numbers.setdefault(key, len(numbers)) for key in zip(groups, known, strict=True)], np.int64)
    truth = None if labels is None else np.array([label for _, label in numbers], np.int64)
    return Cases(index, tuple(group for group, _ in numbers), truth, np.bincount(index, minlength=len(numbers)))


def pool(probabilities: Table, index: NDArray[np.int64], how: str = "mean") -> Table:
    """One row of probabilities for each case, (P, K), rows summing to 1, from those of its images, (N, K).

    how: "mean" averages the probabilities (the linear opinion pool); "log_mean" averages their logarithms, which is
        the mean of the logits (the logarithmic pool: one image that excludes a class weighs heavily); "max" takes the
        highest of each class (one image that shows the disease is enough).
    index: (N,), the case of each image, 0 to P - 1, each with an image.

    Source: Genest and Zidek, Statistical Science 1 (1986), 114-135, for the two opinion pools.

    Raises:
        InputError: for an unknown `how`.

    >>> pool(np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]), np.array([0, 0, 1])).round(3).tolist()
    [[0.7, 0.3], [0.2, 0.8]]
    """
    if how not in POOLINGS:
        raise InputError(f"pooling: {how!r} is not known; known are {', '.join(POOLINGS)}")
    raw = POOLINGS[how](probabilities, index, int(index.max()) + 1)
    return np.asarray(raw / raw.sum(1, keepdims=True))


def _mean(values: Table, index: NDArray[np.int64], count: int) -> Table:
    sums = np.zeros((count, values.shape[1]))
    np.add.at(sums, index, values)
    return sums / np.bincount(index, minlength=count)[:, None]


def _log_mean(values: Table, index: NDArray[np.int64], count: int) -> Table:
    return np.asarray(np.exp(_mean(np.log(np.maximum(values, _LEAST)), index, count)))


def _max(values: Table, index: NDArray[np.int64], count: int) -> Table:
    highest = np.zeros((count, values.shape[1]))
    np.maximum.at(highest, index, values)
    return highest


POOLINGS: dict[str, Callable[[Table, NDArray[np.int64], int], Table]] = {
    "mean": _mean,
    "log_mean": _log_mean,
    "max": _max,
}
