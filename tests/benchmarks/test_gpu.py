"""The GPU benchmark runs, on the stand-in for CuPy; its times there mean nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import gpu as benchmark
from minidl.device import cuda_status, gpu
from minidl.errors import DeviceError
from tests.minidl.gpu.conftest import stand_in


def test_every_row_runs_and_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "_torch", lambda: None)
    with stand_in():
        assert benchmark.main(["--quick", "--out", str(tmp_path / "gpu.json")]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["machine"]["GPU"] == "stand-in"
    assert [row["name"].split()[0] for row in found["rows"]] == [
        *("copy", "matmul", "conv2d", "max_pool2d", "training", "training"),
    ]
    assert all(row["ms"]["ours"] > 0 for row in found["rows"])


def test_without_a_gpu_it_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def not_installed() -> None:
        raise DeviceError("CuPy is not installed")

    monkeypatch.setattr(gpu, "cupy", not_installed)
    cuda_status.cache_clear()
    assert benchmark.main([]) == 2
    cuda_status.cache_clear()
    assert capsys.readouterr().err == "benchmarks.gpu: no GPU: CuPy is not installed\n"
