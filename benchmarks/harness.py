"""Timing that can be trusted: sides take turns, after a warm-up, and medians are reported with their spread."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

Step = Callable[[], Any]


@dataclass(frozen=True)
class Row:
    """One comparison: median milliseconds of each side, and the ratio rival / ours, round by round."""

    name: str
    title: str
    what: str
    threads: int
    ours_ms: float
    rival_ms: float
    rival_layout: str
    ratio: float
    ratio_low: float
    ratio_high: float
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    ours: Step,
    rivals: Mapping[str, Step],
    *,
    name: str,
    title: str,
    what: str,
    threads: int,
    rounds: int,
    seconds: float,
) -> Row:
    """Time our step and the rival's variants in turn; the rival's fastest variant counts.

    Args:
        rounds: at most so many; fewer, but at least three, when `seconds` are over.
    """
    sides = {"ours": ours, **rivals}
    repeats = {side: _repeats(step) for side, step in sides.items()}
    times: dict[str, list[float]] = {side: [] for side in sides}
    enabled = gc.isenabled()
    gc.disable()
    try:
        end = time.perf_counter() + seconds
        for done in range(rounds):
            if done >= 3 and time.perf_counter() > end:
                break
            for side, step in sides.items():
                times[side].append(_seconds(step, repeats[side]))
    finally:
        if enabled:
            gc.enable()
    best = min(rivals, key=lambda side: statistics.median(times[side]))
    ratios = [rival / own for rival, own in zip(times[best], times["ours"], strict=True)]
    own_ms, rival_ms = (1e3 * statistics.median(times[side]) for side in ("ours", best))
    return Row(
        name,
        title,
        what,
        threads,
        own_ms,
        rival_ms,
        best,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        len(ratios),
    )


def _seconds(step: Step, repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def _repeats(step: Step) -> int:
    """Warm up, and choose how often to call a step so that one measurement takes about 20 ms."""
    step()
    step()
    once = _seconds(step, 1)
    return max(1, min(1000, int(0.02 / max(once, 1e-7))))


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import numpy

    import minidl
    from minidl.device import numba_status

    facts = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "minidl": minidl.__version__,
        "numba": str(numba_status()),
    }
    try:
        import torch

        facts["torch"] = torch.__version__
    except ImportError:
        pass
    return facts


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
