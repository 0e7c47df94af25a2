"""Whether a GPU can be used, and if not, why. The only place that imports CuPy, and only when CUDA is asked for."""

from __future__ import annotations

import functools
from typing import Any

from minidl.errors import DeviceError


@functools.cache
def cuda_status() -> str | None:
    """None if CUDA can be used, else one clause that says why not. Never raises; asked once."""
    try:
        if not cupy().cuda.is_available():
            return "CuPy is installed, but found no CUDA device or no driver for it"
        ones = cupy().ones((2, 2), "float32")
        (ones @ ones + ones).get()  # the driver, cuBLAS and NVRTC with its headers: each of them can be missing
    except DeviceError as error:
        return str(error)
    except Exception as error:  # what a broken installation raises has no common base
        return f"CuPy cannot compute on it ({str(error).partition(chr(10))[0] or type(error).__name__})"
    return None


def gpu_name() -> str:
    """What the GPU calls itself."""
    return str(cupy().cuda.runtime.getDeviceProperties(0)["name"].decode())


def cupy() -> Any:
    """The module CuPy: the one place where it is imported, and the seam where tests put their stand-in.

    Raises:
        DeviceError: if it is not installed.
    """
    try:
        import cupy
    except ImportError as error:
        raise DeviceError('CuPy is not installed; pip install "minidl[cuda12]" or "minidl[cuda13]"') from error
    return cupy
