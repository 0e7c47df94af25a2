"""Runs CUDA kernels on the CPU: the same `.cuh` file, compiled by g++ with `cuda_on_cpu.h` in place of CUDA."""

from __future__ import annotations

import atexit
import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from minidl.device.cuda import BLOCK, Function, source_of

HEADER = Path(__file__).with_name("cuda_on_cpu.h")
KERNEL = r"__global__\s+void\s+(?:BOUNDS\s+)?(\w+)"
CHECKS = ("-fsanitize=address", "-g")
LAUNCHER = """
extern "C" void launch_{name}(unsigned blocks, unsigned threads, int backwards, void **arguments)
{{
    launch({name}, blocks, threads, backwards, arguments);
}}
"""


def load(path: str, name: str, real: str, index: str, *, backwards: bool = False, checked: bool = False) -> Function:
    """In place of `minidl.device.cuda.load`: kernel `name`, to be run on arrays in main memory.

    Args:
        backwards: the last thread first.
        checked: end the process at the first access outside of an array; `sanitizer` must have been loaded before.
    """
    launcher = getattr(_library(path, real, index, checked), f"launch_{name}")
    launcher.argtypes = (ctypes.c_uint, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p)
    return lambda blocks, arguments: launcher(blocks, BLOCK, backwards, arguments)


def loader(blocks: int, **how: bool) -> Callable[..., Function]:
    """`load` for kernels that run in so many blocks, however many were asked for."""

    def load_some(path: str, name: str, real: str, index: str) -> Function:
        function = load(path, name, real, index, **how)
        return lambda _, arguments: function(blocks, arguments)

    return load_some


# One block, another order of threads, more blocks: none of it may change a bit.
LOADERS = [loader(blocks, backwards=backwards) for blocks in (1, 5) for backwards in (False, True)]


def need_compiler() -> None:
    """Skip the test if there is none."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not installed")


def sanitizer() -> str:
    """The library that finds accesses outside of arrays (AddressSanitizer)."""
    need_compiler()
    command = ["g++", "-print-file-name=libasan.so"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():  # it repeats the name of what it has not
        pytest.skip("g++ is not installed with AddressSanitizer")
    return found


@functools.cache
def _library(path: str, real: str, index: str, checked: bool) -> ctypes.CDLL:
    need_compiler()
    source = source_of(path)
    kernels = re.findall(KERNEL, source)
    folder = Path(tempfile.mkdtemp(prefix="minidl-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    text = f'#include "{HEADER}"\n#include "{path}"\n' + "".join(LAUNCHER.format(name=name) for name in kernels)
    program, library = folder / "kernels.cpp", folder / "kernels.so"
    program.write_text(text)
    flags = [
        "-O1",
        "-std=c++17",
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        # Some compilers switch on checks (Ubuntu's does) under which a jump to another stack ends the process.
        "-U_FORTIFY_SOURCE",
        "-D_FORTIFY_SOURCE=0",
        "-Wno-unknown-pragmas",
        f"-DREAL={real}",
        f"-DINDEX={index}",
    ]
    if "__syncthreads" in source:
        flags.append("-DBARRIERS")
    command = ["g++", *flags, *(CHECKS if checked else ()), str(program), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return ctypes.CDLL(str(library))
