"""Files are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medapps import files
from medapps.errors import InputError, OutputError


def test_json_comes_back_as_written(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None], "ü": "text"}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = files.write_text(tmp_path / "x.txt", "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"x\.txt: could not be written \(No space left on device\)"):
        files.write_text(target, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.txt"]
    assert target.read_text() == "old"


def test_ctrl_c_while_writing_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "x.txt", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        files.write_text(tmp_path / "no" / "x.txt", "text")


def test_a_folder_cannot_be_made_of_a_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "x", "text")
    with pytest.raises(OutputError, match="the folder could not be made"):
        files.make_folder(tmp_path / "x" / "y")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 100_000])
def test_what_is_not_json_gives_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=r"x\.json: is not a JSON file$"):
        files.read_json(tmp_path / "x.json")


def test_nan_is_refused_since_json_has_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "x.json", float("nan"))
    assert list(tmp_path.iterdir()) == []
