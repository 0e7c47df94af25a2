"""Denoise: the median of a small window, which removes speckle and keeps edges where they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Preparation, register

__all__ = ["MedianDenoise"]


@register
@dataclass(frozen=True)
class MedianDenoise(Preparation):
    """Median of `size` x `size` pixels, in each plane; the border repeats the outermost pixels.

    >>> MedianDenoise().apply(np.array([[[0, 0, 0], [0, 9, 0], [0, 0, 0]]], np.uint8)).max()
    np.uint8(0)
    """

    name: ClassVar[str] = "median_denoise"
    size: int = 3

    def __post_init__(self) -> None:
        if self.size < 1 or self.size % 2 == 0:
            raise InputError(f"median_denoise: size must be an odd number of pixels, got {self.size}")

    def apply(self, images: NDArray[Any]) -> NDArray[Any]:
        from scipy import ndimage

        window = (1,) * (images.ndim - 2) + (self.size, self.size)
        return np.asarray(ndimage.median_filter(images, size=window, mode="nearest"))
