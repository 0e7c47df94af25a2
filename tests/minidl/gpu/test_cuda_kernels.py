"""The CUDA sources, without a GPU: compiled for three kinds of it, and executed on the CPU."""

from __future__ import annotations

import ctypes
import functools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import minidl
from minidl.device import cuda, gpu, nvrtc
from minidl.device.cuda import REALS, machine_code, source_of
from minidl.errors import KernelError
from minidl.ops.max_pool import CUDA
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in
from tests.minidl.gpu.strict_array import StrictArray

# Those without a kernel are parts of others.
SOURCES = sorted(p for p in Path(minidl.__file__).parent.rglob("*.cuh") if "__global__" in p.read_text())
# Of each thread. With 64, blocks of 256 still fill half of a GPU's places for warps; 64-bit sizes take two each.
MOST_REGISTERS = {"int": 64, "long long": 128}
MOST_SHARED_BYTES = 48 << 10  # what every GPU gives without asking


@pytest.fixture(scope="module")
def compiler() -> None:
    try:
        nvrtc.library()
    except KernelError:
        pytest.skip("NVRTC is not installed")


@pytest.mark.parametrize("index", ["int", "long long"])
@pytest.mark.parametrize("real", REALS.values())
@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_120"])
@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_kernel_compiles_within_its_budget(compiler: None, path: Path, arch: str, real: str, index: str) -> None:
    compiled = nvrtc.compile_cubin(source_of(str(path)), path.name, arch, {"REAL": real, "INDEX": index})
    kernels = re.findall(cuda_on_cpu.KERNEL, path.read_text())
    used = re.findall(r"Used (\d+) registers", compiled.log)
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", compiled.log)
    shared = re.findall(r"(\d+) bytes smem", compiled.log)
    assert compiled.cubin[:4] == b"\x7fELF"
    assert all(name.encode() in compiled.cubin for name in kernels)
    assert len(used) == len(kernels), compiled.log
    assert max(map(int, used)) <= MOST_REGISTERS[index]
    assert set(spills) == {("0", "0", "0")}, compiled.log
    assert max(map(int, shared), default=0) <= MOST_SHARED_BYTES


def test_a_source_that_does_not_compile_is_named_with_the_compilers_words(compiler: None) -> None:
    with pytest.raises(KernelError, match=r"broken\.cuh cannot be compiled for sm_90: .*identifier .y. is undefined"):
        nvrtc.compile_cubin("__global__ void k(float *x) { *x = y; }", "broken.cuh", "sm_90", {})


def test_machine_code_is_compiled_once(compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    source = tmp_path / "twice.cuh"
    source.write_text('extern "C" __global__ void twice(INDEX n, REAL *x) { for (INDEX i = 0; i < n; i++) x[i] *= 2; }')
    first = machine_code(str(source), "sm_90", "float", "int")
    monkeypatch.setattr(nvrtc, "compile_cubin", None)
    assert machine_code(str(source), "sm_90", "float", "int") == first
    with pytest.raises(TypeError):  # another type, another compilation
        machine_code(str(source), "sm_90", "double", "int")


def test_machine_code_reaches_cupy_as_a_file_that_does_not_stay(
    compiler: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "load", functools.cache(cuda.load.__wrapped__))  # with a memory of its own
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen: list[Path] = []
    calls: list[Any] = []

    class RawModule:
        def __init__(self, *, path: str) -> None:
            seen.append(Path(path))
            assert seen[-1].read_bytes()[:4] == b"\x7fELF"

        def get_function(self, name: str) -> Any:
            return SimpleNamespace(kernel=SimpleNamespace(ptr=name))

    def launch(function: str, *how: int) -> None:
        calls.append((function, how[:-2], words(how[-2], 3), how[-1]))

    told: list[int] = []
    cupy = SimpleNamespace(
        RawModule=RawModule,
        cuda=SimpleNamespace(
            Device=lambda: SimpleNamespace(compute_capability="90"),
            driver=SimpleNamespace(launchKernel=launch),
            runtime=SimpleNamespace(memGetInfo=lambda: told.append(threading.get_ident())),
            get_current_stream=lambda: SimpleNamespace(ptr=77),
        ),
    )
    monkeypatch.setattr(gpu, "cupy", lambda: cupy)
    image = StrictArray(np.zeros((300, 2)))
    for _ in range(2):
        CUDA.launch("max_pool2d", 600, image, 7)
    CUDA.launch("max_pool2d", 0, image, 7)
    once = "max_pool2d", (3, 1, 1, 256, 1, 1, 0, 77), [600, image.data.ptr, 7], 0
    assert calls == [once, once]
    assert len(seen) == 1
    assert not seen[0].exists()
    thread = threading.Thread(target=CUDA.launch, args=("max_pool2d", 600, image, 7))
    thread.start()
    thread.join()
    assert len(calls) == 3
    assert told == [threading.get_ident(), thread.ident]  # CUDA knows every thread that launches


def words(arguments: int, count: int) -> list[int]:
    """The first 8 bytes of so many arguments of a kernel, found as CUDA finds them."""
    places = (ctypes.c_void_p * count).from_address(arguments)
    return [ctypes.c_longlong.from_address(place or 0).value for place in places]


def test_large_arrays_are_counted_in_64_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []
    launches: list[Any] = []

    def load(path: str, *what: str) -> Any:
        asked.append(what)
        return lambda blocks, arguments: launches.append((blocks, words(arguments, 3)))

    monkeypatch.setattr(cuda, "load", load)
    for size in (1 << 30) - 1, 1 << 30:
        huge = SimpleNamespace(dtype=np.dtype(np.float32), size=size, data=SimpleNamespace(ptr=1 << 40))
        CUDA.launch("k", size, huge, -1)
    assert asked == [("k", "float", "int"), ("k", "float", "long long")]
    assert launches == [
        (1 << 16, [(1 << 30) - 1, 1 << 40, (1 << 32) - 1]),  # four bytes of -1, and the padding behind them
        (1 << 16, [1 << 30, 1 << 40, -1]),
    ]


def test_arguments_come_in_the_types_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number of REAL, a size, the address of no array; arrays by their addresses, structures as they are."""
    calls: list[Any] = []
    monkeypatch.setattr(
        cuda, "load", lambda *what: lambda blocks, arguments: calls.append((blocks, words(arguments, 7)))
    )
    array, structure = StrictArray(np.zeros(600, np.float32)), np.arange(3, dtype=np.int32).tobytes()
    CUDA.launch_blocks("k", 7, array, 0.5, 3, None, structure, 4)
    half = int(np.array([0.5, 0], np.float32).view(np.int64)[0])
    assert calls == [(7, [7, array.data.ptr, half, 3, 0, 1 << 32, 4])]


POOLS = [  # kernel, stride, padding, dilation, image
    ((2, 2), (2, 2), (0, 0), (1, 1), (8, 6)),
    ((3, 3), (2, 2), (1, 1), (1, 1), (7, 9)),
    ((3, 2), (1, 1), (1, 0), (2, 3), (11, 10)),
    ((2, 3), (3, 4), (1, 1), (1, 1), (5, 17)),  # steps over pixels that no window sees
    ((1, 1), (1, 1), (0, 0), (1, 1), (1, 1)),
    ((2, 2), (2, 2), (0, 0), (1, 1), (7, 9)),  # a row and a column are left over
    ((5, 5), (1, 2), (2, 2), (1, 1), (6, 5)),
]


def pooled(index: str, pool: Any, values: np.ndarray[Any, Any], blocks: int, **how: bool) -> Any:
    """Forward and backward by the CUDA kernels on the CPU: (best, place, gradient)."""
    kernel, stride, padding, dilation, image = pool
    span = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    windows = [(n + 2 * p - a - 1) // s + 1 for n, p, a, s in zip(image, padding, span, stride, strict=True)]
    best, place = np.full((2, 3, *windows), np.nan, values.dtype), np.full((2, 3, *windows), -9, np.int32)
    gradient = np.full(values.shape, np.nan, values.dtype)
    weights = np.random.default_rng(1).standard_normal(best.shape).astype(values.dtype)
    with pytest.MonkeyPatch.context() as patch, stand_in(cuda_on_cpu.loader(blocks, **how)):
        if index != "int":
            patch.setattr(cuda, "LARGEST_INT_SIZE", 0)
        arrays = [StrictArray(a) for a in (best, place, values)]
        CUDA.launch("max_pool2d", best.size, *arrays, *image, *windows, *kernel, *stride, *padding, *dilation)
        arrays = [StrictArray(a) for a in (gradient, weights, place)]
        CUDA.launch("max_pool2d_spread", gradient.size, *arrays, *image, *windows, *span, *stride, *padding)
    return best, place, gradient, weights


@pytest.mark.parametrize("index", ["int", "long long"])
@pytest.mark.parametrize("real", REALS.values())
@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_max_pool_on_the_cpu_equals_the_reference(pool: Any, real: str, index: str) -> None:
    """Maxima, places and the order of ties to the last bit; sums of float32 to a rounding of each addition."""
    kernel, stride, padding, dilation, image = pool
    dtype = np.float32 if real == "float" else np.float64
    values = np.random.default_rng(0).integers(-3, 4, (2, 3, *image)).astype(dtype)
    values[0, 0, 0, 0] = np.nan
    best, place, gradient, weights = pooled(index, pool, values, 1)
    leaf = minidl.tensor(values, requires_grad=True)
    with minidl.use_numba(False):
        wanted, places = minidl.max_pool2d(leaf, kernel, stride, padding, dilation, return_indices=True)
        wanted.backward(minidl.tensor(weights))
    np.testing.assert_array_equal(best, wanted.detach().numpy())
    np.testing.assert_array_equal(place, places.numpy())
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=0, atol=4e-6 if real == "float" else 1e-14)


@pytest.mark.parametrize("pool", POOLS, ids=str)
def test_neither_the_order_of_threads_nor_their_number_changes_a_bit(pool: Any) -> None:
    values = np.random.default_rng(0).standard_normal((2, 3, *pool[-1])).astype(np.float32)
    first = pooled("int", pool, values, 1)
    for blocks, backwards in ((1, True), (7, False), (7, True)):
        for ours, other in zip(first, pooled("int", pool, values, blocks, backwards=backwards), strict=True):
            np.testing.assert_array_equal(ours, other)


CHECKED_RUN = """
import functools
import numpy as np
import minidl
from tests.minidl.gpu import (
    cuda_on_cpu, test_concat_kernels, test_conv_kernels, test_loss_kernels, test_norm_kernels, test_reduce_kernels,
    test_step_kernels,
)
from tests.minidl.gpu.conftest import stand_in
from tests.minidl.gpu.strict_array import StrictArray
from tests.minidl.gpu.test_cuda_kernels import POOLS, pooled
for pool in POOLS:
    pooled("int", pool, np.zeros((2, 3, *pool[-1]), np.float32), 1, checked=True)
with stand_in(functools.partial(cuda_on_cpu.load, checked=True)):
    for sizing in test_conv_kernels.SIZINGS:
        test_conv_kernels.passes(sizing, np.float32, "cuda")
    for shape in test_norm_kernels.SHAPES:
        test_norm_kernels.results(shape, ("silu", 0.0), np.float32, "cuda")
    for rows in test_norm_kernels.ROWS:
        test_norm_kernels.row_results(*rows, np.float32, "cuda")
    for shape, dims, _ in test_reduce_kernels.SUMS:
        minidl.ones(*shape).to("cuda").sum(dims)
    for shape, dim in test_concat_kernels.SHAPES:
        test_concat_kernels.joined_and_cut(shape, dim)
    for shape in test_loss_kernels.SHAPES:
        test_loss_kernels.loss_and_gradient(shape, "mean", 0.1, True, np.float32, "cuda")
    for op in test_step_kernels.STEPS:
        op.coefficients = staticmethod(lambda names=op.arguments[op.columns:]: dict.fromkeys(names, 0.5))
        columns = test_step_kernels.arrays(op, 70, np.float32)
        flat = [StrictArray(a) for column in columns for a in column]
        op.cuda(tuple(flat[:70 * op.updates]), *flat[70 * op.updates:])
"""


def test_no_kernel_reads_or_writes_outside_of_its_arrays() -> None:
    """In a process of its own, since the first such access ends it; the report names the line of the kernel."""
    watched = {"LD_PRELOAD": cuda_on_cpu.sanitizer(), "ASAN_OPTIONS": "detect_leaks=0"}
    command = [sys.executable, "-c", CHECKED_RUN]
    done = subprocess.run(command, env={**os.environ, **watched}, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr


SHARED = """
const int THREADS = 256;
__shared__ int numbers[THREADS];

extern "C" __global__ void reversed(INDEX count, REAL *out)
{{
    for (INDEX block = blockIdx.x; block < count; block += gridDim.x) {{
        numbers[threadIdx.x] = block + threadIdx.x;
        {barrier}
        out[block * THREADS + threadIdx.x] = numbers[THREADS - 1 - threadIdx.x];
        __syncthreads();
    }}
}}
"""
REVERSE_RUN = """
import sys
import numpy as np
from minidl.device import CudaKernels
from tests.minidl.gpu import cuda_on_cpu
from tests.minidl.gpu.conftest import stand_in
from tests.minidl.gpu.strict_array import StrictArray
found = np.zeros(3 * 256, np.float32)
with stand_in(cuda_on_cpu.loader(2)):
    CudaKernels(sys.argv[1], sys.argv[1]).launch_blocks("reversed", 3, StrictArray(found))
wanted = np.concatenate([block + np.arange(256)[::-1] for block in range(3)])
assert np.array_equal(found, wanted), "other numbers"
"""


@pytest.mark.parametrize(
    ("barrier", "says"),
    [
        ("__syncthreads();", ""),
        ("", "other numbers"),
        ("if (threadIdx.x < 7) __syncthreads();", "only some threads of block 0 wait at a barrier"),
    ],
    ids=["with a barrier", "without", "of some threads"],
)
def test_threads_wait_for_each_other_at_barriers(barrier: str, says: str, tmp_path: Path) -> None:
    """In a process of its own, since a barrier that only some threads reach ends it."""
    cuda_on_cpu.need_compiler()
    path = tmp_path / "reversed.cuh"
    path.write_text(SHARED.format(barrier=barrier))
    command = [sys.executable, "-c", REVERSE_RUN, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert bool(done.returncode) == bool(says)
    assert says in done.stderr


def test_an_included_file_is_part_of_the_source(tmp_path: Path) -> None:
    (tmp_path / "part.cuh").write_text("const int NUMBER = 7;\n")
    path = tmp_path / "whole.cuh"
    path.write_text('// Two lines.\n#include "part.cuh"\nconst int OTHER = NUMBER;\n')
    assert source_of(str(path)) == "// Two lines.\nconst int NUMBER = 7;\nconst int OTHER = NUMBER;\n"
