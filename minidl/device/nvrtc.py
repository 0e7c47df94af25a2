"""NVRTC, NVIDIA's compiler for CUDA C++ as a library: source text in, machine code for one GPU out. Needs no GPU.

Bound by ctypes to the library itself, so that the tests compile with what a GPU will run, without CuPy.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import re
from collections.abc import Mapping
from ctypes import byref, c_char_p, c_int, c_size_t, c_void_p
from ctypes.util import find_library
from pathlib import Path
from typing import Any, NamedTuple

from minidl.errors import KernelError

# Wheels that bring the library: that of CUDA 13 has no number in its name.
_WHEELS = ("nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
_LIBRARY = re.compile(r"(libnvrtc\.so\.\d+|nvrtc64_\d+_\d\.dll)$")


class Compiled(NamedTuple):
    """Machine code (a cubin), and what the compiler said: registers, spills and shared memory of each kernel."""

    cubin: bytes
    log: str


def compile_cubin(source: str, name: str, arch: str, macros: Mapping[str, str]) -> Compiled:
    """Compile CUDA C++ for one kind of GPU.

    A cubin and not PTX, because a driver that is older than the compiler cannot read its PTX.

    Args:
        name: shown in error messages.
        arch: such as "sm_90".
        macros: values of names that the source leaves open.

    Raises:
        KernelError: if NVRTC is not there or refuses the source; the sentence ends with its own words.
    """
    nvrtc = library()
    program = c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(byref(program), source.encode(), name.encode(), 0, None, None), name)
    try:
        # Without a cache of its own, which answers with code but without the log; ours is in `cuda.machine_code`.
        options = [
            f"-arch={arch}",
            "--std=c++17",
            "--no-cache",
            "--ptxas-options=-v",
            *[f"-D{k}={v}" for k, v in macros.items()],
        ]
        texts = (c_char_p * len(options))(*[option.encode() for option in options])
        failed = nvrtc.nvrtcCompileProgram(program, len(options), texts)
        log = _text(nvrtc, "ProgramLog", program, name).decode(errors="replace").rstrip("\0")
        if failed:
            raise KernelError(f"{name} cannot be compiled for {arch}: {log.strip() or _reason(nvrtc, failed)}")
        return Compiled(_text(nvrtc, "CUBIN", program, name), log)
    finally:
        nvrtc.nvrtcDestroyProgram(byref(program))


def version() -> tuple[int, int]:
    """Of the NVRTC library, such as (13, 0)."""
    major, minor = c_int(), c_int()
    _check(library(), library().nvrtcVersion(byref(major), byref(minor)), "nvrtcVersion")
    return major.value, minor.value


@functools.cache
def library() -> Any:
    """The library, found beside CuPy, in its wheel or on the system.

    Raises:
        KernelError: if there is none.
    """
    for place in (_beside_cupy, _in_wheel, lambda: find_library("nvrtc")):
        if path := place():
            try:
                for part in Path(path).parent.glob("libnvrtc-builtins.so.*"):
                    ctypes.CDLL(str(part))  # NVRTC opens it by name alone, and does not look in its own folder
                nvrtc = ctypes.CDLL(path)
            except OSError as error:
                raise KernelError(f"NVRTC, {path}, cannot be loaded: {error}") from error
            nvrtc.nvrtcGetErrorString.restype = c_char_p
            return nvrtc
    raise KernelError('NVRTC, the compiler of CUDA kernels, is not installed; pip install "minidl[cuda13]"')


def _beside_cupy() -> str | None:
    """The one that CuPy uses: both must not be of different CUDA versions."""
    try:
        from cuda import pathfinder
    except ImportError:
        return None
    try:
        return str(pathfinder.load_nvidia_dynamic_lib("nvrtc").abs_path)
    except Exception:  # its errors share no base class, and there are other places to look
        return None


def _in_wheel() -> str | None:
    for wheel in _WHEELS:
        try:
            files = importlib.metadata.files(wheel) or ()
        except importlib.metadata.PackageNotFoundError:
            continue
        for file in files:
            if _LIBRARY.search(file.name):
                return str(file.locate())
    return None


def _text(nvrtc: Any, what: str, program: c_void_p, name: str) -> bytes:
    size = c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, byref(size)), name)
    content = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, content), name)
    return content.raw


def _check(nvrtc: Any, failed: int, name: str) -> None:
    if failed:
        raise KernelError(f"{name}: NVRTC says {_reason(nvrtc, failed)}")


def _reason(nvrtc: Any, code: int) -> str:
    return str(nvrtc.nvrtcGetErrorString(code).decode())
