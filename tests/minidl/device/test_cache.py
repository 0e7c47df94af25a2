"""The cache of compiled kernels gives back what was stored, or nothing: never something damaged or foreign."""

import os
import threading
import time
from pathlib import Path

import pytest

from minidl.device import cache

KEY = bytes(range(32))
OTHER_KEY = bytes(32)


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_what_was_stored_comes_back() -> None:
    cache.store("relu", KEY, b"machine code")
    assert cache.load("relu", KEY) == b"machine code"
    assert cache.load("relu", OTHER_KEY) is None


def test_the_folder_and_its_files_are_private(private_cache: Path) -> None:
    cache.store("relu", KEY, b"machine code")
    assert private_cache.stat().st_mode & 0o777 == 0o700
    assert only_file(private_cache).stat().st_mode & 0o077 == 0


def test_a_folder_that_others_may_read_is_closed(private_cache: Path) -> None:
    private_cache.mkdir(parents=True)
    private_cache.chmod(0o755)
    assert cache.folder().path == private_cache
    assert private_cache.stat().st_mode & 0o777 == 0o700


def test_every_flipped_bit_and_every_cut_is_noticed(private_cache: Path) -> None:
    cache.store("relu", KEY, b"machine code")
    path = only_file(private_cache)
    sound = path.read_bytes()
    flipped = [sound[:i] + bytes([sound[i] ^ 1 << bit]) + sound[i + 1 :] for i in range(len(sound)) for bit in range(8)]
    for damaged in [*flipped, *(sound[:i] for i in range(len(sound))), sound + b"x"]:
        path.write_bytes(damaged)
        assert cache.load("relu", KEY) is None
        assert not path.exists()


def test_a_copy_of_another_kernel_under_this_name_is_not_taken(private_cache: Path) -> None:
    cache.store("relu", OTHER_KEY, b"other code")
    only_file(private_cache).rename(private_cache / f"relu-{KEY.hex()[:32]}.kernel")
    assert cache.load("relu", KEY) is None


def test_a_link_is_not_followed(private_cache: Path, tmp_path: Path) -> None:
    cache.store("relu", KEY, b"machine code")
    path = only_file(private_cache)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert cache.load("relu", KEY) is None


def test_a_folder_that_others_may_write_is_refused(private_cache: Path) -> None:
    private_cache.mkdir(parents=True)
    private_cache.chmod(0o777)
    assert cache.folder().path is None
    assert "can be written by other users" in cache.folder().reason


def test_a_folder_of_another_user_is_refused(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private_cache.mkdir(parents=True)
    monkeypatch.setattr(os, "geteuid", lambda: private_cache.stat().st_uid + 1)
    assert cache.folder().reason == f"{private_cache} belongs to another user"


def test_a_file_in_the_place_of_the_folder_is_refused(private_cache: Path) -> None:
    private_cache.parent.mkdir(parents=True)
    private_cache.write_bytes(b"")
    assert cache.folder().path is None


def test_without_a_place_nothing_is_kept_and_nothing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/nowhere")
    cache.store("relu", KEY, b"machine code")
    assert cache.load("relu", KEY) is None
    assert cache.usage() == cache.clear() == cache.Usage(0, 0)
    assert "cannot be used" in cache.folder().reason


def test_a_full_disk_costs_the_copy_only(private_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    cache.store("relu", KEY, b"machine code")
    assert list(private_cache.iterdir()) == []


def test_a_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.folder().path == tmp_path / ".cache" / "minidl" / "kernels"


def test_what_nobody_used_for_two_months_is_forgotten(private_cache: Path) -> None:
    cache.store("old", KEY, b"1")
    cache.store("used", KEY, b"2")
    for path in private_cache.iterdir():
        os.utime(path, (0, time.time() - 61 * 86400))
    assert cache.load("used", KEY) == b"2"
    cache.store("new", KEY, b"3")
    assert {path.name.partition("-")[0] for path in private_cache.iterdir()} == {"used", "new"}


@pytest.mark.skipif(os.name != "posix", reason="locks of files are POSIX's")
def test_who_comes_second_waits_for_the_first_and_finds_what_that_made(private_cache: Path) -> None:
    found = []

    def come_second() -> None:
        with cache.building("relu", KEY):
            found.append(cache.load("relu", KEY))

    second = threading.Thread(target=come_second)
    with cache.building("relu", KEY):
        second.start()
        second.join(timeout=0.2)
        assert second.is_alive()
        with cache.building("relu", OTHER_KEY):  # which has nothing to do with it
            cache.store("relu", KEY, b"machine code")
    second.join(timeout=10)
    assert found == [b"machine code"]
    assert only_file(private_cache).suffix == ".kernel"


def test_a_lock_that_does_not_come_free_is_not_waited_for_for_ever(
    private_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_LONGEST_WAIT_S", 0.05)
    with cache.building("relu", KEY), cache.building("relu", KEY):
        pass


def test_clear_says_what_it_removed(private_cache: Path) -> None:
    cache.store("relu", KEY, b"machine code")
    size = only_file(private_cache).stat().st_size
    assert cache.usage() == cache.clear() == cache.Usage(1, size)
    assert cache.usage() == cache.Usage(0, 0)
