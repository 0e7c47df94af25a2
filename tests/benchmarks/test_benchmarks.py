"""The benchmarks still run, and agree; their times decide nothing here."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.networks import NETWORKS
from benchmarks.report import markdown

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("network", [n for n in NETWORKS if n.name in ("small_cnn", "mlp")], ids=lambda n: n.name)
def test_twenty_adam_steps_follow_pytorch(network) -> None:
    """prove raises when float64 differs; the larger networks are proven by `make bench` itself."""
    from benchmarks.sides import prove

    assert prove(network, torch)["losses, float32"] < 1e-3


@pytest.mark.slow
def test_the_command_writes_json_and_a_page(tmp_path) -> None:
    command = [
        sys.executable,
        "-m",
        "benchmarks",
        "--quick",
        "--only",
        "mlp",
        "relu",
        "--threads",
        "1",
        "--out",
        str(tmp_path),
    ]
    subprocess.run(command, check=True, capture_output=True)
    result = json.loads((tmp_path / "results.json").read_text())
    assert {row["name"] for row in result["networks"] + result["ops"]} == {"mlp", "relu"}
    page = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert page == markdown(result)
    assert "MLP 784-512-256-10" in page
