"""overlay: a heat map over the picture it explains, and, as a file, with the notice drawn below."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE

__all__ = ["draw_overlay", "overlay"]

# Black, purple, red, yellow, white: rising brightness, so that it also reads in grey (after CIE lightness).
_STOPS = np.array([[0, 0, 0], [87, 15, 109], [187, 55, 84], [249, 142, 8], [252, 255, 164]], np.float64)
_STRENGTH = 0.65  # share of the colour where the heat is 1
_LEAST_WIDTH = 440  # pixels that the notice needs


def overlay(image: NDArray[np.uint8], heat: NDArray[Any]) -> NDArray[np.uint8]:
    """The picture (C, H, W), uint8, with the heat (H, W), 0 to 1, as colour over it: (H, W, 3), uint8.

    Where there is no heat the picture is as it was.

    >>> overlay(np.full((1, 1, 2), 100, np.uint8), np.array([[0.0, 1.0]])).tolist()
    [[[100, 100, 100], [199, 201, 142]]]
    """
    base = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0).astype(np.float64)
    at = np.clip(np.asarray(heat, np.float64), 0, 1)
    places = np.linspace(0, 1, len(_STOPS))
    colour = np.stack([np.interp(at, places, _STOPS[:, c]) for c in range(3)], -1)
    share = (_STRENGTH * at)[..., None]
    return np.rint(base + share * (colour - base)).astype(np.uint8)


def draw_overlay(image: NDArray[np.uint8], heat: NDArray[Any], title: str) -> bytes:
    """A PNG: the picture, beside it the same with the heat, `title` above and the notice below, drawn into it.

    title: one line; keep names of people out of it.
    """
    import PIL.Image
    import PIL.ImageDraw

    plain = np.broadcast_to(image, (3, *image.shape[1:])).transpose(1, 2, 0)
    both = np.concatenate([plain, overlay(image, heat)], 1)
    scale = max(1, -(-_LEAST_WIDTH // both.shape[1]))
    size = (both.shape[1] * scale, both.shape[0] * scale)
    sheet = PIL.Image.new("RGB", (size[0], size[1] + 44), (18, 24, 31))
    sheet.paste(PIL.Image.fromarray(np.ascontiguousarray(both)).resize(size, PIL.Image.Resampling.NEAREST), (0, 20))
    pen = PIL.ImageDraw.Draw(sheet)
    pen.text((6, 4), title, fill=(230, 235, 242))
    pen.text((6, size[1] + 26), NOTICE, fill=(243, 220, 155))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
