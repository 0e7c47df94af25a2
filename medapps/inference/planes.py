"""From an image to the pictures that a segmentation network reads: prepared slices, each with its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medapps.image import Image
from medapps.transforms import Compose

__all__ = ["mirrored_rows", "prepare_planes", "with_context"]


def prepare_planes(preparation: Compose, image: Image) -> NDArray[np.float32]:
    """The slices of an image, (z, C, y, x), prepared together as one case."""
    return np.asarray(preparation.apply(np.swapaxes(image.array, 0, 1)), np.float32)


def with_context(planes: NDArray[np.float32], context: int, z: int | None = None) -> NDArray[np.float32]:
    """Slices with `context` neighbours on each side as further channels; beyond the ends the last slice is repeated.

    planes: (z, C, y, x). Returns (z, C (2 context + 1), y, x), or (C (2 context + 1), y, x) for slice `z` alone.

    >>> with_context(np.arange(3, dtype=np.float32).reshape(3, 1, 1, 1), 1, 0).ravel().tolist()
    [0.0, 0.0, 1.0]
    """
    if z is None:
        return np.stack([with_context(planes, context, i) for i in range(len(planes))]) if context else planes
    near = np.clip(np.arange(z - context, z + context + 1), 0, len(planes) - 1)
    return planes[near].reshape(-1, *planes.shape[2:])


def mirrored_rows(length: int, start: int, side: int) -> NDArray[np.int64]:
    """Which rows `side` rows from `start` on show, in a picture of `length` rows that is mirrored at its ends.

    >>> mirrored_rows(3, -2, 7).tolist()
    [1, 0, 0, 1, 2, 2, 1]
    """
    rows = np.arange(start, start + side) % (2 * length)
    return np.where(rows < length, rows, 2 * length - 1 - rows)
