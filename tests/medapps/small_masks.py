"""A tiny segmentation data set that can be learnt in seconds: bright discs on a darker, noisy ground."""

from __future__ import annotations

import numpy as np

from medapps.image import Image
from medapps.readers import Case, SegmentationData

__all__ = ["small_masks"]


def small_masks(cases: int = 6, depth: int = 2, side: int = 20, seed: int = 0) -> SegmentationData:
    """`cases` training volumes, half as many for validation and for test, (1, depth, side, side), uint8."""
    rng = np.random.default_rng(seed)

    def case(name: str) -> Case:
        y, x = np.mgrid[:side, :side]
        middle, radius = rng.integers(6, side - 6, 2), rng.integers(3, 6)
        disc = np.hypot(y - middle[0], x - middle[1]) <= radius
        mask = np.repeat(disc[None], depth, 0).astype(np.uint8)
        pixels = rng.integers(40, 80, mask.shape) + 60 * mask
        return Case(name, name, Image(pixels.astype(np.uint8)[None], spacing_mm=(3.0, 1.0, 1.0)), mask)

    splits = {
        split: tuple(case(f"{split}-{i}") for i in range(n))
        for split, n in (("train", cases), ("val", cases // 2), ("test", cases // 2))
    }
    return SegmentationData("discs", ("background", "disc"), **splits, synthetic=True, digest="0" * 64)
