"""A plug-in: one transform, one model, one metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms import Augmentation, Params
from minidl import Tensor, nn
from minidl.nn import functional as F

__all__ = ["Noise", "TinyCNN", "macro_f1"]


@dataclass(frozen=True)
class Noise(Augmentation):
    """Add normal noise whose standard deviation is `strength` times that of the image."""

    name: ClassVar[str] = "noise"
    strength: float = 0.1

    def __post_init__(self) -> None:
        if self.strength < 0:
            raise InputError(f"noise: strength must not be negative, got {self.strength}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        return {"sd": self.strength * float(image.std()), "seed": int(rng.integers(2**63))}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        noise = [np.random.default_rng(p["seed"]).normal(0.0, p["sd"], images.shape[1:]) for p in params]
        return images + np.asarray(noise, np.float32)


class TinyCNN(nn.Module):
    """Two convolutions, the mean over the picture, one layer: (N, in_channels, H, W) to logits (N, classes)."""

    def __init__(self, in_channels: int, classes: int, hidden: int = 8) -> None:
        self.first = nn.Conv2d(in_channels, hidden, 3, padding=1)
        self.second = nn.Conv2d(hidden, hidden, 3, stride=2, padding=1)
        self.head = nn.Linear(hidden, classes)

    def features(self, x: Tensor) -> Tensor:
        """The last map of features: what heat maps are made from."""
        return F.relu(self.second(F.relu(self.first(x))))

    def classify(self, features: Tensor) -> Tensor:
        """Logits from that map."""
        return self.head(features.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.features(x))


def macro_f1(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Mean over the classes of 2 hits / (called + there are); not defined where a class is neither."""
    called = probabilities.argmax(1)
    scores = []
    for k in range(probabilities.shape[1]):
        there = int((called == k).sum() + (labels == k).sum())
        if there == 0:
            raise ValueError(f"no case of class {k}")
        scores.append(2 * int(((called == k) & (labels == k)).sum()) / there)
    return float(np.mean(scores))
