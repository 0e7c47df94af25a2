"""Contrast: stretch or squeeze the values around the image's own mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Contrast"]


@register
@dataclass(frozen=True)
class Contrast(Augmentation):
    """mean + factor (x - mean), for each channel; the factor lies between 1 / (1 + strength) and 1 + strength.

    The factor is drawn evenly on a log scale: half and double are equally likely. Nothing is clipped.

    >>> Contrast().apply(np.array([[[0, 4]]]), {"factor": 0.5}).tolist()
    [[[1.0, 3.0]]]
    """

    name: ClassVar[str] = "contrast"
    strength: float = 0.25

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise InputError(f"contrast: strength must not be negative, got {self.strength}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        limit = float(np.log1p(self.strength))
        return {"factor": float(np.exp(rng.uniform(-limit, limit)))}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        factor = np.array([p["factor"] for p in params], np.float32)[:, None, None, None]
        mean = images.mean(axis=(2, 3), keepdims=True)
        return np.asarray(mean + factor * (images - mean))
