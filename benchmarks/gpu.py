"""`python -m benchmarks.gpu`: copies, ops and training steps on the GPU, beside PyTorch's where it has CUDA."""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import minidl
from benchmarks.networks import NETWORKS, Network
from benchmarks.sides import Trainer
from minidl.device import cuda_status, gpu, gpu_name

Step = Callable[[], Any]
TRAINED = ("small_cnn", "unet16")
NO_GPU = 2  # the exit code of a machine that cannot run this


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description="Time minidl on the GPU.")
    parser.add_argument("--quick", action="store_true", help="small arrays and one round, to see that it runs")
    parser.add_argument("--seconds", type=float, default=10, help="for each row (default: 10)")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/gpu.json"))
    args = parser.parse_args(arguments)
    if reason := cuda_status():
        print(f"benchmarks.gpu: no GPU: {reason}", file=sys.stderr)
        return NO_GPU
    torch = _torch()
    found = {"machine": machine(torch), "rows": []}
    for name, work, sides in cases(torch, quick=args.quick):
        times = compare(sides, torch, seconds=0 if args.quick else args.seconds)
        row = {
            "name": name,
            "ms": times,
            **{f"{key}_per_s": amount * 1e3 / times["ours"] for key, amount in work.items()},
        }
        found["rows"].append(row)
        print(json.dumps(row), flush=True)
    args.out.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def cases(torch: Any, *, quick: bool) -> Iterator[tuple[str, Mapping[str, float], dict[str, Step]]]:
    """Name, amount of work in one step (GB or GFLOP), and the step of each side."""
    rng = np.random.default_rng(0)
    small = 8 if quick else 1
    libraries = {"ours": minidl, "torch": torch} if torch else {"ours": minidl}

    def draw(*shape: int) -> dict[str, Any]:
        values = rng.standard_normal(shape, np.float32)
        return {side: lib.tensor(values).to("cuda") for side, lib in libraries.items()}

    x = draw(1 << 26 >> (small - 1))
    yield "copy", {"GB": 2 * 4e-9 * x["ours"].numel()}, {side: t.clone for side, t in x.items()}
    n = 4096 // small
    x, y = draw(n, n), draw(n, n)
    yield f"matmul {n}", {"GFLOP": 2e-9 * n**3}, {side: lambda s=side: x[s] @ y[s] for side in libraries}
    images, weight = draw(32 // small, 32, 128, 128), draw(64, 32, 3, 3)
    work = {"GFLOP": 2e-9 * images["ours"].numel() * 9 * 64}
    yield (
        "conv2d 32 to 64 channels, 3x3, 128x128",
        work,
        {
            side: lambda s=side, f=lib.nn.functional: f.conv2d(images[s], weight[s], padding=1)
            for side, lib in libraries.items()
        },
    )
    yield (
        "max_pool2d 3x3, stride 2, 128x128, forward and backward",
        {},
        {side: lambda s=side, f=lib.nn.functional: _pool(f, images[s]) for side, lib in libraries.items()},
    )
    for network in (n for n in NETWORKS if n.name in TRAINED):
        yield (
            f"training step of {network.name}",
            {},
            {
                side: GpuTrainer(lib, network.smaller() if quick else network).train_step
                for side, lib in libraries.items()
            },
        )


def _pool(functional: Any, images: Any) -> None:
    leaf = images.detach().requires_grad_()
    functional.max_pool2d(leaf, 3, 2, 1).sum().backward()


class GpuTrainer(Trainer):
    """A network, its data and Adam on the GPU. The loss is read in every step, on both sides."""

    def __init__(self, lib: Any, network: Network) -> None:
        super().__init__(lib, network)
        self.model, self.x, self.target = self.model.to("cuda"), self.x.to("cuda"), self.target.to("cuda")
        self.optimizer = lib.optim.Adam(self.model.parameters(), lr=1e-3)


def compare(sides: Mapping[str, Step], torch: Any, *, seconds: float) -> dict[str, float]:
    """Median milliseconds of a step; sides take turns after a warm-up, and the GPU is waited for before and after."""
    times: dict[str, list[float]] = {side: [] for side in sides}
    for step in sides.values():
        for _ in range(3):
            step()
    end = time.perf_counter() + seconds
    while not times["ours"] or time.perf_counter() < end:
        for side, step in sides.items():
            _wait(torch)
            start = time.perf_counter()
            step()
            _wait(torch)
            times[side].append((time.perf_counter() - start) * 1e3)
    return {side: statistics.median(all_times) for side, all_times in times.items()}


def _wait(torch: Any) -> None:
    gpu.cupy().cuda.Device().synchronize()
    if torch:
        torch.cuda.synchronize()


def _torch() -> Any:
    """PyTorch, where it is installed and can use the GPU."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def machine(torch: Any) -> dict[str, Any]:
    """What the figures belong to; those of two GPUs are never mixed in one table."""
    cupy = gpu.cupy()
    return {
        "date": datetime.date.today().isoformat(),
        "GPU": gpu_name(),
        "CUDA driver": cupy.cuda.runtime.driverGetVersion(),
        "CUDA runtime": cupy.cuda.runtime.runtimeGetVersion(),
        "CuPy": cupy.__version__,
        "NumPy": np.__version__,
        "minidl": minidl.__version__,
        "PyTorch": torch.__version__ if torch else None,
        "PyTorch's convolutions use TF32": torch.backends.cudnn.allow_tf32 if torch else None,
    }


if __name__ == "__main__":
    sys.exit(main())
