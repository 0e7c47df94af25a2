"""read_image: one file to one Image, whatever kind of image it is."""

from __future__ import annotations

import os

from medapps.errors import ImageError
from medapps.image import Image
from medapps.readers.dicom import read_dicom
from medapps.readers.dicom_parse import looks_like_dicom
from medapps.readers.files import file_bytes
from medapps.readers.limits import DEFAULT_LIMITS, Limits
from medapps.readers.nifti import decode_nifti, is_nifti
from medapps.readers.picture import read_picture
from medapps.readers.series import read_series

__all__ = ["decode_image", "file_bytes", "read_image"]

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# Kinds we recognise by their first bytes and refuse with a way out.
_OTHERS = (
    (b"PK\x03\x04", "a zip archive or .npz; as a data set it is read by read_dataset (`medapps train`)"),
    (b"\x1f\x8b", "compressed with gzip; unpack it first"),
    (b"GIF8", "a GIF picture; save it as PNG"),
    (b"BM", "a BMP picture; save it as PNG"),
    (b"II*\0", "a TIFF picture; save it as PNG"),
    (b"MM\0*", "a TIFF picture; save it as PNG"),
    (b"%PDF", "a PDF document; export the images as DICOM or PNG"),
)


def read_image(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Read a DICOM, NIfTI, PNG or JPEG file, or a folder with one DICOM series.

    The content decides which kind it is, the name only where the content does not.

    Raises:
        ImageError: one sentence that names the file, what is wrong and what to do.
    """
    if os.path.isdir(path):
        return read_series(path, limits=limits)
    return decode_image(file_bytes(path, limits), os.fspath(path), limits=limits)


def decode_image(data: bytes, name: str, *, limits: Limits = DEFAULT_LIMITS) -> Image:
    """`read_image` for a file that is already in memory; `name` is what messages call it."""
    if not data:
        raise ImageError(f"{name}: is empty")
    if data[:8] == b"\x89PNG\r\n\x1a\n" or data[:3] == b"\xff\xd8\xff":
        return read_picture(data, name, limits=limits)
    if data[128:132] == b"DICM":
        return read_dicom(data, name, limits=limits)
    if is_nifti(data):
        return decode_nifti(data, name, limits=limits)
    for start, what in _OTHERS:
        if data.startswith(start):
            raise ImageError(f"{name}: is {what}")
    if looks_like_dicom(data) or name.lower().endswith(_DICOM_SUFFIXES):
        return read_dicom(data, name, limits=limits)
    raise ImageError(f"{name}: not an image of a kind read here; known are DICOM, NIfTI, PNG and JPEG")
