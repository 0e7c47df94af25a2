"""One process of the benchmarks: all rows at one thread count. Prints its rows as JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import minidl
from benchmarks.harness import Row, compare
from benchmarks.networks import NETWORKS, Network
from benchmarks.ops import OPS, OpCase
from benchmarks.sides import Trainer, compiled, onnxruntime_step, op_step, pair, prove


def main(threads: int, only: list[str], rounds: int, seconds: float, proofs: bool, others: list[str]) -> None:
    import torch

    torch.set_num_threads(threads)
    minidl.set_num_threads(threads)
    wanted = [n for n in NETWORKS if not only or n.name in only]
    agreement = {n.title: prove(n, torch) for n in wanted} if proofs else {}
    limits = {"threads": threads, "rounds": rounds, "seconds": seconds}
    networks = [row for n in wanted for row in _network_rows(n, torch, others, limits)]
    ops = [row for case in OPS if not only or case.name in only for row in _op_rows(case, torch, limits)]
    print(json.dumps({"agreement": agreement, "networks": networks, "ops": ops}))


def _network_rows(network: Network, torch: Any, others: list[str], limits: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _network_row(network, torch, "training step", others, limits),
        _network_row(network, torch, "inference", others, limits),
        _network_row(network.one(), torch, "inference, batch 1", others, limits),
    ]


def _network_row(network: Network, torch: Any, what: str, others: list[str], limits: dict[str, Any]) -> dict[str, Any]:
    ours, theirs = pair(network, torch)
    sides = {"steps first" if network.sequence else "NCHW": theirs}
    if len(network.shape) in (4, 5):
        sides["channels-last"] = Trainer(torch, network, channels_last=True)
    method = "train_step" if what == "training step" else "infer"
    rivals = {layout: getattr(side, method) for layout, side in sides.items()}
    further = {}
    if "compile" in others:
        further["torch.compile"] = getattr(compiled(torch, network), method)
    if "onnxruntime" in others and method == "infer":
        further["onnxruntime"] = onnxruntime_step(torch, network, limits["threads"])
    row = compare(getattr(ours, method), rivals, further, name=network.name, title=network.title, what=what, **limits)
    return _told(row)


def _op_rows(case: OpCase, torch: Any, limits: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for what, backward in (("forward", False), ("forward and backward", True)):
        rivals = {"NCHW": op_step(torch, case, backward=backward)}
        if len(case.shapes[0]) == 4 and not case.contiguous:
            rivals["channels-last"] = op_step(torch, case, backward=backward, channels_last=True)
        ours = op_step(minidl, case, backward=backward, channels_last=not case.contiguous)
        rows.append(_told(compare(ours, rivals, name=case.name, title=case.title, what=what, **limits)))
    return rows


def _told(row: Row) -> dict[str, Any]:
    """The row, after a line to whoever waits."""
    print(
        f"{row.title:45} {row.what:22} {row.threads} thread(s)  ours {row.ours_ms:9.3f} ms"
        f"  PyTorch {row.rival_ms:9.3f} ms  ratio {row.ratio.median:.2f}"
        + "".join(f"  {other} {ratio.median:.2f}" for other, ratio in row.others.items()),
        file=sys.stderr,
        flush=True,
    )
    return row.to_dict()


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    main(**options)
