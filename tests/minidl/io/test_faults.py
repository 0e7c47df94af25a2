"""Every call that touches the disk fails once, or is the last one before death; disks fill up at every size."""

from __future__ import annotations

import atexit
import errno
import functools
import os
import re
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from minidl.errors import FileFormatError
from minidl.io import CheckpointFolder, save_checkpoint
from tests.minidl.io.bad_disk import BadDisk, Died
from tests.minidl.io.small_run import Run

KEEP = 2


@functools.cache
def trained_once() -> tuple[Run, Path]:
    place = Path(tempfile.mkdtemp(prefix="minidl-test-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    run, folder = Run(), CheckpointFolder(place / "f", keep=KEEP)
    for _ in range(3):
        run.step()
        folder.save(is_best=run.steps == 2, **run.content())
    run.step()
    return run, folder.path


class Trained:
    """A run with three checkpoints saved, one step further than the newest."""

    def __init__(self, place: Path) -> None:
        run, saved = trained_once()
        self.place, self.run = place, run
        self.scratch = place.parent / f"{place.name}-elsewhere"
        self.scratch.mkdir()
        shutil.copytree(saved, place)
        self.folder = CheckpointFolder(place, keep=KEEP)
        self.digest = self.run.digest(self.scratch)

    def save(self) -> None:
        self.folder.save(is_best=True, **self.run.content())

    def check(self, *allowed: int) -> int:
        """The newest and the best checkpoint are whole, and of one of the steps allowed; the run is as it was."""
        newest, best = self.folder.newest(), self.folder.best()
        assert newest is not None
        assert best is not None
        assert newest.position["steps"] in allowed
        assert best.position["steps"] in (2, 4)
        assert self.run.digest(self.scratch) == self.digest
        return newest.position["steps"]

    def check_next_save(self, *, but: re.Pattern[str] | None = None) -> None:
        """A save to a good disk works, and leaves nothing but `keep` checkpoints and the best."""
        self.save()
        names = [name for name in os.listdir(self.place) if but is None or not but.fullmatch(name)]
        assert sorted(names)[0] == "best.safetensors"
        assert len(names) == KEEP + 1
        newest = self.folder.newest()
        assert newest is not None
        again = Run(seed=7)
        again.restore(newest)
        assert again.digest(self.scratch) == self.digest


def every_call(tmp_path: Path, **kind) -> list[tuple[str, int]]:
    """Saves with call 1, 2, ... going wrong, until one succeeds; the calls, and the newest steps after each."""
    seen = []
    for number in range(1, 200):
        trained = Trained(tmp_path / f"{number}")
        disk = BadDisk(trained.place, number, **kind)
        try:
            with disk.mounted():
                trained.save()
        except (OSError, Died):
            after = disk.calls[number - 1]
        else:
            trained.check(4)
            assert len(disk.calls) < number
            return seen
        seen.append((after, trained.check(3, 4)))
        trained.check_next_save(but=re.compile(r"\..*\.part") if kind.get("code", 0) is None else None)
    raise AssertionError("no save succeeded")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EINTR], ids=errno.errorcode.get)
def test_each_call_that_fails_is_raised_and_costs_nothing(tmp_path, code: int) -> None:
    seen = every_call(tmp_path, code=code, short=code == errno.ENOSPC)
    assert {"open", "write", "fsync", "close", "replace", "unlink", "listdir"} <= {name for name, _ in seen}
    assert len(seen) > 25
    steps = [newest for _, newest in seen]
    assert steps == sorted(steps)  # once the new one is in its place, it stays
    assert set(steps) == {3, 4}


@pytest.mark.parametrize("short", [False, True], ids=["between calls", "in the middle of a write"])
def test_death_before_each_call_loses_nothing_that_was_saved(tmp_path, short: bool) -> None:
    seen = every_call(tmp_path, code=None, short=short)
    steps = [newest for _, newest in seen]
    assert steps == sorted(steps)
    assert set(steps) == {3, 4}


def test_the_shim_sees_every_call_that_touches_the_folder(tmp_path) -> None:
    """One that went by another function would never fail in these tests: the folder is handled by no other."""
    trained, disk = Trained(tmp_path / "f"), BadDisk(tmp_path / "f")
    before = {name: os.stat(trained.place / name).st_ino for name in os.listdir(trained.place)}
    with disk.mounted():
        trained.save()
    after = {name: os.stat(trained.place / name).st_ino for name in os.listdir(trained.place)}
    made = [inode for name, inode in after.items() if before.get(name) != inode]
    gone = [name for name in before if name not in after]
    assert disk.calls.count("replace") == len(made) == 2
    assert disk.calls.count("unlink") == len(gone) == 1
    assert disk.calls.count("write") >= 4


def test_a_disk_that_is_full_at_any_size_is_an_error_and_costs_nothing(tmp_path) -> None:
    trained = Trained(tmp_path / "f")
    size = (trained.scratch / "digest").stat().st_size
    for room in [*range(0, size, size // 40), size - 1, size, 2 * size - 1]:
        with BadDisk(trained.place, room=room).mounted(), pytest.raises(OSError, match="No space left"):
            trained.save()
        trained.check(3, 4)
        assert not list(trained.place.glob(".*"))
        if room >= size:  # the numbered one was written, the best was not
            trained.folder.files()[-1].unlink()
    trained.check_next_save()


def test_a_limit_on_the_size_of_files_is_an_error_and_costs_nothing(tmp_path) -> None:
    """What the system itself does when there is no room, without a shim."""
    trained = Trained(tmp_path / "f")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            trained.save()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    trained.check(3)
    trained.check_next_save()


def test_a_read_only_folder_is_an_error_and_another_one_will_do(tmp_path) -> None:
    trained = Trained(tmp_path / "f")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.geteuid() and folder != Path(folder.anchor):
            folder.chmod(folder.stat().st_mode | 0o011)
        if folder.name.startswith("pytest-of-"):
            break
    trained.place.chmod(0o555)
    me = os.geteuid()
    if me == 0:
        os.seteuid(65534)  # root may write everywhere
    try:
        with pytest.raises(PermissionError):
            trained.save()
    finally:
        os.seteuid(me)
        trained.place.chmod(0o755)
    trained.check(3)
    save_checkpoint(tmp_path / "elsewhere", **trained.run.content())
    trained.check_next_save()


def test_a_folder_that_was_removed_is_made_again(tmp_path) -> None:
    trained = Trained(tmp_path / "f")
    for file in trained.place.iterdir():
        file.unlink()
    trained.place.rmdir()
    assert trained.folder.newest() is None
    trained.save()
    newest = trained.folder.newest()
    assert newest is not None
    assert newest.position["steps"] == 4
    with pytest.raises(FileNotFoundError):
        save_checkpoint(tmp_path / "never made" / "c", **trained.run.content())


def test_a_file_in_the_place_of_the_folder_and_a_name_too_long_are_errors(tmp_path) -> None:
    run = Run()
    (tmp_path / "f").write_bytes(b"")
    with pytest.raises(FileExistsError):
        CheckpointFolder(tmp_path / "f").save(**run.content())
    with pytest.raises(OSError, match=os.strerror(errno.ENAMETOOLONG)):
        save_checkpoint(tmp_path / ("n" * 256), **run.content())
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EACCES], ids=errno.errorcode.get)
def test_a_checkpoint_that_cannot_be_read_is_an_error_and_never_silently_an_older_one(tmp_path, code: int) -> None:
    trained = Trained(tmp_path / "f")
    for number in range(1, 20):
        disk = BadDisk(trained.place, number, code=code)
        try:
            with disk.mounted():
                held = trained.folder.newest()
        except OSError:
            continue
        assert held is not None
        assert held.position["steps"] == 3
        assert number > 1
        return
    raise AssertionError("reading never succeeded")


def test_a_half_written_newest_file_is_passed_over(tmp_path) -> None:
    trained = Trained(tmp_path / "f")
    newest = trained.folder.files()[-1]
    content = newest.read_bytes()
    for length in range(0, len(content), len(content) // 50):
        newest.write_bytes(content[:length])
        held = trained.folder.newest()
        assert held is not None
        assert held.position["steps"] == 2
    trained.folder.files()[0].write_bytes(b"")
    with pytest.raises(FileFormatError, match="all its checkpoints are damaged"):
        trained.folder.newest()
