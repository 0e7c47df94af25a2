"""Crop: add a border and cut the original size out of it somewhere, which shifts the image a little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Crop"]

_BORDERS = {"nearest": "edge", "reflect": "symmetric", "constant": "constant"}


@register
@dataclass(frozen=True)
class Crop(Augmentation):
    """Random crop of the image's own size out of the image with `padding` pixels around it.

    `border` fills the padding: "nearest", "reflect" or "constant" (0).

    >>> Crop(padding=1).apply(np.array([[[1, 2], [3, 4]]]), {"top": 0, "left": 1}).tolist()
    [[[1.0, 2.0], [1.0, 2.0]]]
    """

    name: ClassVar[str] = "crop"
    moves: ClassVar[bool] = True
    padding: int = 2
    border: str = "nearest"

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise InputError(f"crop: padding must be 0 pixels or more, got {self.padding}")
        if self.border not in _BORDERS:
            raise InputError(f"crop: border must be one of {', '.join(_BORDERS)}, got {self.border!r}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        top, left = rng.integers(0, 2 * self.padding + 1, size=2)
        return {"top": int(top), "left": int(left)}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        side = (self.padding, self.padding)
        padded = np.pad(images, ((0, 0), (0, 0), side, side), mode=_BORDERS[self.border])  # type: ignore[call-overload]
        h, w = images.shape[2:]
        out = np.empty_like(images)
        for source, target, p in zip(padded, out, params, strict=True):
            target[...] = source[:, p["top"] : p["top"] + h, p["left"] : p["left"] + w]
        return out
