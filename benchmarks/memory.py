"""Peak memory of a training step, of either library, in fresh processes: what the step adds to model and data."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CODE = """
import importlib, sys
from benchmarks.memory import peak_over
from benchmarks.networks import NETWORKS
from benchmarks.sides import Trainer

library, name, layout = sys.argv[1:]
network = next(n for n in NETWORKS if n.name == name)
trainer = Trainer(importlib.import_module(library), network, channels_last=layout == "channels-last")
trainer.train_step()  # compiles kernels and makes the state of Adam
print(peak_over(trainer.train_step))
"""


def peak_over(step: Callable[[], Any]) -> float:
    """MiB at the peak of three calls of `step` over what the process holds when no step runs and caches are empty.

    Linux counts the peak; writing 5 to clear_refs sets it back to what is held now.
    """
    import gc

    if "minidl" in sys.modules:
        from minidl.device.memory import release_memory

        release_memory()
    gc.collect()
    _trim()
    held = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(3):
        step()
    return (_status("VmHWM") - held) / 1024


def training_step_mib(library: str, network: str, layout: str = "NCHW") -> float:
    """Peak MiB of a training step of `library`, measured in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, library, network, layout], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout)


def _trim() -> None:
    """Let the C library return free memory, so that it does not count as held."""
    import ctypes

    ctypes.CDLL(None).malloc_trim(0)


def _status(name: str) -> int:
    """A figure of /proc/self/status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
