from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import stat
import time

import pytest

from minidl.io import whole, write_bytes

CALLS = ("open", "write", "fsync", "close", "replace")


class FaultyDisk:
    """Stands in for `os`: the call number `fail_at` of those that touch the disk raises; writes are cut to `most`."""

    def __init__(self, fail_at: int | None = None, code: int = errno.EIO, most: int = 1 << 30) -> None:
        self.fail_at, self.code, self.most, self.calls = fail_at, code, most, []

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in CALLS:
            return real

        def call(*args, **options):
            self.calls.append(name)
            if name == "write":
                args = (args[0], args[1][: self.most])
            if len(self.calls) == self.fail_at:
                if name == "close":
                    real(*args, **options)
                raise OSError(self.code, os.strerror(self.code))
            return real(*args, **options)

        return call


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_whatever_call_fails_the_file_is_the_old_or_the_new_one_and_alone(tmp_path, monkeypatch, code) -> None:
    target = tmp_path / "f"
    failed = []
    for number in range(1, 20):
        target.write_bytes(b"old")
        disk = FaultyDisk(number, code)
        with monkeypatch.context() as patch:
            patch.setattr(whole, "os", disk)
            with contextlib.suppress(OSError):
                write_bytes(target, b"first", b"second")
                break
        failed.append(disk.calls[number - 1])
        after_rename = "replace" in disk.calls and failed[-1] != "replace"
        assert target.read_bytes() == (b"firstsecond" if after_rename else b"old")
        assert list(tmp_path.iterdir()) == [target]
    assert failed == ["open", "open", "write", "write", "fsync", "close", "replace", "fsync", "close"]
    assert target.read_bytes() == b"firstsecond"


def test_the_data_are_on_the_disk_before_the_rename_and_the_rename_after_it(tmp_path, monkeypatch) -> None:
    disk = FaultyDisk()
    with monkeypatch.context() as patch:
        patch.setattr(whole, "os", disk)
        write_bytes(tmp_path / "f", b"x")
    assert disk.calls == ["open", "open", "write", "fsync", "close", "replace", "fsync", "close"]


def test_short_writes_are_continued(tmp_path, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(whole, "os", FaultyDisk(most=3))
        write_bytes(tmp_path / "f", b"ten letters", b"", memoryview(b" and more"))
    assert (tmp_path / "f").read_bytes() == b"ten letters and more"


def test_an_interrupt_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    (tmp_path / "f").write_bytes(b"old")

    def interrupt(*_args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_leaves_the_old_file(tmp_path) -> None:
    """A limit on the size of files is what a test can have of a full disk."""
    (tmp_path / "f").write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            write_bytes(tmp_path / "f", bytes(80_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_read_only_folder_is_an_error_and_stays_as_it_was(tmp_path, monkeypatch) -> None:
    (tmp_path / "f").write_bytes(b"old")
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(PermissionError):
            write_bytes("f", b"new")
    finally:
        os.seteuid(me)
        tmp_path.chmod(0o755)
    assert (tmp_path / "f").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_missing_folders_and_folders_in_the_place_are_errors(tmp_path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bytes(tmp_path / "missing" / "f", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_bytes(tmp_path / "folder", b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_the_longest_names_can_be_written(tmp_path) -> None:
    name = "ä" * 127  # 254 bytes; 255 are the most
    write_bytes(tmp_path / name, b"x")
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_others_can_read_the_file_as_far_as_the_umask_lets_them(tmp_path) -> None:
    mask = os.umask(0o027)
    try:
        write_bytes(tmp_path / "f", b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o640


def test_only_old_leftovers_of_the_same_file_are_removed(tmp_path) -> None:
    names = [".f.0011.part", ".f.0022.part", ".g.0033.part", "f"]
    for name in names:
        (tmp_path / name).write_bytes(b"")
    an_hour_ago = time.time() - whole.LEFT_BEHIND_S - 1
    for name in (names[0], names[2]):
        os.utime(tmp_path / name, (an_hour_ago, an_hour_ago))
    whole.remove_leftovers(tmp_path / "f")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[1:])
