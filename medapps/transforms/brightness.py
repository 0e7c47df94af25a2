"""Brightness: add one number to all values of an image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Brightness"]


@register
@dataclass(frozen=True)
class Brightness(Augmentation):
    """x + shift; the shift lies within `strength` standard deviations of the image, either way.

    >>> Brightness().apply(np.array([[[0, 4]]]), {"shift": 0.5}).tolist()
    [[[1.0, 5.0]]]
    """

    name: ClassVar[str] = "brightness"
    strength: float = 0.2

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise InputError(f"brightness: strength must not be negative, got {self.strength}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        return {"shift": float(rng.uniform(-self.strength, self.strength))}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        shift = np.array([p["shift"] for p in params], np.float32)[:, None, None, None]
        return np.asarray(images + shift * images.std(axis=(1, 2, 3), keepdims=True))
