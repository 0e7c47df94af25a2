"""A folder of checkpoints: the last few and the best, so that a damaged file costs one step back and not the run."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from minidl.errors import ArgumentError, FileFormatError
from minidl.io.checkpoint import Checkpoint, read_checkpoint, save_checkpoint

_NAME = re.compile(r"checkpoint-(\d{6,})\.safetensors")
_BEST = "best.safetensors"


class CheckpointFolder:
    """Saves are numbered in the order in which they were made; the newest whole one counts.

    Args:
        path: is made if it is not there.
        keep: how many of the last checkpoints stay.
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 3) -> None:
        if keep < 1:
            raise ArgumentError(f"CheckpointFolder: keep must be a whole number from 1 up, got {keep!r}")
        self.path, self.keep = Path(path), keep

    def save(self, *, is_best: bool = False, **content: Any) -> Path:
        """Write a checkpoint, with the arguments of `save_checkpoint`, then remove the oldest beyond `keep`.

        Args:
            is_best: also keep it as the best, whatever comes later.

        Raises:
            OSError: if it could not be written; all that were there still are.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        before = self.files()
        number = 1 + (_number(before[-1]) if before else 0)
        saved = save_checkpoint(self.path / f"checkpoint-{number:06d}.safetensors", **content)
        if is_best:
            save_checkpoint(self.path / _BEST, **content)
        for old in self.files()[: -self.keep]:
            old.unlink(missing_ok=True)
        return saved

    def files(self) -> list[Path]:
        """The numbered checkpoints, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted((p for p in self.path.iterdir() if _NAME.fullmatch(p.name)), key=_number)

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is whole; None if there is none at all.

        Raises:
            FileFormatError: if there are some, and all are damaged.
        """
        damage: FileFormatError | None = None
        for file in reversed(self.files()):
            try:
                return read_checkpoint(file)
            except FileFormatError as error:
                damage = damage or error
        if damage is not None:
            raise FileFormatError(f"{self.path}: all its checkpoints are damaged; start a new run") from damage
        return None

    def best(self) -> Checkpoint | None:
        """The checkpoint that was last saved as the best; None if there is none.

        Raises:
            FileFormatError: if it is damaged.
        """
        file = self.path / _BEST
        return read_checkpoint(file) if file.exists() else None


def _number(file: Path) -> int:
    found = _NAME.fullmatch(file.name)
    assert found
    return int(found[1])
