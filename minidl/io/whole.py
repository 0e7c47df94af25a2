"""Writes that are whole or not there at all, whatever stops them."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFT_BEHIND_S = 3600.0  # a writer touches its file more often than once in an hour, or it is dead


def write_bytes(path: str | os.PathLike[str], *chunks: bytes | memoryview) -> Path:
    """Write a file beside its place, flush it to the disk, and rename it into its place.

    A crash, a full disk or an interrupt leaves the old file or the new one, never half of one, and nothing beside it
    (a killed process may leave a `.part` file, which nobody reads; see `remove_leftovers`).

    Raises:
        OSError: if it could not be written; the old file is as it was. If only the folder could not be flushed, the
            new file is in place, but may not outlive a power cut.
    """
    target = Path(path)
    beside = target.parent / f"{_prefix(target)}{os.urandom(8).hex()}.part"
    with _flushed(target.parent):
        try:
            _write_new(beside, chunks)
            os.replace(beside, target)
        except BaseException:
            with suppress(OSError):  # the error that brought us here says more
                beside.unlink(missing_ok=True)
            raise
    return target


def remove_leftovers(path: str | os.PathLike[str]) -> None:
    """Remove what killed writers of `path` left beside it more than an hour ago."""
    target = Path(path)
    for part in target.parent.iterdir():
        if part.name.startswith(_prefix(target)) and part.suffix == ".part":
            with suppress(OSError):  # someone else removed it
                if time.time() - part.stat().st_mtime > LEFT_BEHIND_S:
                    part.unlink()


def _prefix(target: Path) -> str:
    return f".{target.name[:40]}."  # cut: the name may be as long as the file system allows already


def _write_new(path: Path, chunks: Iterable[bytes | memoryview]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        for chunk in chunks:
            rest = memoryview(chunk).cast("B")
            while rest:  # a disk that fills up may take a part before it says so
                rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _flushed(folder: Path) -> Iterator[None]:
    """Make a rename inside the block survive a power cut, where the system offers it.

    The folder is opened first, so that one that cannot be opened is found while the old file is untouched.
    """
    if os.name != "posix":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot flush folders
                raise
    finally:
        os.close(descriptor)
