"""Splits by patient: all images of one group go to the same side, and classes keep their shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError

__all__ = ["hold_out", "merge_groups"]


def hold_out(
    groups: Sequence[str], labels: NDArray[np.int64], fraction: float, *, seed: int, name: str
) -> NDArray[np.bool_]:
    """Mask of images to hold out: about `fraction` of each class, whole groups only.

    A group with images of several classes counts for its most frequent one. Every class has images on both sides.

    Raises:
        InputError: if a class has images of fewer than two groups.

    >>> mask = hold_out(["a", "a", "b", "c"], np.array([0, 0, 0, 0]), 0.3, seed=1, name="x")
    >>> bool(mask[0] == mask[1]), 0 < int(mask.sum()) < 4
    (True, True)
    """
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    votes = np.zeros((len(names), int(labels.max()) + 1), np.int64)
    np.add.at(votes, (member, labels), 1)
    home, sizes = votes.argmax(axis=1), votes.sum(axis=1)
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(names), bool)
    for label in np.unique(home):
        own = rng.permutation(np.flatnonzero(home == label))
        before = np.cumsum(sizes[own]) - sizes[own]
        count = int((before < fraction * sizes[own].sum()).sum())
        chosen[own[: min(count, len(own) - 1)]] = True
    for label in np.unique(labels):
        holders = rng.permutation(np.flatnonzero(votes[:, label] > 0))
        if len(holders) < 2:
            raise InputError(
                f"{name}: class {label} has images of one patient only, so it cannot be split by patient; "
                "add patients, or give train, val and test folders"
            )
        if chosen[holders].all() or not chosen[holders].any():
            chosen[holders[0]] = not chosen[holders[0]]
    return np.asarray(chosen[member])


def merge_groups(groups: Sequence[str], digests: Sequence[str]) -> tuple[str, ...]:
    """Join groups that share an identical image, so that a copy cannot end up on the other side of a split.

    >>> merge_groups(["a", "b", "c"], ["1", "2", "1"])
    ('a', 'b', 'a')
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    first: dict[str, str] = {}
    for group, digest in zip(groups, digests, strict=True):
        a, b = root(first.setdefault(digest, group)), root(group)
        parent[max(a, b)] = min(a, b)
    return tuple(root(group) for group in groups)
