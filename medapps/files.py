"""Files that are whole or not there: written beside their place, flushed to disk, then renamed into it."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from medapps.errors import InputError, OutputError

__all__ = ["make_folder", "read_json", "write_bytes", "write_json", "write_text"]


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that a crash, a full disk or Ctrl-C leaves the old one or the new one, never half of it.

    Raises:
        OutputError: one sentence that names the file and what stood in the way.
    """
    target, beside = Path(path), None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
        beside = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.chmod(0o666 & ~_umask())  # mkstemp makes files for the owner alone
        beside.replace(target)
        beside = None
    except OSError as error:
        raise OutputError(f"{target}: could not be written ({error.strerror or error})") from error
    finally:
        if beside is not None:
            beside.unlink(missing_ok=True)
    return target


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """`write_bytes` for UTF-8 text."""
    return write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> Path:
    """`write_bytes` for plain data; NaN is refused, since JSON has none."""
    return write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | os.PathLike[str]) -> Any:
    """Plain data from a JSON file.

    Raises:
        InputError: if the file is missing, not readable or not JSON.
    """
    file = Path(path)
    try:
        return json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{file}: could not be read ({error.strerror or error})") from error
    except (ValueError, RecursionError):
        raise InputError(f"{file}: is not a JSON file") from None


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Make a folder, with those above it, unless it is there."""
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the folder could not be made ({error.strerror or error})") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"{folder}: nothing may be written there; choose another folder")
    return folder


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
