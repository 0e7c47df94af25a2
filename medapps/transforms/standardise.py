"""Standardise: zero mean and unit standard deviation, by statistics that the training images fix once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Preparation, register

__all__ = ["Standardise"]


@register
@dataclass(frozen=True)
class Standardise(Preparation):
    """(x - mean) / sd for each channel, float32.

    `mean` and `sd` come from `fit` on the training images, never from the image at hand, so that a prediction does
    not depend on what else is predicted with it.

    >>> images = np.array([[[[0, 2], [4, 6]]]], np.uint8)
    >>> step = Standardise().fit(images)
    >>> step.mean, step.apply(images).ravel().round(2)
    ((3.0,), array([-1.34, -0.45,  0.45,  1.34], dtype=float32))
    """

    name: ClassVar[str] = "standardise"
    mean: tuple[float, ...] = ()
    sd: tuple[float, ...] = ()

    def fit(self, images: NDArray[Any]) -> Self:
        """Mean and standard deviation of each channel of (N, C, H, W); a constant channel gets 1."""
        axes = (0, 2, 3)
        mean = images.mean(axis=axes, dtype=np.float64)
        sd = images.std(axis=axes, dtype=np.float64)
        if not np.isfinite(sd).all():
            raise InputError("standardise: the training images hold missing values; put the step `clean` before")
        sd = np.where(sd > 0, sd, 1.0)
        return replace(self, mean=tuple(mean.tolist()), sd=tuple(sd.tolist()))

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        if not self.mean:
            raise InputError("standardise: has no statistics yet; fit it on the training images")
        if images.shape[-3] != len(self.mean):
            raise InputError(f"standardise: images must have {len(self.mean)} channels, got {images.shape[-3]}")
        mean = np.array(self.mean, np.float32)[:, None, None]
        scale = np.array([1 / s for s in self.sd], np.float32)[:, None, None]
        return np.asarray((images.astype(np.float32) - mean) * scale)
