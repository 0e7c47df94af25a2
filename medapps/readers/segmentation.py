"""What a segmentation data set is once read: images, and for each voxel what it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.image import Image

__all__ = ["Case", "SegmentationData"]


@dataclass(frozen=True, eq=False)
class Case:
    """One picture or volume with its true segmentation.

    group: whose image it is; no group lies in two splits.
    mask: (z, y, x), uint8, the class of each voxel; 0 is the background.
    """

    name: str
    group: str
    image: Image
    mask: NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.mask.dtype != np.uint8 or self.mask.shape != self.image.shape[1:]:
            raise InputError(
                f"{self.name}: the mask must be uint8 {self.image.shape[1:]} like its image, "
                f"got {self.mask.dtype} {self.mask.shape}"
            )


@dataclass(frozen=True, eq=False)
class SegmentationData:
    """Cases in three splits that share no patient.

    classes: names; the first is the background.
    digest: SHA-256 over everything that was read. synthetic: made by a program; reports must say so.
    """

    name: str
    classes: tuple[str, ...]
    train: tuple[Case, ...]
    val: tuple[Case, ...]
    test: tuple[Case, ...]
    synthetic: bool
    digest: str

    def __post_init__(self) -> None:
        if not 2 <= len(self.classes) <= 256:
            raise InputError(f"{self.name}: 2 to 256 classes are needed with the background, got {len(self.classes)}")
        for title, cases in self.splits():
            if not cases:
                raise InputError(f"{self.name}: the {title} split is empty")
            for case in cases:
                self._check(case)
        self._check_groups()

    def splits(self) -> tuple[tuple[str, tuple[Case, ...]], ...]:
        """The three splits with their names, in order."""
        return ("train", self.train), ("val", self.val), ("test", self.test)

    def _check(self, case: Case) -> None:
        if case.mask.max() >= len(self.classes):
            raise InputError(
                f"{self.name}: the mask of {case.name} holds {case.mask.max()}, "
                f"but there are {len(self.classes)} classes (0 to {len(self.classes) - 1})"
            )
        if case.image.shape[0] != self.train[0].image.shape[0]:
            raise InputError(f"{self.name}: {case.name} has {case.image.shape[0]} channels, {self.train[0].name} has "
                             f"{self.train[0].image.shape[0]}; give images of one kind")  # fmt: skip

    def _check_groups(self) -> None:
        seen: dict[str, str] = {}
        for title, cases in self.splits():
            for case in cases:
                if seen.setdefault(case.group, title) != title:
                    raise InputError(
                        f"{self.name}: unsafe split: images of {case.group} are in {seen[case.group]} and in {title}; "
                        "move all images of a patient into one split"
                    )
