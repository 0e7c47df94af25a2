"""NumPy's BLAS on the threads of our pool.

OpenBLAS has threads of its own, which stay busy for some 30 ms after each product in case another one comes, and take
the cores from our kernels: a small CNN with two dense layers ran at 74 ms a step on two threads and at 51 on one. So it
is held to one thread while we call it, and our threads share out blocks of rows or columns whose size does not depend
on their number: so the bits do not either. A step of that CNN: 41 ms.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from minidl.device.device import Array
from minidl.device.threads import parallel

WORTH = 1 << 19  # operations of a product that is shared out; OpenBLAS does smaller ones on one thread by itself
BLOCKS = 8
ROWS, COLUMNS = 32, 64  # of a block, at least


def is_large(rows: int, columns: int, steps: int) -> bool:
    """Whether a product of (rows, steps) with (steps, columns) is worth sharing out."""
    return 2 * rows * columns * steps >= WORTH


def product(out: Array, x: Array, y: Array, bias: Array | None = None) -> None:
    """out (..., M, N) = x (..., M, K) times y (..., K, N), plus bias (N,); leading dimensions broadcast."""
    if out.ndim > 2:
        _shared_out(math.prod(out.shape[:-2]), 1, _batch_part(out, x, y, bias))
    elif out.shape[0] >= out.shape[1] or out.shape[1] < 2 * COLUMNS:
        _shared_out(out.shape[0], ROWS, lambda a, b: _multiply(out[a:b], x[a:b], y, bias))
    else:
        _shared_out(out.shape[1], COLUMNS, lambda a, b: _multiply(
            out[:, a:b], x, y[:, a:b], bias if bias is None else bias[a:b]
        ))  # fmt: skip


def _shared_out(length: int, least: int, work: Callable[[int, int], None]) -> None:
    with one_thread():
        parallel(work, length, block=max(least, -(-length // BLOCKS)))


def _batch_part(out: Array, x: Array, y: Array, bias: Array | None) -> Callable[[int, int], None]:
    batch = out.shape[:-2]
    x, y = (np.broadcast_to(a, (*batch, *a.shape[-2:])) for a in (x, y))

    def work(begin: int, end: int) -> None:
        for at in range(begin, end):
            place = np.unravel_index(at, batch)
            _multiply(out[place], x[place], y[place], bias)

    return work


def _multiply(out: Array, x: Array, y: Array, bias: Array | None) -> None:
    np.matmul(x, y, out=out)
    if bias is not None:
        out += bias


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold OpenBLAS to one thread inside the block, where NumPy has it."""
    functions = _openblas()
    if functions is None:
        yield
        return
    get, put = functions
    before = get()
    put(1)
    try:
        yield
    finally:
        put(before)


@functools.cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], Any]] | None:
    """What asks for and sets the threads of the OpenBLAS that came with NumPy's wheel; None for another BLAS."""
    package = Path(np.__file__).parent
    for path in [*(package.parent / "numpy.libs").glob("*openblas*"), *(package / ".dylibs").glob("*openblas*")]:
        library = ctypes.CDLL(str(path))
        for form in ("scipy_openblas_{}_num_threads64_", "scipy_openblas_{}_num_threads", "openblas_{}_num_threads"):
            get, put = (getattr(library, form.format(what), None) for what in ("get", "set"))
            if get is not None and put is not None:
                return get, put
    return None
