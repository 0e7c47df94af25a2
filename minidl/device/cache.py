"""The user's folder of compiled kernels: private, checksummed, safe to share between processes, safe to delete.

Compiled code is worth a second to minutes of waiting, and running a damaged copy of it can crash the interpreter
(of 25 single-bit flips in one file of Numba's own cache, 7 raised and 1 was a segmentation fault). So each file carries
a SHA-256 of all that follows it, and nothing is decoded before the sum is right. Any doubt means: compile again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: processes that want the same kernel at the same time each make it
    fcntl = None  # type: ignore[assignment]

_MAGIC = b"minidl kernel 1\n"
_SUFFIX, _LOCK = ".kernel", ".lock"
_KEEP_DAYS = 60
_LONGEST_WAIT_S, _PAUSE_S = 60.0, 0.005


@dataclass(frozen=True, slots=True)
class Folder:
    """Where compiled kernels are kept: a path, or None and the reason why there is no such place."""

    path: Path | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the cache holds: number of files, and their bytes."""

    files: int
    bytes: int


def folder() -> Folder:
    """The cache folder, made with mode 0700 if it is missing; it must belong to this user and nobody else may write."""
    path = _user_cache() / "minidl" / "kernels"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        info = path.lstat()
        if not stat.S_ISDIR(info.st_mode):
            return Folder(None, f"{path} is not a folder")
        if os.name == "posix":
            if info.st_uid != os.geteuid():
                return Folder(None, f"{path} belongs to another user")
            if info.st_mode & 0o022:
                return Folder(None, f"{path} can be written by other users; remove it or run chmod 700 on it")
            if info.st_mode & 0o077:
                path.chmod(0o700)
    except OSError as error:
        return Folder(None, f"{path} cannot be used: {error.strerror}")
    return Folder(path) if os.access(path, os.R_OK | os.W_OK | os.X_OK) else Folder(None, f"{path} is read-only")


def load(name: str, key: bytes) -> bytes | None:
    """What was stored under `key` (32 bytes), or None. A file that is damaged or not ours is removed, never decoded."""
    if (path := _file(name, key)) is None:
        return None
    try:
        # O_NOFOLLOW: a link in our folder was not put there by us.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            content = file.read()
    except OSError:
        return None
    head = len(_MAGIC) + 32
    if content[:head] == _MAGIC + hashlib.sha256(content[head:]).digest() and content[head : head + 32] == key:
        _touch(path)
        return content[head + 32 :]
    path.unlink(missing_ok=True)
    return None


def store(name: str, key: bytes, payload: bytes) -> None:
    """Keep `payload` under `key` (32 bytes). A full or read-only disk costs the copy, not the computation."""
    if (path := _file(name, key)) is None:
        return
    body = key + payload
    temporary = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.tmp")
    try:
        # A file of its own, then a rename: another process sees all of it or nothing, and the last of two equals wins.
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        with open(descriptor, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        os.replace(temporary, path)
        _prune(path.parent)
    except OSError:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def building(name: str, key: bytes) -> Iterator[None]:
    """Only one process at a time makes what belongs to `key`: whoever comes second waits, and should look again.

    It waits a minute at most. The lock is the system's, so it ends with its process.
    """
    path = _file(name, key)
    if path is None or fcntl is None:
        yield
        return
    lock = path.with_suffix(_LOCK)
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError:  # a full disk
        yield
        return
    try:
        _wait_for(descriptor)
        yield
    finally:
        lock.unlink(missing_ok=True)  # who waits for it now looks into the cache, and so does who makes a new one
        os.close(descriptor)


def _wait_for(descriptor: int) -> None:
    end = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < end:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(_PAUSE_S)
        except OSError:  # a file system without locks
            return


def contains(name: str, key: bytes) -> bool:
    """Whether a sound copy is stored under `key`."""
    return load(name, key) is not None


def usage() -> Usage:
    """How many compiled kernels are kept, and how many bytes they take."""
    sizes = [size for _, size, _ in _entries(folder().path)]
    return Usage(len(sizes), sum(sizes))


def clear() -> Usage:
    """Remove every compiled kernel, and say what was removed."""
    removed = usage()
    for path, _, _ in _entries(folder().path):
        path.unlink(missing_ok=True)
    return removed


def _user_cache() -> Path:
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    # The XDG specification says to ignore a relative path here.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path(os.path.expanduser("~")) / ".cache"


def _file(name: str, key: bytes) -> Path | None:
    path = folder().path
    return None if path is None else path / f"{name}-{key.hex()[:32]}{_SUFFIX}"


def _entries(path: Path | None) -> list[tuple[Path, int, float]]:
    """(path, bytes, time of last use) of the cache's files; leftovers of killed writers are among them."""
    if path is None:
        return []
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.endswith((_SUFFIX, _LOCK, ".tmp")):
                try:
                    info = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # another process was faster
                    continue
                found.append((Path(entry.path), info.st_size, info.st_mtime))
    return found


def _touch(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        return


def _prune(path: Path) -> None:
    """Forget what nobody has used for two months: old versions of kernels would pile up for ever."""
    oldest = time.time() - _KEEP_DAYS * 86400
    for file, _, used in _entries(path):
        if used < oldest:
            file.unlink(missing_ok=True)
