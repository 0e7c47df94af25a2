"""From bytes to a parsed DICOM data set, silently and within limits.

pydicom writes raw element values, patient names included, into warnings, logs and exception texts, and inflates a
deflated file without a bound. Everything that talks to pydicom therefore runs inside `quiet()`.
"""

from __future__ import annotations

import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from medapps.errors import ImageError
from medapps.readers.limits import Limits
from medapps.readers.silence import no_warnings

__all__ = ["looks_like_dicom", "parse", "parse_header", "quiet"]

_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg", "jpeg_ls")
_DEFLATED = "1.2.840.10008.1.2.1.99"
_GROUPS = (2, 8)  # a file without the "DICM" mark starts with one of these groups, in either byte order


@contextmanager
def quiet() -> Iterator[None]:
    """Let nothing of pydicom reach warnings or logs; one thread at a time."""
    import pydicom.config

    with no_warnings():  # also the lock for the log levels and pydicom's settings
        settings = pydicom.config.settings
        mode = settings.reading_validation_mode
        loggers = [logging.getLogger(name) for name in _LOGGERS]
        levels = [logger.level for logger in loggers]
        settings.reading_validation_mode = pydicom.config.IGNORE
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        try:
            yield
        finally:
            settings.reading_validation_mode = mode
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def looks_like_dicom(data: bytes) -> bool:
    """True for the "DICM" mark, or a first element of group 0002 or 0008 in a file without it.

    >>> looks_like_dicom(bytes(128) + b"DICM"), looks_like_dicom(b"hello, world")
    (True, False)
    """
    if data[128:132] == b"DICM":
        return True
    if len(data) < 12:
        return False
    return any(int.from_bytes(data[:2], order) in _GROUPS and data[2:4] != b"\0\0" for order in ("little", "big")) or (
        data[:4] == b"\x08\0\0\0"
    )


def parse(data: bytes, name: str, limits: Limits) -> Any:
    """The data set in `data`, pixels still encoded, with a transfer syntax in its `file_meta`.

    Raises:
        ImageError: if it is not DICOM, or would inflate beyond `limits.decoded_bytes`.
    """
    return _parse(io.BytesIO(data), name, limits, pixels=True)


def parse_header(file: BinaryIO, name: str, limits: Limits) -> Any:
    """`parse` without the pixels, which are not read from the file either."""
    return _parse(file, name, limits, pixels=False)


def _parse(file: BinaryIO, name: str, limits: Limits, *, pixels: bool) -> Any:
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    _check_inflated_size(file, name, limits)
    file.seek(0)
    dataset = pydicom.dcmread(file, force=True, stop_before_pixels=not pixels)
    file.seek(0)
    if not dataset and not looks_like_dicom(file.read(132)):
        raise ImageError(f"{name}: not a DICOM file")
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        native = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else native
    return dataset


def _check_inflated_size(file: BinaryIO, name: str, limits: Limits) -> None:
    """Inflate a deflated file in small pieces and throw them away, to learn whether it stays within bounds."""
    start = _deflated_from(file)
    if start is None:
        return
    file.seek(start)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    left, pending = limits.decoded_bytes, file.read()
    while pending and not inflate.eof:
        chunk = inflate.decompress(pending, min(left + 1, 1 << 20))
        left -= len(chunk)
        if left < 0:
            raise ImageError(f"{name}: the deflated file grows beyond the {limits.decoded_bytes >> 20} MiB allowed")
        pending = inflate.unconsumed_tail


def _deflated_from(file: BinaryIO) -> int | None:
    """Where the deflated part of a file begins, found as pydicom finds it; None if there is none.

    The group length is not asked: a file may lie about it.
    """
    from pydicom.filereader import read_dataset

    start = file.read(132)
    if start[128:] != b"DICM":
        file.seek(0)
    if start[128:] != b"DICM" and start[:1] != b"\x02":
        return None
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return file.tell() if str(meta.get("TransferSyntaxUID") or "") == _DEFLATED else None
