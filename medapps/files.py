"""Files that are whole or not there, and one sentence when they cannot be written or read."""

from __future__ import annotations

import csv
import io as text_io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medapps.errors import InputError, OutputError
from minidl import io

__all__ = ["csv_text", "make_folder", "read_json", "write_bytes", "write_json", "write_text"]


def csv_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A CSV table. A cell that a spreadsheet would run as a formula gets an apostrophe in front; a number does not.

    >>> csv_text(["a", "b"], [["-0.5", "=1+1"]])
    "a,b\\n-0.5,'=1+1\\n"
    """
    buffer = text_io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"'{cell}" if _may_run(cell) else cell for cell in row] for row in rows)
    return buffer.getvalue()


def _may_run(cell: str) -> bool:
    if not cell.startswith(("=", "+", "-", "@", "\t", "\r")):
        return False
    try:
        return not math.isfinite(float(cell))
    except ValueError:
        return True


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write a file so that a crash, a full disk or Ctrl-C leaves the old one or the new one, never half of it.

    Raises:
        OutputError: one sentence that names the file and what stood in the way.
    """
    try:
        return io.write_bytes(path, content)
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error.strerror or error})") from error


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
