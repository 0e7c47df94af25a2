"""How this machine's times compare with the estimates of `choice.py`: a factor for each algorithm and pass.

`minidl tune` measures them and writes them to one file of the user's cache folder, which can be read, changed and
removed. Without it every factor is 1. The file counts only for the processor and the version that it was made with.
"""

from __future__ import annotations

import functools
import json
import os
import tempfile
from pathlib import Path

from minidl.device import cache
from minidl.device.machine import cpu_name
from minidl.device.settings import changed
from minidl.errors import KernelError

Factors = dict[str, dict[str, float]]
FORMAT = 3  # of the file; another one when the estimates change


def path() -> Path | None:
    """Where the factors are kept; None if there is no cache folder."""
    folder = cache.folder().path
    return None if folder is None else folder.parent / "conv-times.json"


@functools.cache
def factors() -> Factors:
    """By algorithm and pass; empty without a file, or if it was made for another machine."""
    place = path()
    if place is None or not place.is_file():
        return {}
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or found["processor"] != cpu_name():
            return {}
        return {str(a): {str(p): float(f) for p, f in passes.items()} for a, passes in found["factors"].items()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise KernelError(f"{place} cannot be read ({error}); remove it, or run minidl tune again") from error


def store(found: Factors) -> Path:
    """Write the factors, wholly or not at all, and use them from now on.

    Raises:
        KernelError: if there is no place for them.
    """
    place = path()
    if place is None:
        raise KernelError(f"minidl tune: nothing can be kept, because {cache.folder().reason}")
    text = json.dumps({"format": FORMAT, "processor": cpu_name(), "factors": found}, indent=1)
    with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False, encoding="utf-8") as file:
        file.write(text + "\n")
    os.replace(file.name, place)
    _forget_known()
    return place


def forget() -> bool:
    """Remove the file; whether there was one."""
    place = path()
    _forget_known()
    if place is None or not place.exists():
        return False
    place.unlink()
    return True


def _forget_known() -> None:
    factors.cache_clear()
    changed()
