"""Worker processes: the same batches as without, errors and deaths named, and nothing left behind."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from minidl import Tensor
from minidl.errors import ArgumentError, MinidlError
from minidl.utils.data import DataLoader, TensorDataset, get_worker_info
from minidl.utils.data import loader as loader_module
from minidl.utils.data import processes as processes_module
from tests.minidl.utils.data.sets import Failing, Informed, Noisy, Pictures, Squares, Stream, seeded, values
from tests.minidl.utils.data.test_loader import threads_end

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no GPU: signals are POSIX's")
SPAWN = {"multiprocessing_context": "spawn"}


@pytest.fixture(autouse=True)
def _patience(monkeypatch) -> None:
    """A machine that is busy otherwise may take seconds for a batch; these tests are not about that."""
    monkeypatch.setattr(processes_module, "WARN_AFTER_S", 60.0)


def children() -> list[int]:
    """Processes of this one, resource tracker left out."""
    multiprocessing.active_children()  # reaps
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
            command = (stat.parent / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and "spawn_main" in command:
            found.append(int(stat.parent.name))
    return found


def none_left(within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while children() and time.monotonic() < deadline:
        time.sleep(0.02)
    return not children() and threads_end()


def test_order_and_draws_are_those_of_no_workers() -> None:
    plain = seeded(Noisy(), batch_size=4, shuffle=True)
    loader = seeded(Noisy(), batch_size=4, shuffle=True, num_workers=2, persistent_workers=True, **SPAWN)
    first = values(plain)
    assert values(loader) == first
    running = children()
    assert len(running) == 2
    assert values(loader) == values(plain)
    assert children() == running
    del loader
    assert none_left()


def test_a_pass_goes_on_at_any_batch() -> None:
    whole = seeded(Noisy(), batch_size=4, shuffle=True)
    wanted = values(whole)
    broken = seeded(Noisy(), batch_size=4, shuffle=True, num_workers=1, **SPAWN)
    seen = [v for batch in itertools.islice(iter(broken), 3) for v in batch.tolist()]
    resumed = DataLoader(Noisy(), batch_size=4, shuffle=True)
    resumed.load_state_dict(broken.state_dict())
    assert seen + values(resumed) == wanted
    assert none_left()


def test_a_stream_comes_in_its_own_order() -> None:
    loader = seeded(Stream(), batch_size=4, num_workers=3, **SPAWN)
    assert [batch.tolist() for batch in loader] == [batch.tolist() for batch in seeded(Stream(), batch_size=4)]


def test_arrays_come_through_memory_that_leaves_no_name() -> None:
    before = set(os.listdir("/dev/shm"))
    batches = list(seeded(Pictures(6), batch_size=4, num_workers=1, **SPAWN))
    for given, wanted in zip(batches, seeded(Pictures(6), batch_size=4), strict=True):
        np.testing.assert_array_equal(given["image"].numpy(), wanted["image"].numpy())
        assert given["name"] == wanted["name"]
        assert [t.tolist() for t in given["pair"]] == [t.tolist() for t in wanted["pair"]]
        assert type(given["pair"][0]) is Tensor
    batches[0]["image"].array[...] = 1.0  # it is the reader's own
    assert set(os.listdir("/dev/shm")) == before


def test_tensors_can_be_sent() -> None:
    data = TensorDataset(Tensor(np.arange(6.0)), Tensor(np.arange(6)))
    (batch,) = DataLoader(data, batch_size=6, num_workers=1, **SPAWN)
    assert [t.tolist() for t in batch] == [[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize("options", [{}, SPAWN], ids=["threads", "processes"])
def test_workers_know_which_they_are(options) -> None:
    loader = DataLoader(Informed(40), batch_size=None, num_workers=2, **options)
    assert set(loader) == {(0, 2, loader.seed, True), (1, 2, loader.seed + 1, True)}
    assert get_worker_info() is None
    assert list(DataLoader(Informed(1), batch_size=None)) == [None]


RAISED = [
    ("raises", ValueError, "no such image"),
    ("raises what cannot be sent", MinidlError, r"worker process 0 \(pid \d+\) raised Local: made inside a function"),
    ("raises what cannot be made again", MinidlError, "raised NeedsTwo: one and two"),
    ("exits", MinidlError, "raised SystemExit: enough"),
]
DIED = [
    ("is killed", "it was killed by SIGKILL"), ("crashes", "it was killed by SIGSEGV"),
    ("leaves", "it ended with exit code 3"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "error", "message"), RAISED)
def test_an_error_names_the_sample_and_brings_the_traceback(how: str, error, message: str) -> None:
    with pytest.raises(error, match=message) as raised:
        list(DataLoader(Failing(how), batch_size=4, num_workers=1, **SPAWN))
    notes = "\n".join(raised.value.__notes__)
    assert "in worker process 0 (pid " in notes
    assert "sets.py" in notes
    assert how == "exits" or "while fetching sample 6 of epoch 0" in notes
    assert none_left()


@pytest.mark.parametrize(("how", "message"), DIED)
def test_a_worker_that_dies_is_named_at_once(how: str, message: str) -> None:
    passing = iter(DataLoader(Failing(how), batch_size=6, num_workers=1, **SPAWN))
    next(passing)  # it has started
    before = time.monotonic()
    with pytest.raises(
        MinidlError, match=rf"process 0 \(pid \d+\) died while fetching samples 6, .* of epoch 0: {message}"
    ):
        next(passing)
    assert time.monotonic() - before < 5
    assert none_left()


@pytest.mark.long
def test_200_deaths_at_random_moments_are_named_and_leave_nothing() -> None:
    rng, died = random.Random(0), 0
    before, wanted = set(os.listdir("/dev/shm")), values(seeded(Noisy(60), batch_size=4))
    for _ in range(2000):
        passing = iter(seeded(Noisy(60), batch_size=4, num_workers=2, **SPAWN))
        seen = next(passing).tolist()
        killer = threading.Timer(rng.uniform(0, 0.05), os.kill, (rng.choice(children()), signal.SIGKILL))
        killer.start()
        try:
            seen += [v for batch in passing for v in batch.tolist()]
            assert seen == wanted
        except MinidlError as error:
            died += (
                re.search(r"process \d \(pid \d+\) died while fetching .*: it was killed by SIGKILL", str(error))
                is not None
            )
        killer.join()
        del passing
        assert none_left()
        if died == 200:
            break
    assert died == 200
    assert set(os.listdir("/dev/shm")) == before


def test_after_a_death_the_next_pass_has_new_workers() -> None:
    loader = DataLoader(Failing("is killed"), batch_size=4, num_workers=2, persistent_workers=True, **SPAWN)
    with pytest.raises(MinidlError, match="died while fetching"):
        list(loader)
    assert none_left()
    assert next(iter(loader)).tolist() == [0, 1, 2, 3]
    del loader
    assert none_left()


def test_a_worker_that_hangs_is_named_after_the_timeout_and_ended() -> None:
    loader = DataLoader(Failing("hangs"), batch_size=4, num_workers=1, timeout=0.5, **SPAWN)
    passing = iter(loader)
    next(passing)  # it has started
    before = time.monotonic()
    with pytest.raises(
        MinidlError, match=r"worker process 0 \(pid \d+\) gave nothing within 0\.5 s while fetching samples 4, 5, 6, 7"
    ):
        next(passing)
    assert time.monotonic() - before < 5
    assert none_left()


def test_without_a_timeout_a_warning_names_a_thread_that_is_waited_for(monkeypatch) -> None:
    monkeypatch.setattr(loader_module, "WARN_AFTER_S", 0.01)
    with pytest.warns(UserWarning, match=r"samples 0, 1, 2, 3 of epoch 0 took more than 0\.01 s; it hangs, or is slow"):
        next(iter(DataLoader(Slow(), batch_size=4, num_workers=1)))
    assert none_left()


def test_without_a_timeout_a_warning_names_a_process_that_is_waited_for(monkeypatch) -> None:
    """Here the warning is an error, as everywhere in these tests, which ends the wait and the worker."""
    monkeypatch.setattr(processes_module, "WARN_AFTER_S", 0.2)
    passing = iter(DataLoader(Failing("hangs"), batch_size=6, num_workers=1, **SPAWN))
    next(passing)
    with pytest.raises(
        UserWarning, match=r"process 0 \(pid \d+\) has been fetching samples 6, .* of epoch 0 for 0\.2 s"
    ):
        next(passing)
    assert none_left()


class Slow(Squares):
    def __getitem__(self, index: int) -> int:
        time.sleep(0.05)
        return index


def test_a_pass_that_is_left_ends_even_a_hanging_worker() -> None:
    passing = iter(DataLoader(Failing("hangs"), batch_size=2, num_workers=2, **SPAWN))
    assert next(passing).tolist() == [0, 1]
    del passing
    assert none_left()


ORPHANS = """
import os, signal, sys, time
from minidl.utils.data import DataLoader
from tests.minidl.utils.data.sets import Failing
from tests.minidl.utils.data.test_processes import children

if __name__ == "__main__":
    passing = iter(DataLoader(Failing("hangs"), batch_size=3, num_workers=2, multiprocessing_context="spawn"))
    next(passing)
    print(*children(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_do_not_outlive_a_parent_that_is_killed(tmp_path) -> None:
    (tmp_path / "run.py").write_text(ORPHANS)
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, timeout=180,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    workers = [int(pid) for pid in done.stdout.split()]
    assert len(workers) == 2, done.stderr
    deadline = time.monotonic() + 5
    while any(alive(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in workers)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(local(), num_workers=1, **SPAWN),
        lambda: DataLoader(Squares(), num_workers=1, collate_fn=lambda batch: batch, **SPAWN),
    ],
)
def test_what_cannot_be_sent_is_named(make) -> None:
    with pytest.raises(ArgumentError, match=r"cannot be sent to a worker process .*or use threads"):
        next(iter(make()))
    assert none_left()


def local() -> Squares:
    class Local(Squares):
        pass

    return Local()


UNGUARDED = """
from minidl.utils.data import DataLoader
from tests.minidl.utils.data.sets import Squares

list(DataLoader(Squares(), num_workers=1, multiprocessing_context="spawn"))
"""


def test_a_script_without_a_guard_is_told_what_to_do(tmp_path) -> None:
    (tmp_path / "run.py").write_text(UNGUARDED)
    root = Path(__file__).resolve().parents[4]
    done = subprocess.run(
        [sys.executable, "run.py"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root)}, timeout=180,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not start (a script must do its work under if __name__ == '__main__':)" in done.stderr
