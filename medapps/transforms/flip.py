"""Flip: mirror an image along chosen axes. Only axes along which the label does not change may be chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Flip"]

_AXES = {"y": 2, "x": 3}


@register
@dataclass(frozen=True)
class Flip(Augmentation):
    """Mirror along each of `axes` ("x": left and right, "y": up and down) with probability `p`.

    A mirrored chest has its heart on the other side: leave a flip out where sides matter.

    >>> Flip().apply(np.array([[[1, 2, 3]]]), {"x": True}).tolist()
    [[[3.0, 2.0, 1.0]]]
    """

    name: ClassVar[str] = "flip"
    moves: ClassVar[bool] = True
    axes: tuple[str, ...] = ("x",)
    p: float = 0.5

    def __post_init__(self) -> None:
        if not set(self.axes) <= _AXES.keys():
            raise InputError(f"flip: axes must be among 'x' and 'y', got {self.axes}")
        if not 0 <= self.p <= 1:
            raise InputError(f"flip: p must be a probability, got {self.p}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        return {axis: bool(rng.random() < self.p) for axis in self.axes}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        out = images.copy()
        for axis, number in _AXES.items():
            chosen = np.array([bool(p.get(axis, False)) for p in params])
            out[chosen] = np.flip(out[chosen], axis=number)
        return out
