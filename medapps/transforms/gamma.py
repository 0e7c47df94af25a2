"""Gamma: bend the grey curve between an image's darkest and brightest value, which stay where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Gamma"]


@register
@dataclass(frozen=True)
class Gamma(Augmentation):
    """low + (high - low) ((x - low) / (high - low))^gamma, with low and high of the image itself.

    gamma lies between 1 / (1 + strength) and 1 + strength, evenly on a log scale.

    >>> Gamma().apply(np.array([[[0, 5, 10]]]), {"gamma": 2.0}).tolist()
    [[[0.0, 2.5, 10.0]]]
    """

    name: ClassVar[str] = "gamma"
    strength: float = 0.3

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise InputError(f"gamma: strength must not be negative, got {self.strength}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        limit = float(np.log1p(self.strength))
        return {"gamma": float(np.exp(rng.uniform(-limit, limit)))}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        gamma = np.array([p["gamma"] for p in params], np.float32)[:, None, None, None]
        low = images.min(axis=(1, 2, 3), keepdims=True)
        span = images.max(axis=(1, 2, 3), keepdims=True) - low
        span = np.where(span > 0, span, np.float32(1))
        return np.asarray(low + span * ((images - low) / span) ** gamma, np.float32)
