"""Masks of known shape for the tests of segmentation."""

from __future__ import annotations

import numpy as np


def box(shape, low, high):
    """True from `low` up to, but not with, `high`."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def ball(shape, spacing, radius, centre=None):
    """True where the centre of a voxel is at most `radius` mm from `centre` (mm; the middle when None)."""
    axes = [np.arange(n) * s for n, s in zip(shape, spacing, strict=True)]
    middle = [a.mean() for a in axes] if centre is None else centre
    grid = np.meshgrid(*axes, indexing="ij")
    return sum((g - m) ** 2 for g, m in zip(grid, middle, strict=True)) <= radius**2


def blobs(shape, seed, share=0.5):
    """A ragged mask with holes and islands."""
    rng = np.random.default_rng(seed)
    rough = rng.random(shape)
    for axis in range(len(shape)):
        rough = rough + np.roll(rough, 1, axis)
    return rough > np.quantile(rough, 1 - share)
