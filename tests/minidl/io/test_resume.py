"""A resumed run is the run that was never stopped, bit by bit: at every step, and after kills at any moment."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.io import read_checkpoint, save_checkpoint
from tests.minidl.io.small_run import Run


def check_resume_at(tmp_path: Path, steps: range, end: int, workers: int) -> int:
    """Save one run after each of `steps`, resume there from another seed; how many end with the same bits."""
    alone = Run(workers=workers)
    for _ in range(end):
        alone.step()
        if alone.steps in steps:
            save_checkpoint(tmp_path / f"{alone.steps}", **alone.content())
    wanted, same = alone.digest(tmp_path), 0
    for step in steps:
        resumed = Run(seed=1000 + step, workers=workers)
        resumed.restore(read_checkpoint(tmp_path / f"{step}"))
        while resumed.steps < end:
            resumed.step()
        same += resumed.digest(tmp_path) == wanted
    return same


@pytest.mark.parametrize("workers", [0, 2])
def test_20_of_20_resumes_end_with_the_same_bits(tmp_path, workers: int) -> None:
    assert check_resume_at(tmp_path, range(1, 21), 22, workers) == 20


@pytest.mark.long
@pytest.mark.parametrize("workers", [0, 2])
def test_200_of_200_resumes_end_with_the_same_bits(tmp_path, workers: int) -> None:
    assert check_resume_at(tmp_path, range(1, 201), 202, workers) == 200


def test_another_state_would_be_noticed(tmp_path) -> None:
    """The comparison can fail: one draw, one batch, or one bit of a moment more or less is another digest."""
    run = Run()
    for _ in range(3):
        run.step()
    digests = {run.digest(tmp_path)}
    minidl.default_generator().uniform(())
    digests.add(run.digest(tmp_path))
    next(run._batches)
    digests.add(run.digest(tmp_path))
    moment = run.optimizer.state[run.net[0].weight]["exp_avg"].array
    moment.view(np.uint32)[0, 0] ^= 1
    digests.add(run.digest(tmp_path))
    assert len(digests) == 4


KINDS = [
    name for name in optim.__all__ if name not in ("LBFGS", "Optimizer") and isinstance(getattr(optim, name), type)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_optimizer_goes_on_with_the_same_bits(tmp_path, kind: str) -> None:
    def run(steps: range, *, resumed: bool = False) -> list[np.ndarray]:
        minidl.manual_seed(99 if resumed else 0)
        held = nn.Linear(5, 3)
        weights = list(held.parameters())
        optimizer = getattr(optim, kind)([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.1}], lr=0.02)
        if resumed:
            read_checkpoint(tmp_path / "c").restore(held=held, optimizer=optimizer)
        for step in steps:
            for i, weight in enumerate(weights):
                if (step + i) % 3:  # so the weights have taken different numbers of steps
                    weight.grad = weight.detach() * 2 + 0.1 * step
                else:
                    weight.grad = None
            optimizer.step()
        if not resumed:
            save_checkpoint(tmp_path / "c", held=held, optimizer=optimizer)
        return [w.detach().numpy() for w in weights]

    whole = run(range(12))
    run(range(7))
    for given, wanted in zip(run(range(7, 12), resumed=True), whole, strict=True):
        np.testing.assert_array_equal(given, wanted)


def kill(tmp_path: Path, kills: int, seed: int, timeout_s: float) -> None:
    root = Path(__file__).resolve().parents[3]
    command = [sys.executable, "-m", "tests.minidl.io.kills", str(tmp_path), str(kills), str(seed)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    killed, runs, half_written = map(int, re.findall(r"\d+", done.stdout))
    assert killed == kills
    assert runs > kills // 100
    assert half_written > kills // 20  # else the moments were none at which something can go wrong


@pytest.mark.slow
def test_200_kills_lose_no_step_that_was_saved_and_no_bit(tmp_path) -> None:
    kill(tmp_path, 200, 1, timeout_s=300)


@pytest.mark.long
def test_10000_kills_lose_no_step_that_was_saved_and_no_bit(tmp_path) -> None:
    kill(tmp_path, 10_000, 2, timeout_s=7200)
