"""Whether a GPU can be used is answered in one clause, whatever is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import minidl
from minidl import cli
from minidl.device import cuda_status, gpu
from minidl.errors import DeviceError
from tests.minidl.gpu.conftest import stand_in


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    cuda_status.cache_clear()
    yield
    cuda_status.cache_clear()


def raising(error: Exception) -> Callable[..., Any]:
    def function(*args: Any) -> Any:
        raise error

    return function


def found(**parts: Any) -> Callable[[], Any]:
    module = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: True), **parts)
    return lambda: module


BROKEN = {
    "CuPy is not installed": raising(DeviceError("CuPy is not installed; pip install it")),
    "CuPy cannot compute on it (libcudart.so.13: cannot open)": raising(OSError("libcudart.so.13: cannot open\nmore")),
    "CuPy is installed, but found no CUDA device": lambda: SimpleNamespace(
        cuda=SimpleNamespace(is_available=lambda: False)
    ),
    "CuPy cannot compute on it (no libnvrtc.so.13)": found(ones=raising(RuntimeError("no libnvrtc.so.13"))),
    "CuPy cannot compute on it (KeyError)": found(ones=raising(KeyError())),
}


@pytest.mark.parametrize(("reason", "cupy"), BROKEN.items(), ids=list(BROKEN))
def test_every_failure_is_one_clause(
    reason: str, cupy: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "cupy", cupy)
    status = cuda_status()
    assert status is not None
    assert status.startswith(reason)
    assert "\n" not in status
    with pytest.raises(DeviceError) as raised:
        minidl.zeros(2, device="cuda")
    assert str(raised.value) == f"device: 'cuda' cannot be used: {status}"
    cli.main(["info"])
    assert capsys.readouterr().out.splitlines()[-1] == f"GPU      none: {status}"


def test_a_usable_gpu_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with stand_in():
        assert cuda_status() is None
        cli.main(["info"])
    assert capsys.readouterr().out.splitlines()[-1] == "GPU      stand-in"


def test_where_a_gpu_is_required_its_absence_is_a_failure() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/minidl/gpu/test_ops.py"]
    command += ["-k", "GPU and float32-abs"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}  # options of this run
    done = subprocess.run(command, env={**env, "MINIDL_REQUIRE_GPU": "1"}, capture_output=True, text=True)
    assert done.returncode == (1 if cuda_status() else 0), done.stdout + done.stderr
    assert ("no GPU: " in done.stdout) == bool(cuda_status())


def test_pytorchs_questions_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    with stand_in():
        assert (minidl.cuda.is_available(), minidl.cuda.device_count()) == (True, 1)
        assert minidl.cuda.get_device_name() == "stand-in"
        minidl.cuda.synchronize()
    monkeypatch.setattr(gpu, "cupy", raising(DeviceError("CuPy is not installed")))
    assert (minidl.cuda.is_available(), minidl.cuda.device_count()) == (False, 0)
    for question in (minidl.cuda.get_device_name, minidl.cuda.synchronize):
        with pytest.raises(DeviceError, match="CuPy is not installed"):
            question()
