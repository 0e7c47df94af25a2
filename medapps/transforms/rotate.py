"""Rotate: turn, and zoom if wished, about the centre of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Augmentation, Params, register

__all__ = ["Rotate"]

_BORDERS = ("nearest", "reflect", "constant")


@register
@dataclass(frozen=True)
class Rotate(Augmentation):
    """Turn by up to `degrees` either way and zoom by a factor between 1 / (1 + zoom) and 1 + zoom.

    Linear interpolation, both in one go, so that the image is blurred once. A positive angle turns counterclockwise
    as seen on the screen. `border` says what lies outside: "nearest" repeats the outermost pixel, "reflect" mirrors,
    "constant" is 0.

    >>> Rotate().apply(np.array([[[1, 2], [3, 4]]]), {"degrees": 90.0, "zoom": 1.0}).round(4).tolist()
    [[[2.0, 4.0], [1.0, 3.0]]]
    """

    name: ClassVar[str] = "rotate"
    moves: ClassVar[bool] = True
    degrees: float = 10.0
    zoom: float = 0.0
    border: str = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180 or self.zoom < 0:
            raise InputError(f"rotate: degrees must be 0 to 180 and zoom 0 or more, got {self.degrees} and {self.zoom}")
        if self.border not in _BORDERS:
            raise InputError(f"rotate: border must be one of {', '.join(_BORDERS)}, got {self.border!r}")

    def params(self, rng: np.random.Generator, image: NDArray[Any]) -> Params:
        limit = float(np.log1p(self.zoom))
        angle = float(rng.uniform(-self.degrees, self.degrees))
        return {"degrees": angle, "zoom": float(np.exp(rng.uniform(-limit, limit)))}

    def apply_batch(self, images: NDArray[np.float32], params: Sequence[Params]) -> NDArray[np.float32]:
        return self._turned(images, params, order=1)

    def apply_masks(self, masks: NDArray[np.uint8], params: Sequence[Params]) -> NDArray[np.uint8]:
        return self._turned(masks[:, None], params, order=0)[:, 0]

    def _turned(self, images: NDArray[Any], params: Sequence[Params], order: int) -> NDArray[Any]:
        from scipy import ndimage

        out = np.empty_like(images)
        middle = (np.array(images.shape[2:]) - 1) / 2
        for image, target, p in zip(images, out, params, strict=True):
            angle = np.deg2rad(p["degrees"])
            # Where each output pixel (y, x) comes from: the inverse turn, then the inverse zoom.
            back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / p["zoom"]
            offset = middle - back @ middle
            for plane, result in zip(image, target, strict=True):
                ndimage.affine_transform(plane, back, offset, order=order, mode=self.border, output=result)
        return out
