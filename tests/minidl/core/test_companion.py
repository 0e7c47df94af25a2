"""A companion compiles what backward will need; here in an empty cache, of processes that never go back."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.core.companion import Companion, tell_companion
from minidl.core.rehearsal import rehearse, serve
from minidl.device import numba_status
from minidl.device.threads import usable_cores
from minidl.ops.conv import Conv

PATIENCE_S = 120.0
FORWARD = """
import sys, time, minidl
minidl.set_compile(sys.argv[1])
weight = minidl.ones(16, requires_grad=True)
for _ in range(2):  # the first call has to compile, and the second is told of
    minidl.nn.functional.layer_norm(minidl.ones(4 + _, 16), (16,), weight)
from minidl.core.companion import _companion
print(_companion.process.pid if _companion.process else 0, flush=True)
time.sleep(float(sys.argv[2]))
"""

needs_numba = pytest.mark.skipif(not numba_status(), reason="Numba is not installed")


def forward(cache: Path, mode: str, seconds: float) -> tuple[subprocess.Popen[str], int]:
    """A process that goes forward only, and the number of its companion, 0 for none."""
    env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
    process = subprocess.Popen([sys.executable, "-c", FORWARD, mode, str(seconds)], env=env, stdout=-1, text=True)
    return process, int(process.stdout.readline())


def wait_until(is_so: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE_S
    while not is_so() and time.monotonic() < end:
        time.sleep(0.05)
    return is_so()


def is_running(process: int) -> bool:
    """Whether a process runs; one that has ended may still stand in the system's table, without memory."""
    try:
        return Path(f"/proc/{process}/statm").read_text().split()[0] != "0"
    except OSError:
        return False


@needs_numba
@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2 or not Path("/proc/self/statm").exists(), reason="one core, or no /proc")
def test_the_kernels_of_a_gradient_are_compiled_before_anybody_asks_and_the_companion_dies_with_its_process(
    tmp_path: Path,
) -> None:
    process, companion = forward(tmp_path, "wait", PATIENCE_S)
    try:
        assert companion
        kernels = tmp_path / "minidl" / "kernels"
        assert wait_until(lambda: any("grad" in file.name for file in kernels.glob("*.kernel"))), [*kernels.iterdir()]
        assert is_running(companion)
        process.send_signal(signal.SIGKILL)
        assert wait_until(lambda: not is_running(companion))
    finally:
        process.kill()
        process.communicate()


@needs_numba
@pytest.mark.slow
def test_who_wants_to_compile_alone_has_no_companion(tmp_path: Path) -> None:
    process, companion = forward(tmp_path, "alone", 0)
    process.communicate()
    assert process.returncode == 0
    assert companion == 0


def test_a_rehearsal_goes_forward_and_back_on_arrays_that_lie_as_told() -> None:
    ran = []
    image, weight = np.zeros((2, 5, 6, 3), np.float32).transpose(0, 3, 1, 2), np.zeros((4, 3, 3, 3), np.float32)
    steps = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}
    scene = Conv.name, tuple([(a.dtype.str, a.shape, a.strides) for a in (image, weight)]), steps
    with launching(lambda call: (ran.append((call.op.name, call.inputs[0].strides)), call.run())):
        rehearse(eval(repr(scene)))
    assert [name for name, _ in ran] == ["conv", "conv_grad_input", "conv_grad_weight"]
    assert ran[0][1] == image.strides


def test_what_no_text_stands_for_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    companion = Companion()
    companion.is_wanted, companion.tell = True, told.append
    monkeypatch.setattr("minidl.core.companion._companion", companion)
    monkeypatch.setattr("minidl.core.companion.compiles_alone", lambda: False)
    x = (np.zeros(3, np.float32),)
    tell_companion(Conv, x, {"groups": object()})
    assert told == []
    tell_companion(Conv, x, {"groups": (1, "same", None)})
    assert told == [("conv", (("<f4", (3,), (4,)),), {"groups": (1, "same", None)})]
    with minidl.no_grad():
        tell_companion(Conv, x, {"groups": 1})
    assert len(told) == 1


def test_nonsense_does_not_end_the_rehearsals(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr("minidl.core.rehearsal._PATIENCE_S", 0.01)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    for line in ("this is no scene", "('no op', (), {})", "('exp', (('<f4', (3,), (4,)),), {})"):
        lines.put(line)
    with launching(lambda call: ran.append(call.op.name)):
        serve(lines)
    assert ran[0] == "exp"
