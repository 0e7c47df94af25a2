"""A folder of synthetic images that is complete or not there, and that is never mistaken for anything else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from medapps.errors import InputError, OutputError

__all__ = ["NOTE", "describe", "whole_folder"]

NOTE = "Made by a program. Not images of patients; not for diagnosis."


@contextmanager
def whole_folder(target: Path, kind: str, *, overwrite: bool) -> Iterator[Path]:
    """Fill the folder that is given; it becomes `target` when the block ends, and vanishes if it fails.

    target: must not exist, or be empty, or, with `overwrite`, hold a folder of the same `kind`.

    Raises:
        InputError: for a target that holds something else. OutputError: if it cannot be written.
    """
    _check_target(target, kind, overwrite)
    partial = target.with_name(target.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        if target.exists():
            shutil.rmtree(target)
        partial.rename(target)
    except OSError as error:
        raise OutputError(f"{target}: could not be written: {error.strerror or type(error).__name__}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def describe(folder: Path, kind: str, facts: dict[str, Any]) -> None:
    """Write dataset.json: what the folder is, that it is synthetic, and the facts."""
    content = {"kind": kind, "synthetic": True, "note": NOTE, **facts}
    (folder / "dataset.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _check_target(target: Path, kind: str, overwrite: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not target.is_dir():
        raise InputError(f"{target}: is a file; give a folder")
    marker = target / "dataset.json"
    if not marker.is_file() or f'"kind": "{kind}"' not in marker.read_text("utf-8"):
        raise InputError(f"{target}: is not empty and not a {kind} folder; choose another one")
    if not overwrite:
        raise InputError(f"{target}: holds a {kind} data set already; choose another folder, or overwrite it")
