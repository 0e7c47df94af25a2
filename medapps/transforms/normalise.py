"""Normalise: zero mean and unit standard deviation of each case by itself, for scales that differ from scan to scan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Preparation, register

__all__ = ["Normalise"]


@register
@dataclass(frozen=True)
class Normalise(Preparation):
    """(x - mean) / sd by the case's own figures, after the darkest and brightest `clip` per cent were cut off; float32.

    A case is one image (C, H, W), or the slices (N, C, H, W) of one volume; each channel has its own figures. MR has
    no unit, so that one scan's 100 is another's 900; CT has one, and is better served by `standardise`.

    Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), online methods (intensity normalisation).

    >>> Normalise().apply(np.array([[[0, 2], [4, 6]]], np.uint8)).ravel().round(2)
    array([-1.34, -0.45,  0.45,  1.34], dtype=float32)
    """

    name: ClassVar[str] = "normalise"
    clip: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.clip < 50:
            raise InputError(f"normalise: clip must be from 0 up to, not including, 50 per cent, got {self.clip}")

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        out = images.astype(np.float32)
        for channel in np.moveaxis(out, -3, 0):
            if self.clip:
                np.clip(channel, *np.percentile(channel, [self.clip, 100 - self.clip]), out=channel)
            sd = channel.std(dtype=np.float64)
            if not np.isfinite(sd):
                raise InputError("normalise: an image holds missing values; put the step `clean` before")
            channel -= np.float32(channel.mean(dtype=np.float64))
            channel /= np.float32(sd or 1.0)
        return out
