"""`python -m benchmarks.conv_grid`: convolutions over a grid of shapes, each pass and each algorithm on its own.

    python -m benchmarks.conv_grid                                   # all, on one thread
    python -m benchmarks.conv_grid --only 3x3 few --threads 2        # some groups of shapes
    python -m benchmarks.conv_grid --case 8,64,64,32x32,3            # one shape: N,C,K,image,window[,s2][,d2][,g4][,p0]
    python -m benchmarks.conv_grid --algorithms auto implicit winograd --json grid.json

Every row is one pass (forward, gradient of the input, gradient of the weight): milliseconds of ours, the rate that
they are of a plain sum's 2·N·K·L·C·k² operations (Winograd does fewer), and the ratio PyTorch / ours, above 1 where
ours is faster. PyTorch counts in its faster layout, channels-first or channels-last. All arrays are there before; the
sides take turns, and the least time of all rounds counts: on one thread of processor time, which a busy machine
distorts least, else of the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

import minidl
from benchmarks.harness import REST_S, machine
from minidl.core import Tensor
from minidl.device import CPU, empty
from minidl.ops.conv import Conv, ConvGradInput, ConvGradWeight

Step = Callable[[], Any]
PASSES = ("forward", "input", "weight")


@dataclass(frozen=True)
class Shape:
    """One convolution: N images, C to K channels; stride, padding and dilation are alike in all dimensions."""

    images: int
    channels: int
    filters: int
    image: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    groups: int = 1

    @property
    def windows(self) -> tuple[int, ...]:
        spans = [self.dilation * (k - 1) + 1 for k in self.kernel]
        return tuple((n + 2 * self.padding - s) // self.stride + 1 for n, s in zip(self.image, spans, strict=True))

    @property
    def operations(self) -> int:
        """Of the plain sum."""
        per_window = self.channels // self.groups * math.prod(self.kernel)
        return 2 * self.images * self.filters * math.prod(self.windows) * per_window

    @property
    def title(self) -> str:
        marks = [("s", self.stride), ("d", self.dilation), ("g", self.groups)]
        rest = "".join(f" {mark}{value}" for mark, value in marks if value > 1)
        image, kernel = ("x".join(map(str, sizes)) for sizes in (self.image, self.kernel))
        return f"{self.images}, {self.channels}→{self.filters}, {image}, {kernel} p{self.padding}{rest}"

    @property
    def options(self) -> dict[str, Any]:
        dims = len(self.image)
        steps = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}
        return {name: (step,) * dims for name, step in steps.items()} | {"groups": self.groups}


def _shape(n: int, c: int, k: int, image: int | tuple[int, ...], kernel: int = 3, dims: int = 2, **rest: int) -> Shape:
    sizes = image if isinstance(image, tuple) else (image,) * dims
    padding = rest.pop("padding", rest.get("dilation", 1) * (kernel - 1) // 2)
    return Shape(n, c, k, sizes, (kernel,) * len(sizes), padding=padding, **rest)


GRID: dict[str, list[Shape]] = {
    "3x3": [
        _shape(1, 16, 16, 256), _shape(8, 16, 16, 128), _shape(8, 32, 16, 128), _shape(8, 16, 32, 64),
        _shape(8, 32, 32, 64), _shape(2, 32, 32, 256), _shape(8, 64, 32, 64), _shape(8, 64, 64, 32),
        _shape(32, 64, 64, 28), _shape(8, 128, 64, 32), _shape(8, 128, 128, 32), _shape(32, 128, 128, 14),
        _shape(8, 256, 256, 16), _shape(32, 256, 256, 7), _shape(4, 512, 512, 8), _shape(32, 512, 512, 7),
        _shape(1, 64, 64, 56), _shape(1, 128, 128, 28), _shape(1, 256, 256, 14), _shape(1, 512, 512, 7),
        _shape(8, 20, 20, 64), _shape(8, 24, 24, 64), _shape(8, 33, 33, 47), _shape(4, 48, 48, 61),
        _shape(4, 100, 100, 33), _shape(2, 64, 64, 100, padding=0), _shape(2, 64, 64, 30, padding=2),
    ],
    "few": [
        _shape(128, 1, 16, 28), _shape(8, 1, 16, 128), _shape(2, 1, 32, 256), _shape(8, 3, 16, 128),
        _shape(8, 3, 32, 64), _shape(32, 3, 64, 32), _shape(1, 3, 64, 224, 7, stride=2), _shape(8, 1, 32, 64, 7),
        _shape(8, 1, 8, 64, 5), _shape(8, 4, 8, 64), _shape(8, 8, 8, 128), _shape(8, 8, 16, 64), _shape(8, 16, 8, 64),
        _shape(8, 16, 1, 128, 1), _shape(8, 16, 3, 128, 1), _shape(8, 32, 2, 128, 1), _shape(8, 16, 1, 128),
        _shape(8, 32, 4, 64), _shape(8, 5, 5, 64), _shape(1, 1, 1, 256),
    ],
    "1x1": [
        _shape(8, 16, 16, 64, 1), _shape(8, 32, 64, 64, 1), _shape(32, 64, 64, 28, 1), _shape(8, 128, 128, 32, 1),
        _shape(8, 256, 64, 32, 1), _shape(8, 256, 256, 16, 1), _shape(32, 512, 512, 7, 1), _shape(1, 256, 256, 14, 1),
        _shape(8, 100, 33, 31, 1), _shape(8, 64, 128, 32, 1, stride=2),
    ],
    "strided": [
        _shape(32, 64, 128, 28, stride=2), _shape(8, 16, 32, 128, stride=2), _shape(8, 32, 64, 64, stride=2),
        _shape(8, 128, 256, 32, stride=2), _shape(32, 256, 512, 14, stride=2), _shape(8, 32, 32, 64, 2, stride=2),
        _shape(8, 64, 32, 64, 2, stride=2), _shape(8, 24, 40, 33, 3, stride=3),
    ],
    "windows": [
        _shape(8, 32, 32, 64, 5), _shape(8, 64, 64, 32, 5), _shape(8, 16, 16, 64, 7), _shape(8, 64, 64, 32, 2),
        _shape(4, 64, 64, 32, dilation=2), _shape(4, 32, 32, 64, dilation=4), _shape(8, 128, 128, 16, dilation=2),
    ],
    "groups": [
        _shape(8, 64, 64, 32, groups=4), _shape(32, 128, 128, 28, groups=32), _shape(8, 32, 64, 32, groups=2),
    ],
    "depthwise": [
        _shape(32, 64, 64, 28, groups=64), _shape(8, 32, 32, 112, groups=32), _shape(1, 144, 144, 56, groups=144),
        _shape(32, 512, 512, 7, groups=512), _shape(8, 100, 100, 30, 5, groups=100),
        _shape(8, 96, 96, 56, stride=2, groups=96),
    ],
    "1d": [
        _shape(16, 16, 16, 1024, 3, dims=1), _shape(16, 64, 64, 512, 5, dims=1), _shape(8, 128, 128, 256, 3, dims=1),
        _shape(32, 1, 32, 1000, 7, dims=1), _shape(8, 64, 64, 512, 3, dims=1, dilation=4),
    ],
    "3d": [
        _shape(1, 16, 16, 48, 3, dims=3), _shape(1, 32, 32, 32, 3, dims=3), _shape(2, 64, 64, 16, 3, dims=3),
        _shape(1, 1, 16, 64, 3, dims=3), _shape(1, 128, 128, 8, 3, dims=3), _shape(1, 32, 64, 32, 3, dims=3, stride=2),
        _shape(1, 32, 32, 32, 2, dims=3, stride=2), _shape(1, 16, 2, 48, 1, dims=3),
    ],
}  # fmt: skip


def parsed(text: str) -> Shape:
    """The shape that "8,64,64,32x32,3,s2,p1" means."""
    n, c, k, image, kernel, *rest = text.split(",")
    sizes = tuple(map(int, image.split("x")))
    names = {"s": "stride", "p": "padding", "d": "dilation", "g": "groups"}
    return _shape(int(n), int(c), int(k), sizes, int(kernel), **{names[part[0]]: int(part[1:]) for part in rest})


def channels_last(array: np.ndarray) -> np.ndarray:
    """The same (N, C, *space), lying channels-last, from a cache line on as results of our ops (and PyTorch's) do."""
    result = empty(CPU, array.shape, array.dtype, channels_last=True)
    result[...] = array
    return result


def draw(shape: Shape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, weight and gradient of the result."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((shape.images, shape.channels, *shape.image), np.float32)
    weight = rng.standard_normal((shape.filters, shape.channels // shape.groups, *shape.kernel), np.float32)
    return x, weight, rng.standard_normal((shape.images, shape.filters, *shape.windows), np.float32)


def ours(shape: Shape) -> dict[str, Step]:
    """Our three passes, on channels-last images."""
    x, weight, g = draw(shape)
    x_, w_, g_ = Tensor.of(channels_last(x)), Tensor.of(weight), Tensor.of(channels_last(g))
    return {
        "forward": lambda: Conv.apply(x_, w_, **shape.options),
        "input": lambda: ConvGradInput.apply(g_, w_, image=shape.image, **shape.options),
        "weight": lambda: ConvGradWeight.apply(x_, g_, kernel=shape.kernel, **shape.options),
    }


def theirs(torch: Any, shape: Shape, *, last: bool) -> dict[str, Step]:
    """PyTorch's three passes in one of its layouts."""
    x, weight, g = (torch.from_numpy(a) for a in draw(shape))
    if last and x.ndim > 3:
        memory = torch.channels_last if x.ndim == 4 else torch.channels_last_3d
        x, weight, g = (a.contiguous(memory_format=memory) for a in (x, weight, g))
    steps = [shape.options[name] for name in ("stride", "padding", "dilation")]
    none = [0] * len(shape.image)

    def backward(*mask: bool) -> Step:
        return lambda: torch.ops.aten.convolution_backward(
            g, x, weight, None, *steps, False, none, shape.groups, [*mask, False]
        )

    forward = lambda: torch.ops.aten.convolution(x, weight, None, *steps, False, none, shape.groups)  # noqa: E731
    return {"forward": forward, "input": backward(True, False), "weight": backward(False, True)}


def under(algorithm: str, step: Step) -> Step:
    """`step` with our algorithm set."""

    def run() -> Any:
        minidl.set_conv_algorithm(algorithm)
        return step()

    return run


def least(sides: dict[str, Step], rounds: int, clock: Callable[[], float]) -> dict[str, float]:
    """The least milliseconds of each side; they take turns, each when the others are at rest (`harness.py`)."""
    repeats = {}
    for name, step in sides.items():
        step()
        started = clock()
        step()
        repeats[name] = max(1, min(50, int(0.01 / max(clock() - started, 1e-6))))
    best = dict.fromkeys(sides, math.inf)
    for _ in range(rounds):
        for name, step in sides.items():
            time.sleep(REST_S)
            step()
            started = clock()
            for _ in range(repeats[name]):
                step()
            best[name] = min(best[name], (clock() - started) / repeats[name])
    return {name: 1e3 * seconds for name, seconds in best.items()}


def rows(shapes: Sequence[Shape], algorithms: Sequence[str], passes: Sequence[str], rounds: int, threads: int) -> Any:
    """One dictionary for every shape and pass."""
    import torch

    minidl.set_num_threads(threads)
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    for shape in shapes:
        own, rivals = ours(shape), {f"PyTorch {'last' if t else 'first'}": theirs(torch, shape, last=t) for t in (0, 1)}
        for what in passes:
            sides = {algorithm: under(algorithm, own[what]) for algorithm in algorithms}
            sides |= {name: steps[what] for name, steps in rivals.items()}
            with minidl.no_grad(), torch.no_grad():
                times = least(sides, rounds, clock)
            minidl.set_conv_algorithm("auto")
            rival = min(times[name] for name in rivals)
            yield asdict(shape) | {
                "title": shape.title, "pass": what, "threads": threads, "ms": times, "rival_ms": rival,
                "gflops": {name: shape.operations / ms / 1e6 for name, ms in times.items()},
                "ratio": {name: rival / times[name] for name in algorithms},
            }  # fmt: skip


def lines(found: Iterator[dict[str, Any]], algorithms: Sequence[str]) -> Iterator[str]:
    """The table, line by line, in Markdown."""
    heads = [f"{name} {what}" for name in algorithms for what in ("ms", "GFLOP/s", "ratio")]
    yield "| " + " | ".join(["shape", "pass", *heads, "PyTorch ms"]) + " |"
    yield "|---" * (3 + len(heads)) + "|"
    for row in found:
        cells = [
            f"{row[what][name]:.{digits}f}"
            for name in algorithms
            for what, digits in (("ms", 3), ("gflops", 0), ("ratio", 2))
        ]
        yield "| " + " | ".join([row["title"], row["pass"], *cells, f"{row['rival_ms']:.3f}"]) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description="Time convolutions over a grid of shapes, against PyTorch.")
    parser.add_argument("--only", nargs="+", choices=[*GRID], default=[*GRID], help="groups of shapes")
    parser.add_argument("--case", nargs="+", type=parsed, help="shapes of your own, instead: N,C,K,HxW,k[,s2][,p0]...")
    parser.add_argument("--algorithms", nargs="+", default=["auto"])
    parser.add_argument("--passes", nargs="+", choices=PASSES, default=PASSES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", help="a file for the figures")
    given = parser.parse_args()
    shapes = given.case or [shape for group in given.only for shape in GRID[group]]
    kept = []

    def found() -> Iterator[dict[str, Any]]:
        for row in rows(shapes, given.algorithms, given.passes, given.rounds, given.threads):
            kept.append(row)
            yield row

    for line in lines(found(), given.algorithms):
        print(line, flush=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump({"machine": machine(), "rows": kept}, file, indent=1)


if __name__ == "__main__":
    main()
