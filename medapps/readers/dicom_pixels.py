"""Stored pixels of a DICOM image: every claim of the header is checked, then the frames are decoded.

The result is what the file stores, as (frames, rows, columns[, 3]); colour is RGB by then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medapps.errors import ImageError
from medapps.readers.limits import Limits

__all__ = [
    "GREY", "Header", "codestream_size", "read_claims", "read_header", "stored_frames", "stored_pixels", "uid_name",
]  # fmt: skip

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")

_GDCM = "python-gdcm"
# Which package of ours decodes which transfer syntax, when pydicom finds no decoder for it.
_PACKAGES = {
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
    "1.2.840.10008.1.2.4.57": _GDCM,
    "1.2.840.10008.1.2.4.70": _GDCM,
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.201": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.202": "pylibjpeg pylibjpeg-openjpeg",
    "1.2.840.10008.1.2.4.203": "pylibjpeg pylibjpeg-openjpeg",
}
_EXTENDED = "1.2.840.10008.1.2.4.51"


@dataclass(frozen=True)
class Header:
    """What the header says about the pixels, as checked numbers."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    photometric: str
    syntax: Any  # pydicom.uid.UID


def read_header(dataset: Any, name: str, limits: Limits) -> Header:
    """Read and check the size, the colour kind and the transfer syntax of an image that is decoded whole.

    Raises:
        ImageError: for a data set without an image, or with one that cannot or must not be decoded.
    """
    header = read_claims(dataset, name)
    channels = 3 if header.photometric == "PALETTE COLOR" else header.samples
    itemsize = max(4, -(-header.bits_allocated // 8))  # values end up as float32 or wider
    limits.check_decoded(name, header.rows, header.columns, header.frames, channels, itemsize)
    return header


def read_claims(dataset: Any, name: str) -> Header:
    """`read_header` without a limit on the size, for who decodes frame by frame.

    Raises:
        ImageError: for a data set without an image, or with one that cannot or must not be decoded.
    """
    if not any(k in dataset for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise ImageError(f"{name}: has no image in it ({_kind(dataset)})")
    photometric = str(dataset.get("PhotometricInterpretation") or "").strip()
    if photometric not in GREY + COLOUR:
        raise ImageError(f"{name}: its colour kind (PhotometricInterpretation) is missing or not read here")
    allocated = _whole(dataset, "BitsAllocated", name)
    header = Header(
        rows=_whole(dataset, "Rows", name),
        columns=_whole(dataset, "Columns", name),
        frames=_whole(dataset, "NumberOfFrames", name, missing=1),
        samples=_whole(dataset, "SamplesPerPixel", name, missing=1),
        bits_allocated=allocated,
        bits_stored=_whole(dataset, "BitsStored", name, missing=allocated),
        photometric=photometric,
        syntax=dataset.file_meta.TransferSyntaxUID,
    )
    if header.samples != (1 if photometric in (*GREY, "PALETTE COLOR") else 3):
        raise ImageError(f"{name}: {header.samples} samples per pixel do not go with {photometric}")
    return header


def _kind(dataset: Any) -> str:
    uid = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID")
    return uid_name(uid) or "no known kind of DICOM object"


def uid_name(uid: Any) -> str:
    """The standard's name of a UID, or "" for one it does not know (which might say anything)."""
    from pydicom.uid import UID

    known = UID(str(uid or ""))
    return str(known.name) if known.name != known else ""


def _whole(dataset: Any, keyword: str, name: str, missing: int | None = None) -> int:
    value = dataset.get(keyword)
    if value is None or value == "":
        if missing is not None:
            return missing
        raise ImageError(f"{name}: the header has no {keyword}; without it the pixels cannot be read")
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ImageError(f"{name}: {keyword} in the header is not one whole number") from None


def stored_pixels(dataset: Any, header: Header, name: str, limits: Limits) -> NDArray[Any]:
    """Decode all frames: (frames, rows, columns) or (frames, rows, columns, 3), native byte order.

    Raises:
        ImageError: if the pixels are cut short, contradict the header, or no installed decoder can read them.
    """
    decoder = _decoder(header, name)
    if header.syntax.is_encapsulated:
        _check_codestreams(dataset, header, name, limits)
    else:
        _check_length(dataset, name)
    try:
        pixels, _ = decoder.as_array(dataset, raw=False)
    except Exception as error:  # a codec may raise anything, and its text may quote the file
        raise ImageError(
            f"{name}: the pixels ({uid_name(header.syntax)}) are damaged, or the installed decoder cannot "
            f"read them ({type(error).__name__}); copy the file again, or convert it to an uncompressed DICOM file"
        ) from None
    if header.photometric == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        pixels = apply_color_lut(pixels, dataset)
    shape = (header.frames, header.rows, header.columns)
    channels = 1 if header.photometric in GREY else 3
    pixels = np.asarray(pixels).reshape(shape if channels == 1 else (*shape, channels))
    return np.asarray(pixels.astype(pixels.dtype.newbyteorder("="), copy=False))


def stored_frames(dataset: Any, header: Header, name: str, limits: Limits) -> Iterator[NDArray[Any]]:
    """`stored_pixels` of a grey image, one frame (rows, columns) at a time."""
    limits.check_decoded(name, header.rows, header.columns, 1, header.samples, -(-header.bits_allocated // 8))
    if header.frames > limits.frames:
        raise ImageError(f"{name}: the header claims {header.frames} frames, more than the {limits.frames} allowed")
    decoder = _decoder(header, name)
    if header.syntax.is_encapsulated:
        _check_codestreams(dataset, header, name, limits)
    else:
        _check_length(dataset, name)
    if header.bits_allocated == 1 and not header.syntax.is_encapsulated:
        yield from _one_bit_frames(dataset.PixelData, header)
        return
    for frame, _ in decoder.iter_array(dataset, raw=False):
        yield frame.reshape(header.rows, header.columns)


def _one_bit_frames(data: bytes, header: Header) -> Iterator[NDArray[np.uint8]]:
    """Frames of 1-bit pixels, which may begin inside of a byte; pydicom 3.0.2's `iter_array` fails on those."""
    count = header.rows * header.columns
    for start in range(0, header.frames * count, count):
        packed = np.frombuffer(data, np.uint8, (start + count + 7) // 8 - start // 8, start // 8)
        bits = np.unpackbits(packed, bitorder="little")[start % 8 :][:count]
        yield bits.reshape(header.rows, header.columns)


def _decoder(header: Header, name: str) -> Any:
    from pydicom.pixels.decoders.base import get_decoder

    known = uid_name(header.syntax)
    what = f"{name}: compressed as {known} ({header.syntax})" if known else f"{name}: its transfer syntax is unknown"
    try:
        decoder = get_decoder(header.syntax)
    except NotImplementedError:
        raise ImageError(f"{what}, which is not read here; export it uncompressed") from None
    twelve_bit = str(header.syntax) == _EXTENDED and header.bits_stored != 8 and not _has_gdcm()
    if twelve_bit or not decoder.is_available:
        package = _GDCM if twelve_bit else _PACKAGES.get(str(header.syntax), _GDCM)
        what += f" with {header.bits_stored} bits" if twelve_bit else ""
        raise ImageError(f"{what}, for which no decoder is installed; `pip install {package}` adds one")
    return decoder


def _has_gdcm() -> bool:
    from importlib.util import find_spec

    return find_spec("gdcm") is not None


def _check_length(dataset: Any, name: str) -> None:
    from pydicom.pixels.utils import get_expected_length

    if "PixelData" not in dataset:
        return
    expected, found = get_expected_length(dataset), len(dataset.PixelData)
    if found < expected:
        raise ImageError(f"{name}: truncated, {found} of {expected} bytes of pixels are there; copy the file again")


def _check_codestreams(dataset: Any, header: Header, name: str, limits: Limits) -> None:
    """A compressed frame carries its own size; a decoder believes it, so it must agree with the header."""
    from pydicom.encaps import generate_frames

    for index, frame in enumerate(generate_frames(dataset.PixelData, number_of_frames=header.frames)):
        if index >= header.frames:
            break
        size = codestream_size(frame)
        if size is not None and size != (header.rows, header.columns):
            rows, columns = size
            raise ImageError(
                f"{name}: frame {index + 1} says {rows} x {columns} pixels, its header {header.rows} x {header.columns}"
            )


def codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) that a JPEG, JPEG-LS or JPEG 2000 stream claims, or None when it has no such header.

    Source: ITU-T T.81 B.2.2 (SOF), T.87 C.2.2 (JPEG-LS SOF55), T.800 A.5.1 (SIZ).
    """
    if frame[:4] == b"\xff\x4f\xff\x51":
        x1, y1, x0, y0 = (int.from_bytes(frame[i : i + 4], "big") for i in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    if frame[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(frame[at + 5 : at + 7], "big"), int.from_bytes(frame[at + 7 : at + 9], "big")
        at += 1 if marker == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return None
