"""`python -m benchmarks.launches unet16`: where the time of a step goes, kernel by kernel, and how much is outside."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from typing import Any

import minidl
from benchmarks.networks import NETWORKS, Network
from benchmarks.sides import Step, Trainer
from minidl.core.tape import Call, launching

Kind = tuple[str, str, int]  # an op, the shapes that it met, and their bytes: what it must read and write at least
WHAT = ("train", "infer", "one")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.launches", description=__doc__.split(": ", 1)[1])
    parser.add_argument("network", choices=[network.name for network in NETWORKS])
    parser.add_argument("what", nargs="?", choices=WHAT, default="train", help="'one': inference of a single image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--shapes", action="store_true", help="a line for each shape, not for each op")
    parser.add_argument("--most", type=int, default=40, help="lines")
    args = parser.parse_args()
    minidl.set_num_threads(args.threads)
    network = next(network for network in NETWORKS if network.name == args.network)
    whole, kernels = profile(_step(network, args.what), args.rounds)
    inside = sum(map(sum, kernels.values()))
    print(f"{network.title}, {args.what}: {1e3 * whole:.2f} ms, in kernels {1e3 * inside:.2f} ms")
    lines: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0])
    for (name, shapes, size), times in kernels.items():
        line = lines[f"{name} {shapes}" if args.shapes else name]
        for i, more in enumerate((len(times), sum(times), len(times) * size)):
            line[i] += more
    for name, (calls, seconds, moved) in sorted(lines.items(), key=lambda line: -line[1][1])[: args.most]:
        rate = 1e-9 * moved / seconds
        print(f"{1e3 * seconds:8.3f} ms {seconds / whole:6.1%} {calls:5.0f}× {rate:6.1f} GB/s  {name}")
    return 0


def _step(network: Network, what: str) -> Step:
    trainer = Trainer(minidl, network.one() if what == "one" else network)
    return trainer.train_step if what == "train" else trainer.infer


def profile(step: Step, rounds: int) -> tuple[float, dict[Kind, list[float]]]:
    """Median seconds of a step, and of each launch in it, by op and shapes.

    A launch is timed from inside Python: it holds what the kernel's own Python code takes (some 10 us).
    """
    step()
    wholes: list[float] = []
    launches: list[list[tuple[Kind, float]]] = []

    def timed(call: Call) -> None:
        start = time.perf_counter()
        call.run()
        launches[-1].append((_kind(call), time.perf_counter() - start))

    for _ in range(rounds):
        start = time.perf_counter()
        step()
        wholes.append(time.perf_counter() - start)
        launches.append([])
        with launching(timed):
            step()
    kernels: dict[Kind, list[float]] = defaultdict(list)
    for turns in zip(*launches, strict=True):  # one launch of the step, round by round
        kernels[turns[0][0]].append(statistics.median(seconds for _, seconds in turns))
    return statistics.median(wholes), kernels


def _kind(call: Call) -> Kind:
    results: tuple[Any, ...] = call.out if isinstance(call.out, tuple) else (call.out,)
    into, out = ([f"{'×'.join(map(str, a.shape))}" for a in arrays] for arrays in (call.inputs, results))
    return call.op.name, f"{', '.join(into)} -> {', '.join(out)}", sum(a.nbytes for a in (*call.inputs, *results))


if __name__ == "__main__":
    sys.exit(main())
