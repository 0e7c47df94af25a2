"""Layer and group norm by the CUDA kernels of `normalize.cuh`; arguments as of `Normalize`."""

from __future__ import annotations

import numpy as np

from minidl.core import Array
from minidl.device import CudaKernels, device_of

CUDA = CudaKernels(__file__, "normalize.cuh")
LONG = 32  # numbers in a stretch, from which on a block has a weight
PARTS, LEAST = 64, 32  # at most so many parts of the rows, of at least so many samples


def normalized(
    out: tuple[Array, Array, Array], x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> None:  # fmt: skip
    """Write the result, the means and 1/sqrt(var + eps)."""
    sizes = _sizes(x, out[1], weight, groups)
    CUDA.launch_blocks("normalize_rows", out[1].size, *out, x, weight, bias, *sizes, eps)


def gradients(
    out: tuple[Array, Array, Array], g: Array, x: Array, weight: Array, mean: Array, rstd: Array, groups: int
) -> None:
    """Write those of x, weight and bias."""
    gx, gw, gb = out
    *_, inner = sizes = _sizes(x, mean, weight, groups)
    CUDA.launch_blocks("row_gradients", mean.size, gx, g, x, weight, mean, rstd, *sizes)
    if inner >= LONG:
        CUDA.launch_blocks("weight_gradients", weight.size, gw, gb, g, x, mean, rstd, mean.size, *sizes)
        return
    parts = max(1, min(PARTS, mean.size // groups // LEAST))
    sums = device_of(x).xp.empty((parts, 2, weight.size), np.float64)
    CUDA.launch("weight_parts", parts * weight.size, g, x, mean, rstd, sums, mean.size, *sizes, parts)
    CUDA.launch("add_weight_parts", weight.size, gw, gb, sums, parts)


def _sizes(x: Array, mean: Array, weight: Array, groups: int) -> tuple[int, int, int]:
    """Groups, weights of each, and numbers for each weight in a row."""
    return groups, weight.size // groups, x.size // mean.size * groups // weight.size
