"""Entries of a zip, read one by one in memory and under the limits; nothing is unpacked to disk."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from medapps.errors import InputError
from medapps.readers.limits import Limits

__all__ = ["Member", "zip_members"]

Member = tuple[tuple[str, ...], Callable[[], bytes] | None]  # a name in parts, and its bytes; None for a folder


def zip_members(path: Path, above: tuple[str, ...], limits: Limits, archives: ExitStack) -> Iterator[Member]:
    """The entries of a zip below the folders `above`; the archive stays open as long as `archives`.

    Raises:
        InputError: for a damaged archive, one beyond the limits, or a name that points outside.
    """
    try:
        archive = archives.enter_context(zipfile.ZipFile(path))
        infos = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(f"{path}: a truncated or damaged zip ({type(error).__name__}); copy it again") from None
    total = sum(info.file_size for info in infos)
    if len(infos) > limits.dataset_images or total > limits.dataset_bytes:
        raise InputError(f"{path}: {len(infos)} entries of {total >> 20} MiB are more than allowed; split the archive")
    for info in infos:
        parts = tuple(info.filename.replace("\\", "/").split("/"))
        if ".." in parts or parts[0] == "" or ":" in parts[0]:
            raise InputError(f"{path}: the archive holds a name that points outside of it; do not trust this file")
        if above and parts[0].lower() == above[0]:
            parts = parts[1:]  # train.zip that holds train/...
        parts = above + tuple(part for part in parts if part)
        yield parts, None if info.is_dir() else partial(_zip_bytes, path, archive, info, limits)


def _zip_bytes(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    if info.file_size > limits.decoded_bytes:
        raise InputError(f"{path}: {info.filename} is {info.file_size >> 20} MiB, more than allowed")
    try:
        with archive.open(info) as file:
            return file.read(info.file_size)
    except Exception as error:  # bad CRC, encryption (RuntimeError), zlib.error, unknown compression
        raise InputError(
            f"{path}: {info.filename} is damaged or locked ({type(error).__name__}); copy it again"
        ) from None
