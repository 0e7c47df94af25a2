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
REST_S, REST_BESIDE_OTHERS_S = 0.02, 0.08


@dataclass(frozen=True)
class Ratio:
    """A rival's time over ours, round by round: above 1, ours is faster."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One comparison: median milliseconds of each side, and the ratios rival / ours.

    Attributes:
        rival: the rival's faster layout, whose ratio is the row's.
        others: ratios of further rivals (a compiler, a runtime for inference), which have columns of their own.
    """

    name: str
    title: str
    what: str
    threads: int
    ours_ms: float
    rival_ms: float
    rival: str
    ratio: Ratio
    others: dict[str, Ratio]
    rounds: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    ours: Step,
    rivals: Mapping[str, Step],
    others: Mapping[str, Step] | None = None,
    *,
    name: str,
    title: str,
    what: str,
    threads: int,
    rounds: int,
    seconds: float,
) -> Row:
    """Time our step, the rival's variants and the others in turn; the rival's fastest variant counts.

    Args:
        rounds: at most so many; fewer, but at least three, when `seconds` are over.
    """
    sides = {"ours": ours, **rivals, **(others or {})}
    rest = REST_BESIDE_OTHERS_S if others else REST_S
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
                times[side].append(_seconds(step, repeats[side], rest))
    finally:
        if enabled:
            gc.enable()
    best = min(rivals, key=lambda side: statistics.median(times[side]))
    own_ms, rival_ms = (1e3 * statistics.median(times[side]) for side in ("ours", best))
    ratios = {side: _ratio(times[side], times["ours"]) for side in (best, *(others or {}))}
    ratio = ratios.pop(best)
    return Row(name, title, what, threads, own_ms, rival_ms, best, ratio, ratios, len(times["ours"]))


def _ratio(rival: list[float], ours: list[float]) -> Ratio:
    ratios = [theirs / own for theirs, own in zip(rival, ours, strict=True)]
    return Ratio(statistics.median(ratios), min(ratios), max(ratios))


def _seconds(step: Step, repeats: int, rest: float = REST_S) -> float:
    """Seconds of a step, once the side before is at rest.

    Idle threads keep reading a word of memory in case more work comes (OpenMP's for some 8 ms, onnxruntime's for 40,
    ours for 1), and whoever comes next shares a core with them: in each turn two steps of a 1×1 convolution took 4 ms
    instead of 0.5, one image of a U-Net behind onnxruntime 11 instead of 6. So each side waits for the others' threads
    to sleep, and makes one step that is not timed.
    """
    time.sleep(rest)
    step()
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    return (time.perf_counter() - start) / repeats


def _repeats(step: Step) -> int:
    """Warm up, and choose how often to call a step so that one measurement takes about 20 ms."""
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
