from __future__ import annotations

import subprocess
import sys

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


# Children are forked from one process that has imported everything, so that 50 of them take seconds. Each is killed at
# a random moment after its first save.
HARNESS = """
import os, random, signal, sys, time
import numpy as np
from minidl.io import CheckpointFolder

def train(folder, done):
    held = folder.newest()
    step = held.position["step"] if held else 0
    while True:
        step += 1
        folder.save(position={"step": step}, arrays={"x": np.full(50_000, step, np.float32)})
        os.write(done, b"%d " % step)

rng = random.Random(1)
folder = CheckpointFolder(sys.argv[1], keep=2)
for kill in range(50):
    readable, done = os.pipe()
    child = os.fork()
    if not child:
        train(folder, done)
    os.close(done)
    printed = os.read(readable, 1)  # the first save of this child is done
    time.sleep(rng.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while more := os.read(readable, 65536):
        printed += more
    os.close(readable)
    held = folder.newest()
    step, promised = held.position["step"], int(printed.split()[-1])
    assert step in (promised, promised + 1), (kill, step, promised)
    assert (held.arrays["x"] == step).all()
    assert 2 <= len(folder.files()) + (step == 1) <= 3
print("newest", step)
"""


@pytest.mark.slow
def test_after_each_of_50_kills_the_newest_whole_checkpoint_is_there(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(tmp_path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[1]) >= 50
