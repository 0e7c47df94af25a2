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
import time
from pathlib import Path
from typing import Any

from benchmarks import harness, report

STARTUP = {
    "import": ("import minidl", "import torch"),
    "first training step of a small CNN": (
        "import minidl; from benchmarks.networks import NETWORKS; from benchmarks.sides import Trainer; "
        "Trainer(minidl, NETWORKS[3]).train_step()",
        "import torch; from benchmarks.networks import NETWORKS; from benchmarks.sides import Trainer; "
        "Trainer(torch, NETWORKS[3]).train_step()",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time minidl beside PyTorch, in one run.")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="networks or ops by name, such as unet16 conv2d"
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="thread counts (default: 1 2)")
    parser.add_argument("--quick", action="store_true", help="three rounds each, to see that it runs")
    parser.add_argument(
        "--out", type=Path, default=Path("docs/benchmarks"), help="folder for results.json and index.md"
    )
    args = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print('benchmarks: PyTorch, the rival, is not installed; pip install "minidl[bench]"', file=sys.stderr)
        return 2
    rounds, seconds = (3, 0.0) if args.quick else (15, 4.0)
    results: dict[str, Any] = {"agreement": {}, "networks": [], "ops": []}
    for position, threads in enumerate(args.threads):
        part = _worker(threads, {"only": args.only, "rounds": rounds, "seconds": seconds, "proofs": position == 0})
        results["agreement"].update(part["agreement"])
        for kind in ("networks", "ops"):
            results[kind] += part[kind]
    for rows in (results["networks"], results["ops"]):
        titles = list(dict.fromkeys(row["title"] for row in rows))
        rows.sort(key=lambda row, titles=titles: titles.index(row["title"]))  # thread counts side by side
    startup = {} if args.only else {what: _startup(*codes) for what, codes in STARTUP.items()}
    date = datetime.date.today().isoformat()
    for path in report.write(args.out, {"date": date, "machine": harness.machine(), "startup": startup, **results}):
        print(path)
    return 0


def _worker(threads: int, options: dict[str, Any]) -> dict[str, Any]:
    """All rows at one thread count, in a process whose BLAS has as many threads."""
    environment = {**os.environ, **{f"{lib}_NUM_THREADS": str(threads) for lib in ("OMP", "OPENBLAS", "MKL")}}
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps({"threads": threads, **options})]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _startup(ours: str, theirs: str, repeats: int = 5) -> dict[str, float]:
    """Median seconds of whole processes, in turn, after one of each to warm the caches."""
    times: dict[str, list[float]] = {"minidl": [], "torch": []}
    for _ in range(repeats + 1):
        for side, code in (("minidl", ours), ("torch", theirs)):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True)
            times[side].append(time.perf_counter() - start)
    return {side: statistics.median(seconds[1:]) for side, seconds in times.items()}


if __name__ == "__main__":
    sys.exit(main())
