"""CUDA kernels: C++ files beside their ops, compiled when first launched, and kept in the user's cache.

A file leaves two names open, REAL and INDEX: the type of the numbers and that of sizes. It is compiled anew for each
choice of the two and for each kind of GPU. What only compiling needs is imported inside the functions.

A line `#include "../block.cuh"` stands for the text of that file.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from minidl.device import gpu
from minidl.device.device import Array
from minidl.device.dtypes import DType

# (grid, block, arguments) -> None
Function: TypeAlias = Callable[[tuple[int], tuple[int], tuple[Any, ...]], None]
# What a kernel takes: a CuPy array or none, a size, a number of the type REAL, or a structure, which goes by value.
Argument: TypeAlias = "Array | int | float | np.ndarray[Any, Any] | None"
REALS = {"f": "float", "d": "double"}
BLOCK = 256  # threads: eight warps, which every GPU can hold several times
MOST_BLOCKS = 1 << 16  # kernels loop over what is left; more blocks than a GPU runs at once gain nothing
# INDEX is int below this size, so that adding BLOCK * MOST_BLOCKS to an index cannot overflow either.
LARGEST_INT_SIZE = 1 << 30
_PLAIN = {int, float, type(None)}
_INCLUDE = re.compile(r'^#include "(.+)"\n', re.MULTILINE)


class CudaKernels:
    """The kernels of the `.cuh` file `name` beside the Python file `room`. Declaring them reads and compiles nothing.

    Each is `extern "C" __global__ void name(INDEX count, ...)` and covers the numbers 0 to count - 1, however many
    threads there are.
    """

    def __init__(self, room: str, name: str) -> None:
        self.path = os.path.join(os.path.dirname(room), name)

    def launch(self, name: str, count: int, *args: Argument) -> None:
        """Run kernel `name` for `count` numbers, a thread for each.

        Args:
            args: what follows `count`; arrays are C-contiguous, and the first decides REAL. None is no array.

        Raises:
            KernelError: if the file cannot be compiled.
        """
        self._run(name, count, -(-count // BLOCK), args)

    def launch_blocks(self, name: str, count: int, *args: Argument) -> None:
        """The same with a block of BLOCK threads for each of the `count`."""
        self._run(name, count, count, args)

    def _run(self, name: str, count: int, blocks: int, args: tuple[Any, ...]) -> None:
        if not count:
            return
        arrays = [a for a in args if type(a) not in _PLAIN and a.dtype.kind != "V"]
        self.start(name, arrays[0].dtype, max(count, *[a.size for a in arrays]), count, blocks, args)

    def start(
        self, name: str, dtype: DType, largest: int, count: int, blocks: int, args: tuple[Argument, ...]
    ) -> None:  # fmt: skip
        """Run kernel `name` in so many blocks, with REAL of type `dtype` and INDEX for sizes up to `largest`."""
        index, size = (np.int32, "int") if largest < LARGEST_INT_SIZE else (np.int64, "long long")
        real = dtype.type
        function = load(self.path, name, REALS[dtype.char], size)
        types: dict[type, Callable[[Any], Any]] = {int: index, float: real, type(None): _null}
        numbers = [types[type(a)](a) if type(a) in types else a for a in args]
        function((min(blocks, MOST_BLOCKS),), (BLOCK,), (index(count), *numbers))


def _null(_: None) -> np.uint64:
    """The address of no array; of None CuPy would make no argument at all."""
    return np.uint64(0)


@functools.cache
def load(path: str, name: str, real: str, index: str) -> Function:
    """Kernel `name` of a file, ready to run on the GPU."""
    import tempfile

    cubin = machine_code(path, f"sm_{gpu.cupy().cuda.Device().compute_capability}", real, index)
    with tempfile.TemporaryDirectory(prefix="minidl-") as folder:  # a new name each time: CuPy remembers files by it
        cubin_path = os.path.join(folder, "kernels.cubin")
        with open(cubin_path, "wb") as file:
            file.write(cubin)
        function: Function = gpu.cupy().RawModule(path=cubin_path).get_function(name)
    return function


def source_of(path: str) -> str:
    """The text of a file, with that of the files it includes, which may include no others."""
    with open(path, encoding="utf-8") as file:
        text = file.read()

    def included(line: re.Match[str]) -> str:
        with open(os.path.join(os.path.dirname(path), line[1]), encoding="utf-8") as file:
            return file.read()

    return _INCLUDE.sub(included, text)


def machine_code(path: str, arch: str, real: str, index: str) -> bytes:
    """The compiled file, from the cache if it is there."""
    import hashlib

    from minidl.device import cache, nvrtc

    source, name = source_of(path), os.path.basename(path)
    parts = (source, arch, real, index, nvrtc.version())
    key = hashlib.sha256(repr(parts).encode()).digest()
    if (stored := cache.load(name, key)) is not None:
        return stored
    cubin = nvrtc.compile_cubin(source, name, arch, {"REAL": real, "INDEX": index}).cubin
    cache.store(name, key, cubin)
    return cubin
