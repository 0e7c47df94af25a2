"""PNG and JPEG through Pillow: size first, pixels after, every failure one sentence."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError
from medapps.image import Display, Image
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.silence import no_warnings

__all__ = ["read_picture"]

# What each Pillow mode is decoded to; anything else goes to RGB.
_GREY_MODES = {"1": "L", "L": "L", "LA": "L", "I;16": "I;16", "I;16B": "I;16B", "I": "I", "F": "F"}


def read_picture(data: bytes, name: str, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Decode a PNG or JPEG file.

    Colour with three equal channels becomes one grey channel, since X-rays are often stored so. Transparency is
    dropped and the camera's orientation flag is applied. 8-bit files stay uint8, 16-bit ones uint16.

    Args:
        data: the whole file.
        name: what the messages call it.

    Returns:
        Image of shape (1 or 3, 1, y, x) without geometry.

    Raises:
        ImageError: if the file is damaged, truncated or too large.
    """
    import PIL.Image
    import PIL.ImageOps

    with no_warnings():  # about size, which the limits decide, and about odd metadata
        try:
            with PIL.Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as picture:
                columns, rows = picture.size
                limits.check_decoded(name, rows, columns, 1, max(len(picture.getbands()), 3), 1)
                kind, mode = str(picture.format), picture.mode
                upright = PIL.ImageOps.exif_transpose(picture)
                pixels = np.asarray(upright.convert(_GREY_MODES.get(mode, "RGB")))
        except ImageError:
            raise
        except PIL.UnidentifiedImageError:
            raise ImageError(f"{name}: not a readable PNG or JPEG picture; the file is damaged") from None
        except Exception as error:  # codecs raise anything: OSError, SyntaxError, zlib.error, DecompressionBombError
            reason = type(error).__name__
            raise ImageError(
                f"{name}: the picture is truncated, damaged or too large ({reason}); copy it again"
            ) from None
    return Image(_channels_first(pixels), meta={"format": kind, "mode": mode}, display=_display(pixels))


def _channels_first(pixels: NDArray[Any]) -> NDArray[Any]:
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels[None, None].astype(pixels.dtype.newbyteorder("="), copy=False))
    if (pixels[..., 0] == pixels[..., 1]).all() and (pixels[..., 0] == pixels[..., 2]).all():
        return np.ascontiguousarray(pixels[None, None, ..., 0])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[:, None])


def _display(pixels: NDArray[Any]) -> Display:
    return Display(value_range=(0.0, 65535.0)) if pixels.dtype.itemsize == 2 else Display()
