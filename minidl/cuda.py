"""The GPU, under PyTorch's names: whether there is one, what it is called, and waiting for it."""

from __future__ import annotations

from minidl.device import cuda_status, gpu, gpu_name
from minidl.device import device as find_device

__all__ = ["device_count", "get_device_name", "is_available", "synchronize"]


def is_available() -> bool:
    """Whether "cuda" can be used; `minidl info` says why not.

    >>> import minidl
    >>> device = "cuda" if minidl.cuda.is_available() else "cpu"
    """
    return cuda_status() is None


def device_count() -> int:
    """How many GPUs this process can use: one, or none. CUDA_VISIBLE_DEVICES chooses which."""
    return int(is_available())


def get_device_name() -> str:
    """What the GPU calls itself.

    Raises:
        DeviceError: if there is none that can be used.
    """
    find_device("cuda")
    return gpu_name()


def synchronize() -> None:
    """Wait until the GPU has done all it was told to: kernels run on after the call that started them has returned.

    Raises:
        DeviceError: if there is none that can be used.
    """
    find_device("cuda")
    gpu.cupy().cuda.Device().synchronize()
