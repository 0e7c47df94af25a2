"""From an `Image` to the (C, H, W) picture a classifier sees: one rule, for training and for prediction alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.image import Image

__all__ = ["resize", "to_pixels"]


def to_pixels(
    image: Image, name: str, *, image_size: tuple[int, int] | None = None, channels: int | None = None
) -> NDArray[np.uint8]:
    """The picture as shown (window and polarity applied): (C, H, W), uint8.

    Args:
        image: one plane.
        name: what messages call it.
        image_size: (H, W) to resize to, in pixels; None leaves it.
        channels: 1 or 3. Grey is repeated for 3; colour asked for as 1 becomes luma (ITU-R BT.601). None leaves it.

    Raises:
        InputError: for an image of several frames.
    """
    if image.shape[1] != 1:
        raise InputError(f"{name}: has {image.shape[1]} frames; a classifier of pictures needs one, export them singly")
    pixels = image.to_uint8()[:, 0]
    if channels == 3 and len(pixels) == 1:
        pixels = np.repeat(pixels, 3, axis=0)
    if channels == 1 and len(pixels) == 3:
        luma = np.tensordot(np.array([0.299, 0.587, 0.114]), pixels, axes=1)
        pixels = np.floor(luma + 0.5).astype(np.uint8)[None]
    return pixels if image_size is None else resize(pixels, image_size)


def resize(pixels: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Resize (C, H, W), uint8 or float32, to `size` = (H, W) with a triangle filter that grows when shrinking.

    The growing filter is what keeps fine detail from turning into false patterns (antialiasing).

    >>> resize(np.array([[[0, 0, 100, 100]] * 4], np.uint8), (1, 1)).tolist()
    [[[50]]]
    """
    import PIL.Image

    if min(size) < 1:
        raise InputError(f"resize: image_size must be at least 1 pixel, got {size}")
    if pixels.shape[1:] == tuple(size):
        return pixels
    box = (size[1], size[0])
    planes = [PIL.Image.fromarray(np.ascontiguousarray(p)).resize(box, PIL.Image.Resampling.BILINEAR) for p in pixels]
    return np.stack([np.asarray(plane) for plane in planes])
