"""CUDA kernels: C++ files beside their ops, compiled when first launched, and kept in the user's cache.

A file leaves two names open, REAL and INDEX: the type of the numbers and that of sizes. It is compiled anew for each
choice of the two and for each kind of GPU. What only compiling needs is imported inside the functions.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from minidl.device import gpu
from minidl.device.device import Array

# (grid, block, arguments) -> None
Function: TypeAlias = Callable[[tuple[int], tuple[int], tuple[Any, ...]], None]
REALS = {"f": "float", "d": "double"}
BLOCK = 256  # threads: eight warps, which every GPU can hold several times
MOST_BLOCKS = 1 << 16  # kernels loop over what is left; more blocks than a GPU runs at once gain nothing
# INDEX is int below this size, so that adding BLOCK * MOST_BLOCKS to an index cannot overflow either.
LARGEST_INT_SIZE = 1 << 30


class CudaKernels:
    """The kernels of the `.cuh` file `name` beside the Python file `room`. Declaring them reads and compiles nothing.

    Each is `extern "C" __global__ void name(INDEX count, ...)` and covers the numbers 0 to count - 1, however many
    threads there are.
    """

    def __init__(self, room: str, name: str) -> None:
        self.path = os.path.join(os.path.dirname(room), name)

    def launch(self, name: str, count: int, *args: Array | int) -> None:
        """Run kernel `name` for `count` numbers.

        Args:
            args: what follows `count`: C-contiguous CuPy arrays, the first of which decides REAL, and whole numbers.

        Raises:
            KernelError: if the file cannot be compiled.
        """
        if not count:
            return
        arrays = [a for a in args if not isinstance(a, int)]
        index = np.int32 if max(a.size for a in arrays) < LARGEST_INT_SIZE else np.int64
        types = (REALS[arrays[0].dtype.char], "int" if index is np.int32 else "long long")
        function = load(self.path, name, *types)
        blocks = min(-(-count // BLOCK), MOST_BLOCKS)
        function((blocks,), (BLOCK,), tuple([index(a) if isinstance(a, int) else a for a in (count, *args)]))


def load(path: str, name: str, real: str, index: str) -> Function:
    """Kernel `name` of a file, ready to run on the current GPU."""
    capability = gpu.cupy().cuda.Device().compute_capability
    return _function(path, name, f"sm_{capability}", real, index)


@functools.cache
def _function(path: str, name: str, arch: str, real: str, index: str) -> Function:
    import tempfile

    cubin = machine_code(path, arch, real, index)
    with tempfile.TemporaryDirectory(prefix="minidl-") as folder:  # a new name each time: CuPy remembers files by it
        cubin_path = os.path.join(folder, "kernels.cubin")
        with open(cubin_path, "wb") as file:
            file.write(cubin)
        function: Function = gpu.cupy().RawModule(path=cubin_path).get_function(name)
    return function


def machine_code(path: str, arch: str, real: str, index: str) -> bytes:
    """The compiled file, from the cache if it is there."""
    import hashlib

    from minidl.device import cache, nvrtc

    with open(path, encoding="utf-8") as file:
        source = file.read()
    name = os.path.basename(path)
    parts = (source, arch, real, index, nvrtc.version())
    key = hashlib.sha256(repr(parts).encode()).digest()
    if (stored := cache.load(name, key)) is not None:
        return stored
    cubin = nvrtc.compile_cubin(source, name, arch, {"REAL": real, "INDEX": index}).cubin
    cache.store(name, key, cubin)
    return cubin
