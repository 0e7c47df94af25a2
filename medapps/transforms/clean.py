"""Clean: repair pixels that cannot be real, that is missing (NaN, infinite) and isolated hot or dead ones.

The rule looks at order, not at averages, so that edges, lines and small vessels survive: a pixel is an outlier only
when it lies far outside all but one of its eight neighbours. One is let off because hot pixels come in pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Preparation, register

__all__ = ["Clean", "CleanReport", "clean"]


@dataclass(frozen=True)
class CleanReport:
    """How many pixels were changed, of how many."""

    missing: int
    hot: int
    dead: int
    pixels: int

    @property
    def changed(self) -> int:
        return self.missing + self.hot + self.dead

    def __str__(self) -> str:
        kinds = f"{self.missing} missing, {self.hot} hot, {self.dead} dead"
        return f"{self.changed} of {self.pixels} pixels repaired ({kinds})"


def clean(images: NDArray[Any], *, threshold: float = 8.0) -> tuple[NDArray[Any], CleanReport]:
    """Repair missing and outlier pixels by the median of their neighbours.

    Args:
        images: (..., H, W), integer or floating point; each plane is cleaned on its own.
        threshold: how far outside of its neighbours a pixel must lie, in robust standard deviations of the plane's
            own noise (1.4826 x median absolute deviation from the local median, at least 2 % of its 1st to 99th
            percentile).

    Returns:
        The repaired images, same shape and dtype, and the report. A plane without a single finite value becomes 0.

    Source: Hampel, "The influence curve and its role in robust estimation", JASA 1974 (the scale).

    >>> image = np.tile(np.arange(8.0), (8, 1)); image[2, 3] = 900; image[5, 5] = np.nan
    >>> repaired, report = clean(image)
    >>> float(repaired[2, 3]), float(repaired[5, 5]), str(report)
    (3.0, 5.0, '2 of 64 pixels repaired (1 missing, 1 hot, 0 dead)')
    """
    if threshold <= 0:
        raise InputError(f"clean: threshold must be positive, got {threshold}")
    if images.ndim < 2:
        raise InputError(f"clean: images must be (..., H, W), got {images.shape}")
    planes = images.reshape(-1, *images.shape[-2:])
    values = planes.astype(np.float64 if images.dtype.itemsize > 4 else np.float32)
    missing = ~np.isfinite(values)
    # Near the end of the number range sums overflow; a gap then gets the largest number.
    with np.errstate(over="ignore", invalid="ignore"):
        if missing.any():
            _fill(values, missing)
        median, hot, dead = _outliers(values, threshold)
    hot &= ~missing
    dead &= ~missing
    repaired = np.where(hot | dead, median, values)
    if images.dtype.kind in "iu":
        repaired = np.rint(repaired)
    report = CleanReport(int(missing.sum()), int(hot.sum()), int(dead.sum()), images.size)
    return repaired.astype(images.dtype).reshape(images.shape), report


def _fill(values: NDArray[Any], missing: NDArray[np.bool_]) -> None:
    """Replace missing pixels, in place, by the median of finite neighbours, growing inwards ring by ring."""
    for plane, gaps in zip(values, missing.copy(), strict=True):
        if gaps.all():
            plane[...] = 0
            gaps[...] = False
        while gaps.any():
            around = _neighbours(np.where(gaps, np.nan, plane))
            ys, xs = np.nonzero(gaps)
            candidates = around[:, ys, xs]
            found = np.isfinite(candidates).any(axis=0)
            plane[ys[found], xs[found]] = np.nan_to_num(np.nanmedian(candidates[:, found], axis=0))
            gaps[ys[found], xs[found]] = False


def _neighbours(plane: NDArray[Any]) -> NDArray[Any]:
    """The eight neighbours of each pixel, (8, H, W); outside of the plane they are NaN."""
    padded = np.pad(plane, 1, constant_values=np.nan)
    h, w = plane.shape
    return np.stack([padded[a : a + h, b : b + w] for a in range(3) for b in range(3) if (a, b) != (1, 1)])


def _outliers(values: NDArray[Any], threshold: float) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.bool_]]:
    """Local median and the masks of hot and dead pixels of (P, H, W)."""
    from scipy import ndimage

    ring = np.array([[[1, 1, 1], [1, 0, 1], [1, 1, 1]]], bool)
    median = ndimage.median_filter(values, footprint=np.ones((1, 3, 3), bool), mode="nearest")
    second_largest = ndimage.rank_filter(values, -2, footprint=ring, mode="nearest")
    second_smallest = ndimage.rank_filter(values, 1, footprint=ring, mode="nearest")
    noise = 1.4826 * np.median(np.abs(values - median), axis=(1, 2))
    low, high = np.percentile(values, (1, 99), axis=(1, 2))
    # The floor keeps flat synthetic planes, whose noise is 0, from losing every small detail; the last term keeps
    # rounding errors of a constant plane from counting.
    scale = np.maximum(noise, 0.02 * (high - low)) + 1e-6 * np.abs(values).max(axis=(1, 2), initial=0)
    margin = threshold * scale[:, None, None]
    return median, values > second_largest + margin, values < second_smallest - margin


@register
@dataclass(frozen=True)
class Clean(Preparation):
    """`clean` as a preparation step."""

    name: ClassVar[str] = "clean"
    threshold: float = 8.0

    def apply(self, images: NDArray[Any]) -> NDArray[Any]:
        return clean(images, threshold=self.threshold)[0]
