"""The order in which an epoch shows the training images: each once, or each class equally often."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["balanced_tickets", "repeated_tickets", "tickets"]


def tickets(n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The numbers 0 to n - 1 in random order: each image once."""
    return rng.permutation(n)


def balanced_tickets(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """As many tickets for each class that occurs, about `len(labels)` in all, in random order.

    Ticket t stands for image t % n, shown for time t // n in this epoch (counted from 0), so that a repeated image can
    be augmented anew. Within a class no image comes twice before all came once.

    >>> drawn = balanced_tickets(np.array([0, 1, 1, 1]), np.random.default_rng(0))
    >>> sorted(t % 4 for t in drawn.tolist())[:2]
    [0, 0]
    """
    n = len(labels)
    classes = np.unique(labels)
    share = max(n // len(classes), 1)
    drawn = []
    for label in classes:
        rows = np.flatnonzero(labels == label)
        rounds = [rng.permutation(rows) + n * k for k in range(-(-share // len(rows)))]
        drawn.append(np.concatenate(rounds)[:share])
    return rng.permutation(np.concatenate(drawn))


def repeated_tickets(n: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`count` tickets for n images, ticket t for image t % n; no image comes k + 1 times before all came k times."""
    rounds = [rng.permutation(n) + n * k for k in range(-(-count // n))]
    return np.concatenate(rounds)[:count]
