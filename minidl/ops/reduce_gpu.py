"""Sums on a GPU by the CUDA kernels of `reduce.cuh`: over all but some dimensions that lie side by side."""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Array
from minidl.device import CudaKernels, device_of

CUDA = CudaKernels(__file__, "reduce.cuh")
# Blocks that sums are shared out to, numbers that each has at least, and how many of them lie side by side.
BLOCKS, LEAST, RUN = 256, 1024, 32


def folded(shape: tuple[int, ...], dims: tuple[int, ...]) -> tuple[int, int, int] | None:
    """The lengths (outer, kept, inner) as which the kernel sees an array; None if it would be slow, or cannot."""
    kept = [d for d in range(len(shape)) if d not in dims]
    if kept and kept[-1] - kept[0] >= len(kept):
        return None  # they do not lie side by side
    first, last = (kept[0], kept[-1] + 1) if kept else (0, 0)
    outer, middle, inner = (math.prod(part) for part in (shape[:first], shape[first:last], shape[last:]))
    if not middle or outer * inner < LEAST or (inner < RUN and outer > 1):
        return None
    return outer, middle, inner


def sums_on_gpu(out: Array, x: Array, sizes: tuple[int, int, int]) -> None:
    """Those of x, seen as (outer, kept, inner), over outer and inner."""
    outer, kept, inner = sizes
    parts = max(1, min(BLOCKS // kept, outer * inner // LEAST))
    found = device_of(x).xp.empty((kept, parts), np.float64)
    CUDA.launch_blocks("part_sums", kept * parts, x, found, kept, inner, outer, parts)
    CUDA.launch("total_sums", kept, out, found, parts)
