"""Measure on this machine how long the algorithms of convolution take, beside what `choice.py` estimates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Tensor
from minidl.device import get_num_threads, set_num_threads
from minidl.ops.conv import Conv, ConvGradInput, ConvGradWeight
from minidl.ops.conv.choice import PASSES, Work, estimates, set_conv_algorithm
from minidl.ops.conv.times import Factors

REPEATS = 5


class Sample(NamedTuple):
    """One convolution with a window of `kernel`² and padding that keeps the size."""

    images: int
    channels: int
    filters: int
    side: int
    kernel: int = 3
    stride: int = 1

    def __str__(self) -> str:
        step = f" stride {self.stride}" if self.stride > 1 else ""
        return f"{self.channels}→{self.filters}, {self.kernel}×{self.kernel}{step}, {self.images}×{self.side}²"


SAMPLES = (
    Sample(4, 1, 16, 96), Sample(4, 3, 32, 64), Sample(4, 16, 2, 96), Sample(4, 8, 8, 96), Sample(4, 16, 16, 96),
    Sample(4, 24, 24, 48), Sample(4, 32, 32, 64), Sample(1, 32, 32, 64), Sample(4, 64, 64, 32), Sample(1, 64, 64, 14),
    Sample(4, 128, 128, 16), Sample(1, 128, 128, 28), Sample(8, 256, 256, 8), Sample(4, 3, 16, 64, 5, 2),
    Sample(4, 32, 64, 32, 3, 2), Sample(4, 64, 64, 32, 1),
)  # fmt: skip


class Measured(NamedTuple):
    """Microseconds of one thread, beside the estimate."""

    sample: Sample
    what: str
    algorithm: str
    microseconds: float
    estimated: float


def measure(samples: tuple[Sample, ...] = SAMPLES) -> Iterator[Measured]:
    """Run every algorithm that can do it on every sample and pass; the best of some runs counts."""
    threads = get_num_threads()
    set_num_threads(1)
    try:
        for sample in samples:
            for what in PASSES:
                yield from _measure_pass(sample, what)
    finally:
        set_num_threads(threads)
        set_conv_algorithm("auto")


def _measure_pass(sample: Sample, what: str) -> Iterator[Measured]:
    run = _runner(sample, what)
    out = -(-sample.side // sample.stride)
    work = Work(what, sample.images, sample.channels, sample.filters, (sample.kernel,) * 2, (out,) * 2,
                (sample.stride,) * 2, (1, 1), 1)  # fmt: skip
    for algorithm, estimated in estimates(work, measured={}).items():
        set_conv_algorithm(algorithm)
        run()
        best = math.inf
        for _ in range(REPEATS):
            start = time.thread_time()
            run()
            best = min(best, time.thread_time() - start)
        yield Measured(sample, what, algorithm, 1e6 * best, estimated)


def _runner(sample: Sample, what: str) -> Callable[[], Any]:
    rng, pad = np.random.default_rng(0), sample.kernel // 2
    out = -(-sample.side // sample.stride)

    def drawn(*shape: int) -> Tensor:
        return Tensor.of(rng.standard_normal(shape, np.float32))

    x, g = drawn(sample.images, sample.channels, *(sample.side,) * 2), drawn(sample.images, sample.filters, out, out)
    weight = drawn(sample.filters, sample.channels, *(sample.kernel,) * 2)
    steps = {"stride": (sample.stride,) * 2, "padding": (pad, pad), "dilation": (1, 1), "groups": 1}
    if what == "forward":
        return lambda: Conv.apply(x, weight, **steps)
    if what == "input":
        return lambda: ConvGradInput.apply(g, weight, image=x.shape[2:], **steps)
    return lambda: ConvGradWeight.apply(x, g, kernel=weight.shape[2:], **steps)


def factors_of(measured: list[Measured]) -> Factors:
    """The geometric mean of measured over estimated, for each algorithm and pass."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in measured:
        ratios.setdefault((row.algorithm, row.what), []).append(math.log(row.microseconds / row.estimated))
    found: Factors = {}
    for (algorithm, what), logs in ratios.items():
        found.setdefault(algorithm, {})[what] = round(math.exp(sum(logs) / len(logs)), 3)
    return found
