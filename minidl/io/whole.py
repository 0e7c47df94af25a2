"""Writes that are whole or not there at all, whatever stops them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path


def write_bytes(path: str | os.PathLike[str], *chunks: bytes | memoryview) -> Path:
    """Write a file beside its place, flush it to the disk, and rename it into its place.

    A crash, a full disk or an interrupt leaves the old file or the new one, never half of one, and nothing beside it
    (a killed process may leave a `.part` file, which nobody reads).

    Raises:
        OSError: if it could not be written; the old file is as it was.
    """
    target = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            _write(file.fileno(), chunks)
        beside.chmod(0o666 & ~_umask())  # mkstemp makes files that only the owner can read
        os.replace(beside, target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _flush_folder(target.parent)
    return target


def _write(descriptor: int, chunks: Iterable[bytes | memoryview]) -> None:
    for chunk in chunks:
        rest = memoryview(chunk).cast("B")
        while rest:  # a disk that fills up may take a part before it says so
            rest = rest[os.write(descriptor, rest) :]
    os.fsync(descriptor)


def _flush_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system offers it."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
