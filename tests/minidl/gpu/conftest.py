"""The device of these tests: a stand-in for CuPy on every machine, and the GPU itself where there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from minidl.core import registry
from minidl.device import cuda as kernels
from minidl.device import cuda_status, gpu
from tests.minidl.gpu import cuda_on_cpu, strict_array


@pytest.fixture(params=["stand-in", pytest.param("GPU", marks=pytest.mark.gpu)])
def cuda(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of the device."""
    if request.param == "GPU":
        yield "cuda"
        return
    with stand_in():
        yield "cuda"


class stand_in:
    """Inside the block "cuda" is the stand-in: arrays are strict, and CUDA kernels run on the CPU."""

    def __init__(self, load: Callable[..., kernels.Function] = cuda_on_cpu.load) -> None:
        self.load = load

    def __enter__(self) -> None:
        self.patch, module = pytest.MonkeyPatch(), strict_array.Module()
        self.patch.setattr(strict_array.Module, "now", module)
        self.patch.setattr(gpu, "cupy", lambda: module)
        self.patch.setattr(kernels, "load", self.load)
        if cuda_on_cpu.shutil.which("g++") is None:  # what has a CUDA kernel runs its reference
            for op in registry.ops.values():
                self.patch.setattr(op, "cuda", None)
        cuda_status.cache_clear()

    def __exit__(self, *error: object) -> None:
        self.patch.undo()
        cuda_status.cache_clear()
