from __future__ import annotations

import errno
import os
import random
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import minidl
from minidl.errors import FileFormatError
from minidl.io import read_checkpoint, save_checkpoint, whole


class Thing:
    """The smallest object with a state."""

    def __init__(self, **state) -> None:
        self.state = state

    def state_dict(self):
        return dict(self.state)

    def load_state_dict(self, state) -> None:
        if state.keys() != self.state.keys():
            raise ValueError("other keys")
        self.state = dict(state)


def nested() -> Thing:
    moments = {0: {"step": 3, "exp_avg": minidl.ones(2)}, 1: {"step": 4, "exp_avg": minidl.zeros(2, 2)}}
    return Thing(state=moments, param_groups=[{"lr": 0.1, "betas": (0.9, 0.999), "params": [0, 1], "foreach": None}])


def test_everything_comes_back(tmp_path) -> None:
    generator = minidl.Generator(3)
    generator.uniform((5,))
    thing = nested()
    save_checkpoint(
        tmp_path / "c", thing=thing, generator=generator, position={"epoch": 2, "rows": [1.5, float("inf")]},
        arrays={"average": np.arange(3)},
    )  # fmt: skip
    after = generator.uniform((4,))
    held = read_checkpoint(tmp_path / "c")
    assert held.position == {"epoch": 2, "rows": [1.5, float("inf")]}
    np.testing.assert_array_equal(held.arrays["average"], np.arange(3))
    fresh = Thing(state={}, param_groups=[])
    other = minidl.Generator(99)
    held.restore(thing=fresh, generator=other)
    assert fresh.state["param_groups"] == thing.state["param_groups"]
    assert list(fresh.state["state"]) == [0, 1]
    np.testing.assert_array_equal(fresh.state["state"][0]["exp_avg"].numpy(), [1, 1])
    np.testing.assert_array_equal(other.uniform((4,)), after)


def test_restoring_is_all_or_nothing(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", first=Thing(a=1), second=Thing(b=2))
    first, misfit = Thing(a=10), Thing(other=20)
    before = minidl.default_generator().get_state()
    with pytest.raises(ValueError, match="other keys"):
        read_checkpoint(tmp_path / "c").restore(first=first, second=misfit)
    assert first.state == {"a": 10}
    assert misfit.state == {"other": 20}
    np.testing.assert_equal(minidl.default_generator().get_state(), before)
    with pytest.raises(FileFormatError, match="holds no state for 'third'; it has first, second"):
        read_checkpoint(tmp_path / "c").restore(third=Thing())


def test_weights_are_not_a_checkpoint(tmp_path) -> None:
    minidl.save({"w": minidl.ones(2)}, tmp_path / "w")
    with pytest.raises(FileFormatError, match="holds weights, but is not a checkpoint"):
        read_checkpoint(tmp_path / "w")


def test_every_flipped_bit_is_noticed(tmp_path) -> None:
    save_checkpoint(tmp_path / "c", thing=nested())
    content = bytearray((tmp_path / "c").read_bytes())
    rng = random.Random(0)
    for _ in range(200):
        place, bit = rng.randrange(len(content)), 1 << rng.randrange(8)
        content[place] ^= bit
        (tmp_path / "flipped").write_bytes(content)
        content[place] ^= bit
        with pytest.raises(FileFormatError):
            read_checkpoint(tmp_path / "flipped")


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, call, code) -> None:
    save_checkpoint(tmp_path / "c", thing=Thing(a=1))
    old = (tmp_path / "c").read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if call == "open":
            patch.setattr(whole.tempfile, "mkstemp", fail)
        else:
            patch.setattr(whole.os, call, fail)
        with pytest.raises(OSError, match=os.strerror(code)):
            save_checkpoint(tmp_path / "c", thing=Thing(a=2))
    assert (tmp_path / "c").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["c"]
    save_checkpoint(tmp_path / "c", thing=Thing(a=2))
    assert read_checkpoint(tmp_path / "c").states["thing"] == {"a": 2}


def test_a_full_disk_leaves_the_old_file(tmp_path) -> None:
    """A limit on the size of files is what a test can have of a full disk."""
    save_checkpoint(tmp_path / "c", thing=Thing(a=1))
    old = (tmp_path / "c").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            save_checkpoint(tmp_path / "c", arrays={"x": np.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "c").read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["c"]


WRITER = """
import sys, numpy as np
from minidl.io import save_checkpoint
step = 0
while True:
    step += 1
    save_checkpoint(sys.argv[1], position={"step": step}, arrays={"x": np.full(50_000, step, np.float32)})
    print(step, flush=True)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_a_whole_checkpoint(tmp_path) -> None:
    rng = random.Random(1)
    for _ in range(20):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "c")], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(rng.uniform(0, 0.02))
        writer.kill()
        printed = writer.stdout.read().split()
        writer.wait()
        writer.stdout.close()
        held = read_checkpoint(tmp_path / "c")
        assert held.position["step"] >= (int(printed[-1]) if printed else 1)
        assert (held.arrays["x"] == held.position["step"]).all()
