from __future__ import annotations

import pytest

from minidl.errors import ArgumentError, FileFormatError
from minidl.io import CheckpointFolder


def test_the_last_few_and_the_best_stay(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path / "run", keep=2)
    assert folder.newest() is None
    assert folder.best() is None
    for step in range(5):
        folder.save(position={"step": step}, is_best=step == 1)
    assert [p.name for p in folder.files()] == ["checkpoint-000004.safetensors", "checkpoint-000005.safetensors"]
    newest, best = folder.newest(), folder.best()
    assert newest is not None
    assert best is not None
    assert (newest.position["step"], best.position["step"]) == (4, 1)
    with pytest.raises(ArgumentError, match="keep must be a whole number from 1 up, got 0"):
        CheckpointFolder(tmp_path, keep=0)


def test_damaged_ones_are_passed_over(tmp_path) -> None:
    folder = CheckpointFolder(tmp_path)
    for step in range(3):
        folder.save(position={"step": step})
    first, second, third = folder.files()
    third.write_bytes(third.read_bytes()[:100])
    content = bytearray(second.read_bytes())
    content[-1] ^= 1
    second.write_bytes(content)
    newest = folder.newest()
    assert newest is not None
    assert newest.position["step"] == 0
    first.write_bytes(b"")
    with pytest.raises(FileFormatError, match="all its checkpoints are damaged"):
        folder.newest()
