"""Kill a training run with SIGKILL at random moments, resume it, and compare all that is found with a run left alone.

    python -m tests.minidl.io.kills FOLDER KILLS SEED

Children are forked from one process that has imported and compiled everything, so that a life takes a tenth of a
second. A child saves after every step and says so through a pipe; the parent kills it at a random moment, most often
while it is saving.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from pathlib import Path

import minidl
from minidl.io import CheckpointFolder
from tests.minidl.io.small_run import Run

STEPS = 60  # of one run; after them the next one begins in a fresh folder
KEEP = 2


def train(folder: CheckpointFolder, done: int) -> None:
    run = Run(seed=99, total=STEPS)  # other weights and another order, until the checkpoint is restored
    if folder.newest() is None:
        run = Run(total=STEPS)
    run.go_on(folder)
    while run.steps < STEPS:
        run.step()
        os.write(done, b"s")  # about to save
        folder.save(**run.content())
        os.write(done, b"%d " % run.steps)


def one_life(folder: CheckpointFolder, rng: random.Random) -> tuple[int | None, bool]:
    """Fork, let it live for a while, kill; gives the last step that was said to be saved, and whether it had ended."""
    readable, done = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        train(folder, done)
        os._exit(0)
    os.close(done)
    said = b""
    for _ in range(rng.randrange(6)):  # let some saves go by
        said += os.read(readable, 1)
        while said[-1:] not in (b"s", b""):
            more = os.read(readable, 1)
            said += more
            if not more:
                break
    time.sleep(rng.choice((rng.uniform(0, 0.004), rng.uniform(0, 0.03))))  # most of a save takes 4 ms
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    while more := os.read(readable, 65536):
        said += more
    os.close(readable)
    steps = [int(word) for word in said.replace(b"s", b" ").split()]
    return (steps[-1] if steps else None), os.WIFEXITED(status)


def main(place: Path, kills: int, seed: int) -> None:
    minidl.set_num_threads(1)
    alone, wanted = Run(total=STEPS), {}
    reference = CheckpointFolder(place / "alone", keep=1)
    for _ in range(STEPS):
        alone.step()
        saved = reference.save(**alone.content())
        wanted[alone.steps] = hashlib.sha256(saved.read_bytes()).hexdigest()
    rng, killed, runs, newest = random.Random(seed), 0, 0, 0
    half_written: set[str] = set()
    folder = CheckpointFolder(place / "0", keep=KEEP)
    while killed < kills:
        promised, had_ended = one_life(folder, rng)
        killed += not had_ended
        files = folder.files()
        for file in files:  # none is half written, and each is the state of its step, however often it was resumed
            step = int(file.name[11:17])
            assert hashlib.sha256(file.read_bytes()).hexdigest() == wanted[step], (killed, file.name)
        if files:
            half_written |= {part.name for part in folder.path.glob(".*.part")}
            held = folder.newest()
            assert held is not None
            assert held.position["steps"] == step, (killed, held.position, step)
            assert step >= max(newest, promised or 0), (killed, step, newest, promised)
            newest = step
        else:
            assert promised is None, (killed, promised)
        if newest == STEPS:
            assert len(files) <= KEEP or not had_ended  # who was killed between a save and its pruning left one more
            runs, newest = runs + 1, 0
            folder = CheckpointFolder(place / str(runs), keep=KEEP)
    print(f"{killed} kills, {runs} runs ended, {len(half_written)} half-written files that nobody read")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
