"""`python -m benchmarks`: everything, into docs/benchmarks/."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import harness, report
from benchmarks.memory import training_step_mib
from benchmarks.networks import NETWORKS
from benchmarks.ops import OPS

_STEP = (
    "import {lib}; from benchmarks.networks import NETWORKS; from benchmarks.sides import Trainer; "
    "Trainer({lib}, next(n for n in NETWORKS if n.name == '{network}')).train_step()"
)
# What a fresh process does; ours once more with no kernel compiled before, where `cold` says so.
STARTUP = {
    "import": ("import {lib}", False),
    "first training step of a small CNN": (_STEP.replace("{network}", "small_cnn"), False),
    "first training step of a U-Net": (_STEP.replace("{network}", "unet16"), False),
    "the same on a fresh machine: kernels are compiled": (_STEP.replace("{network}", "unet16"), True),
}
MEMORY = ("unet16", "unet32", "unet3d", "resnet18", "vgg")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time minidl beside PyTorch, in one run.")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="networks or ops by name, such as unet16 conv2d"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="thread counts (default: 1 2)")
    parser.add_argument(
        "--others", nargs="+", default=[], choices=["compile", "onnxruntime"], help="further rivals of the networks"
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="time for a row, beyond three rounds (default: 4)")
    parser.add_argument("--quick", action="store_true", help="three rounds each, to see that it runs")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder for results.json and index.md"
    )
    args = parser.parse_args()
    if unknown := sorted({*args.only} - {n.name for n in NETWORKS} - {case.name for case in OPS}):
        parser.error(f"--only: no network or op is called {', '.join(unknown)}")
    if importlib.util.find_spec("torch") is None:
        print('benchmarks: PyTorch, the rival, is not installed; pip install "minidl[bench]"', file=sys.stderr)
        return 2
    rounds, seconds = (3, 0.0) if args.quick else (15, args.seconds)
    results: dict[str, Any] = {"agreement": {}, "networks": [], "ops": []}
    options = {"only": args.only, "rounds": rounds, "seconds": seconds, "others": args.others}
    for position, threads in enumerate(args.threads):
        part = _worker(threads, {**options, "proofs": position == 0})
        results["agreement"].update(part["agreement"])
        for kind in ("networks", "ops"):
            results[kind] += part[kind]
    for rows in (results["networks"], results["ops"]):
        titles = list(dict.fromkeys(row["title"] for row in rows))
        rows.sort(key=lambda row, titles=titles: titles.index(row["title"]))  # thread counts side by side
    results["startup"] = {} if args.only else {what: _startup(*code) for what, code in STARTUP.items()}
    results["memory"] = {name: _memory(name) for name in MEMORY if not args.only or name in args.only}
    date = datetime.date.today().isoformat()
    for path in report.write(args.out, {"date": date, "machine": harness.machine(), **results}):
        print(path)
    return 0


def _worker(threads: int, options: dict[str, Any]) -> dict[str, Any]:
    """All rows at one thread count, in a process whose BLAS has as many threads."""
    environment = {**os.environ, **{f"{lib}_NUM_THREADS": str(threads) for lib in ("OMP", "OPENBLAS", "MKL")}}
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps({"threads": threads, **options})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _startup(code: str, cold: bool, repeats: int = 5) -> dict[str, float]:
    """Median seconds of whole processes, in turn, after one of each to warm the caches of the system.

    Python keeps what it makes of source files, as installers see to. With `cold`, ours gets a new folder for compiled
    kernels each time.
    """
    keeping = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {"minidl": [], "torch": []}
    for _ in range(2 if cold else repeats + 1):
        for lib, seconds in times.items():
            with tempfile.TemporaryDirectory() as folder:
                environment = {**keeping, "XDG_CACHE_HOME": folder} if cold else keeping
                start = time.perf_counter()
                subprocess.run([sys.executable, "-c", code.format(lib=lib)], env=environment, check=True)
                seconds.append(time.perf_counter() - start)
    return {lib: statistics.median(seconds[1:]) for lib, seconds in times.items()}


def _memory(network: str) -> dict[str, float]:
    """Peak MiB of a training step; PyTorch's in the layout that takes less."""
    theirs = [training_step_mib("torch", network, layout) for layout in ("NCHW", "channels-last")]
    return {"minidl": training_step_mib("minidl", network), "torch": min(theirs)}


if __name__ == "__main__":
    sys.exit(main())
