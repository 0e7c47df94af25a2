"""A tiny data set whose classes can be learnt in seconds: a bright blob at the left or at the right."""

from __future__ import annotations

import numpy as np

from medapps.readers import ClassificationData, Split

__all__ = ["small_data"]


def small_data(n: int = 48, side: int = 10, classes: int = 2, seed: int = 0) -> ClassificationData:
    """`n` training images, half as many for validation and for test, (1, side, side), uint8."""
    rng = np.random.default_rng(seed)

    def split(name: str, count: int) -> Split:
        labels = np.arange(count) % classes
        images = rng.integers(40, 100, (count, 1, side, side))
        for image, label in zip(images, labels, strict=True):
            x = 1 + label * (side - 4) // max(classes - 1, 1)
            image[:, 3:7, x : x + 3] += rng.integers(20, 60)
        names = tuple(f"{name}-{i}" for i in range(count))
        return Split(images.astype(np.uint8), labels.astype(np.int64), names, names)

    names = tuple("abcdefgh"[:classes])
    return ClassificationData(
        "small", names, split("train", n), split("val", n // 2), split("test", n // 2), True, "0" * 64
    )
