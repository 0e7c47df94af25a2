"""CUDA kernels: C++ files beside their ops, compiled when first launched, and kept in the user's cache.

A file leaves two names open, REAL and INDEX: the type of the numbers and that of sizes. It is compiled anew for each
choice of the two and for each kind of GPU. What only compiling needs is imported inside the functions.

A line `#include "../block.cuh"` stands for the text of that file.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import struct
import threading
from collections.abc import Callable
from typing import Any, TypeAlias

from minidl.device import gpu
from minidl.device.device import Array
from minidl.device.dtypes import DType

# (blocks, address of the addresses of the arguments) -> None: a kernel, run in so many blocks of BLOCK threads.
Function: TypeAlias = Callable[[int, int], None]
# What a kernel takes: a CuPy array or none, a size, a number of the type REAL, or the bytes of a structure.
Argument: TypeAlias = "Array | int | float | bytes | None"
REALS = {"f": "float", "d": "double"}
BLOCK = 256  # threads: eight warps, which every GPU can hold several times
MOST_BLOCKS = 1 << 16  # kernels loop over what is left; more blocks than a GPU runs at once gain nothing
# INDEX is int below this size, so that adding BLOCK * MOST_BLOCKS to an index cannot overflow either.
LARGEST_INT_SIZE = 1 << 30
_SLOT = 8  # bytes, in multiples of which arguments are laid out: the largest alignment of any
_VALUES = {int, float, bytes}
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

    def _run(self, name: str, count: int, blocks: int, args: tuple[Argument, ...]) -> None:
        if not count:
            return
        arrays: list[Array] = [a for a in args if type(a) not in _VALUES and a is not None]
        self.start(name, arrays[0].dtype, max([count, *[a.size for a in arrays]]), count, blocks, args)

    def start(
        self, name: str, dtype: DType, largest: int, count: int, blocks: int, args: tuple[Argument, ...]
    ) -> None:  # fmt: skip
        """Run kernel `name` in so many blocks, with REAL of type `dtype` and INDEX for sizes up to `largest`."""
        kinds = tuple([len(a) if type(a) is bytes else type(a) for a in args])
        ready = _ready(load, self.path, name, dtype.char, largest < LARGEST_INT_SIZE, kinds)
        ready(min(blocks, MOST_BLOCKS), count, args)


class Ready:
    """A kernel with room for its arguments. (Each made a NumPy scalar and handed to CuPy, a launch took 26 us.)

    Args:
        codes: of the arguments, as the module `struct` has them.
    """

    def __init__(self, function: Function, codes: list[str]) -> None:
        self.function = function
        self.pack = struct.Struct("".join([f"0q{code}" for code in codes])).pack_into
        self.lock = threading.Lock()
        sizes = [-(-struct.calcsize(code) // _SLOT) * _SLOT for code in codes]
        self.room = ctypes.create_string_buffer(sum(sizes))
        begin = ctypes.addressof(self.room)
        self.addresses = (ctypes.c_void_p * len(codes))(*[begin + sum(sizes[:i]) for i in range(len(codes))])
        self.address = ctypes.addressof(self.addresses)

    def __call__(self, blocks: int, count: int, args: tuple[Any, ...]) -> None:
        values = [a if type(a) in _VALUES else 0 if a is None else a.data.ptr for a in args]
        with self.lock:  # CUDA has copied the arguments when a launch returns
            self.pack(self.room, 0, count, *values)
            self.function(blocks, self.address)


@functools.lru_cache(maxsize=1024)
def _ready(
    load: Callable[..., Function], path: str, name: str, real: str, is_small: bool, kinds: tuple[type | int, ...]
) -> Ready:  # fmt: skip
    """Kinds are types, and of structures the number of bytes."""
    index, size = ("i", "int") if is_small else ("q", "long long")
    codes = {int: index, float: real}
    given = [f"{kind}s" if isinstance(kind, int) else codes.get(kind, "P") for kind in kinds]
    return Ready(load(path, name, REALS[real], size), [index, *given])


@functools.cache
def load(path: str, name: str, real: str, index: str) -> Function:
    """Kernel `name` of a file, ready to run on the GPU."""
    import tempfile

    cupy = gpu.cupy()
    cubin = machine_code(path, f"sm_{cupy.cuda.Device().compute_capability}", real, index)
    with tempfile.TemporaryDirectory(prefix="minidl-") as folder:  # a new name each time: CuPy remembers files by it
        cubin_path = os.path.join(folder, "kernels.cubin")
        with open(cubin_path, "wb") as file:
            file.write(cubin)
        kernel = cupy.RawModule(path=cubin_path).get_function(name).kernel
    launch, stream, here = cupy.cuda.driver.launchKernel, cupy.cuda.get_current_stream, threading.local()

    def run(blocks: int, arguments: int) -> None:
        if not hasattr(here, "is_known"):
            cupy.cuda.runtime.memGetInfo()  # makes this thread known to CUDA
            here.is_known = True
        launch(kernel.ptr, blocks, 1, 1, BLOCK, 1, 1, 0, stream().ptr, arguments, 0)

    return run


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
