"""`python -m benchmarks.roofline grid.json`: the rates of `benchmarks.conv_grid` under this machine's two roofs.

A kernel can be no faster than the processor multiplies, nor than memory brings it numbers (Williams, Waterman and
Patterson 2009, "Roofline", CACM 52). Both roofs are measured by kernels of our own: multiply-adds on data in the
first-level cache, and a = b + s·c over arrays far larger than any cache. Operations are those of the plain sum, so
Winograd's algorithm, which does fewer, may lie above the roof; bytes are each number read or written once.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks.conv_grid import lines
from minidl.core import Array
from minidl.device import kernel, parallel
from minidl.device.microkernel import gemm_block, pack_panels
from minidl.device.vectors import aligned_empty

MARKS = {"forward": "o", "input": "^", "weight": "s"}
M, N, K, TIMES = 24, 32, 128, 2000  # A, B and C take 31 KiB; two vectors of AVX-512, four of AVX2
TRIAD = 1 << 24


@kernel("T[::1], const T[::1], const T[::1], intp", T=("float32",))
def _multiply(begin: int, end: int, c: Array, a: Array, packed: Array, times: int) -> None:
    for unit in range(begin, end):
        for _ in range(times):
            gemm_block(c, unit * M * N, N, a, 0, K, packed, 0, M, N, K, True)


@kernel("T[::1], const T[::1], const T[::1], T", T=("float32",))
def _triad(begin: int, end: int, a: Array, b: Array, c: Array, s: float) -> None:
    for i in range(begin, end):
        a[i] = b[i] + s * c[i]


def roofs(threads: int) -> tuple[float, float]:
    """GFLOP/s and GB/s of this machine on so many threads: the best of ten runs."""
    minidl.set_num_threads(threads)
    f32 = np.dtype(np.float32)
    a, c = aligned_empty(M * K, f32), aligned_empty(threads * M * N, f32)
    a[:], c[:] = 1, 0
    packed = pack_panels(np.ones((K, N), f32))
    multiply = _best(lambda: parallel(_multiply, threads, c, a, packed, TIMES, block=1))
    x, y, z = (np.ones(TRIAD, f32) for _ in range(3))
    move = _best(lambda: parallel(_triad, TRIAD, x, y, z, 3.0, block=TRIAD // 32))
    return 2e-9 * M * N * K * TIMES * threads / multiply, 3e-9 * x.nbytes / move


def _best(step: Any) -> float:
    step()
    times = []
    for _ in range(10):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def intensity(row: dict[str, Any]) -> float:
    """Operations a byte, where image, weight and result are each read or written once."""
    spans = [row["dilation"] * (k - 1) + 1 for k in row["kernel"]]
    windows = [(n + 2 * row["padding"] - s) // row["stride"] + 1 for n, s in zip(row["image"], spans, strict=True)]
    taps = math.prod(row["kernel"]) * row["channels"] // row["groups"]
    results = row["images"] * row["filters"] * math.prod(windows)
    pixels = row["images"] * row["channels"] * math.prod(row["image"])
    return 2 * results * taps / (4 * (pixels + results + row["filters"] * taps))


def draw(grid: dict[str, Any], peak: float, bandwidth: float, file: Path) -> None:
    """The picture."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    x = np.geomspace(0.5, 2000, 200)
    axes.plot(x, np.minimum(peak, bandwidth * x), color="black", label=f"{peak:.0f} GFLOP/s, {bandwidth:.0f} GB/s")
    for what, mark in MARKS.items():
        rows = [row for row in grid["rows"] if row["pass"] == what]
        at = [intensity(row) for row in rows]
        best = [max(rate for name, rate in row["gflops"].items() if name.startswith("PyTorch")) for row in rows]
        axes.plot(at, best, mark, color="0.7", markersize=4, label=f"PyTorch, {what}")
        axes.plot(
            at, [row["gflops"]["auto"] for row in rows], mark, color="tab:blue", markersize=5, label=f"ours, {what}"
        )
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s of the plain sum")
    threads = grid["rows"][0]["threads"]
    axes.set_title(f"Convolutions on {grid['machine']['processor']}, {threads} thread{'s' * (threads > 1)}")
    axes.grid(alpha=0.3, which="both")
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=120)


def page(grid: dict[str, Any], peak: float, bandwidth: float, picture: str) -> str:
    """The picture and the table in Markdown."""
    rows, machine = grid["rows"], grid["machine"]
    means = [
        f"{what} {math.exp(sum(math.log(row['ratio']['auto']) for row in part) / len(part)):.2f}"
        for what in MARKS
        if (part := [row for row in rows if row["pass"] == what])
    ]
    threads, torch = rows[0]["threads"], machine.get("torch")
    head = f"""# Convolutions

{machine["processor"]}, {threads} threads, Python {machine["python"]}, PyTorch {torch}. Printed by
`python -m benchmarks.conv_grid --threads {threads} --json grid.json` and `python -m benchmarks.roofline grid.json`.

![Rates of all convolutions under the roofs of the machine]({picture})

The roofs are {peak:.0f} GFLOP/s and {bandwidth:.0f} GB/s, measured by kernels of our own. Operations are those of the
plain sum, so Winograd's algorithm may lie above. Ratios are PyTorch's time over ours, in its better layout: above 1,
ours is faster; geometric means over all shapes: {", ".join(means)}. Times are the least ones of
the kernels, without tensors and tape around them.

"""
    return head + "\n".join(lines(iter(rows), ["auto"])) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the rates of a grid of convolutions under the machine's roofs.")
    parser.add_argument("grid", type=Path, help="what benchmarks.conv_grid --json wrote on this machine")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/roofline.png"))
    given = parser.parse_args()
    grid = json.loads(given.grid.read_text(encoding="utf-8"))
    peak, bandwidth = roofs(grid["rows"][0]["threads"])
    draw(grid, peak, bandwidth, given.out)
    given.out.with_name("convolutions.md").write_text(page(grid, peak, bandwidth, given.out.name), encoding="utf-8")
    print(f"{given.out}: {peak:.0f} GFLOP/s, {bandwidth:.1f} GB/s")


if __name__ == "__main__":
    main()
