"""A label map as a picture: slices in grey, regions tinted and outlined, several slices as a contact sheet."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps import NOTICE
from medapps.image import Image
from medapps.writers.colours import colour

__all__ = ["overlay_bytes", "shown_slices", "tinted"]

_SLICES = 20  # on one sheet
_TILE = 256  # pixels; the longer side of a slice is at least this long
_SHEET = 4096  # and the whole sheet at most so wide
_TINT = 0.35  # share of the colour inside of a region
_BACK, _INK, _GAP = (16, 16, 16), (235, 235, 235), 6


def overlay_bytes(mask: NDArray[np.uint8], image: Image, classes: Sequence[str]) -> bytes:
    """A PNG of up to 20 slices: those with regions, evenly chosen if there are more; the middle one if there are none.

    Pixels are drawn in the proportions of the patient. A slice is as `Image.to_uint8` shows it, x to the right and y
    down, so that axial slices have the patient's left on the right.
    """
    import PIL.Image
    import PIL.ImageDraw

    chosen = shown_slices(mask)
    planes = image.with_array(image.array[:, chosen]).to_uint8()
    columns = math.ceil(math.sqrt(len(chosen)))
    width, height = _tile_size(image, columns)
    tiles = [_tile(planes[:, i], mask[z], (width, height)) for i, z in enumerate(chosen)]
    rows = math.ceil(len(tiles) / columns)
    wide = max(columns * (width + _GAP) + _GAP, 420)
    sheet_height = rows * (height + _GAP) + _GAP
    legend = _legend(mask, classes, wide)
    sheet = PIL.Image.new("RGB", (wide, sheet_height + legend.height), _BACK)
    draw = PIL.ImageDraw.Draw(sheet)
    for i, (z, tile) in enumerate(zip(chosen, tiles, strict=True)):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + _GAP)
        sheet.paste(tile, (x, y))
        if len(mask) > 1:
            draw.text((x + 4, y + 2), f"slice {z + 1} of {len(mask)}", _INK, font=_font(12))
    sheet.paste(legend, (0, sheet_height))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()


def shown_slices(mask: NDArray[np.uint8]) -> list[int]:
    """Which slices of (z, y, x) a sheet shows.

    >>> shown_slices(np.zeros((9, 2, 2), np.uint8))
    [4]
    """
    full = np.flatnonzero(mask.any(axis=(1, 2)))
    if not len(full):
        return [len(mask) // 2]
    index = np.linspace(0, len(full) - 1, min(len(full), _SLICES))
    return [int(full[i]) for i in np.unique(np.rint(index).astype(np.int64))]


def tinted(plane: NDArray[np.uint8], mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey (1, y, x) or colour (3, y, x) plane with its regions tinted and their edges in full colour: (y, x, 3)."""
    picture = np.repeat(plane, 3, axis=0) if len(plane) == 1 else plane
    shown = np.moveaxis(picture, 0, -1).astype(np.float32)
    padded = np.pad(mask, 1, mode="edge")
    h, w = mask.shape
    neighbours = [padded[a : a + h, b : b + w] for a, b in ((0, 1), (2, 1), (1, 0), (1, 2))]
    edge = np.any([n != mask for n in neighbours], axis=0)
    for label in np.unique(mask[mask > 0]):
        inside, paint = mask == label, np.array(colour(int(label)), np.float32)
        shown[inside] += _TINT * (paint - shown[inside])
        shown[inside & edge] = paint
    return np.rint(shown).astype(np.uint8)


def _tile_size(image: Image, columns: int) -> tuple[int, int]:
    """Width and height in pixels of a slice on the sheet."""
    _, _, h, w = image.shape
    _, y, x = image.spacing_mm or (None, 1.0, 1.0)
    tall, wide = h * y / min(x, y), w * x / min(x, y)
    scale = min(math.ceil(_TILE / max(tall, wide)), _SHEET / (columns * max(tall, wide)))
    return max(round(wide * scale), 1), max(round(tall * scale), 1)


def _tile(plane: NDArray[np.uint8], mask: NDArray[np.uint8], size: tuple[int, int]) -> Any:
    """The picture is enlarged smoothly, its regions sharply, and the outline drawn at the final size."""
    import PIL.Image

    smooth = PIL.Image.Resampling.BILINEAR
    channels = [np.asarray(PIL.Image.fromarray(np.ascontiguousarray(c)).resize(size, smooth)) for c in plane]
    labels = np.asarray(PIL.Image.fromarray(mask).resize(size, PIL.Image.Resampling.NEAREST))
    return PIL.Image.fromarray(tinted(np.stack(channels), labels))


def _legend(mask: NDArray[np.uint8], classes: Sequence[str], width: int) -> Any:
    """A strip with a swatch and the name of each class that occurs, and the notice."""
    import PIL.Image
    import PIL.ImageDraw

    font, small, line = _font(14), _font(11), 20
    ruler = PIL.ImageDraw.Draw(PIL.Image.new("RGB", (1, 1)))
    present = [label for label in range(1, len(classes)) if (mask == label).any()]
    places, x, y = [], _GAP, 2
    for label in present:
        room = 22 + int(ruler.textlength(_printable(classes[label]), font)) + 14
        if x > _GAP and x + room > width:
            x, y = _GAP, y + line
        places.append((label, x, y))
        x += room
    strip = PIL.Image.new("RGB", (width, y + 2 * line + 2), _BACK)
    draw = PIL.ImageDraw.Draw(strip)
    for label, left, top in places:
        draw.rectangle((left, top + 3, left + 14, top + 15), colour(label))
        draw.text((left + 20, top), _printable(classes[label]), _INK, font=font)
    if not present:
        draw.text((_GAP, y), "no region", _INK, font=font)
    draw.text((_GAP, y + line + 2), NOTICE, _INK, font=small)
    return strip


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)[:40]


def _font(size: int) -> Any:
    import PIL.ImageFont

    return PIL.ImageFont.load_default(size)
