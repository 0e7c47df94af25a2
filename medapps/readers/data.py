"""What a data set is once read: images, labels, and whose images they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError

__all__ = ["ClassificationData", "Split"]


@dataclass(frozen=True, eq=False)
class Split:
    """One part of a data set.

    images: (N, C, H, W), uint8 or float32. Pictures stay uint8.
    labels: (N,), int64, an index into `ClassificationData.classes`.
    groups: whose image it is (patient where known, else the image itself); no group lies in two splits.
    names: where each image came from.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    groups: tuple[str, ...]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        counts = {len(self.images), len(self.labels), len(self.groups), len(self.names)}
        if self.images.ndim != 4 or len(counts) != 1:
            raise InputError(f"Split: images must be (N, C, H, W) with N labels, groups and names, got {counts}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[Any]) -> Split:
        """The chosen rows (indices or a mask), in that order."""
        rows = np.arange(len(self))[index]
        groups, names = (tuple(texts[i] for i in rows) for texts in (self.groups, self.names))
        return Split(self.images[rows], self.labels[rows], groups, names)


@dataclass(frozen=True, eq=False)
class ClassificationData:
    """Images with one label each, in three splits that share no patient.

    digest: SHA-256 over everything that was read, so that a result can name its data.
    synthetic: the images were made by a program; reports must say so.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    val: Split
    test: Split
    synthetic: bool
    digest: str

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise InputError(f"{self.name}: at least two classes are needed, got {len(self.classes)}")
        for title, split in self.splits():
            if len(split) == 0:
                raise InputError(f"{self.name}: the {title} split is empty")
            if split.labels.min() < 0 or split.labels.max() >= len(self.classes):
                raise InputError(
                    f"{self.name}: labels out of range in the {title} split: {split.labels.min()} to "
                    f"{split.labels.max()}, but there are {len(self.classes)} classes (0 to {len(self.classes) - 1})"
                )
        counts = np.bincount(self.train.labels, minlength=len(self.classes))
        if (counts == 0).any():
            empty = self.classes[int(np.argmin(counts))]
            raise InputError(f"{self.name}: empty class: {empty!r} has no training image")
        self._check_groups()

    def splits(self) -> tuple[tuple[str, Split], ...]:
        """The three splits with their names, in order."""
        return ("train", self.train), ("val", self.val), ("test", self.test)

    def _check_groups(self) -> None:
        seen: dict[str, str] = {}
        for title, split in self.splits():
            for group in dict.fromkeys(split.groups):
                if seen.setdefault(group, title) != title:
                    raise InputError(
                        f"{self.name}: unsafe split: images of {group} are in {seen[group]} and in {title}; "
                        "move all images of a patient into one split"
                    )
