"""Bicubic resizing, one dimension after the other: each output is a weighted sum of its four nearest inputs."""

from __future__ import annotations

import numpy as np

from minidl.core import Tensor
from minidl.ops.grid_sample import cubic_weights
from minidl.ops.indexing import index_select

__all__ = ["resize_cubic"]


def resize_cubic(input: Tensor, dim: int, new: int, scale: float | None, align_corners: bool) -> Tensor:
    """`input` resized along `dim` by cubic convolution with slope -3/4.

    Args:
        scale: a given factor, used as it is; the ratio of the lengths for None.
        align_corners: map the outermost inputs onto the outermost outputs.

    Source: Keys, IEEE Trans. ASSP 29 (1981).
    """
    xp, old, index = input.device.xp, input.shape[dim], np.arange(new)
    if align_corners:
        position = index * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        position = (index + 0.5) * (1 / scale if scale else old / new) - 0.5
    low = np.floor(position)
    total = None
    for offset, weight in zip((-1, 0, 1, 2), cubic_weights(position - low), strict=True):
        place = np.clip(low + offset, 0, old - 1).astype(np.int64)
        column = weight.reshape([-1 if d == dim else 1 for d in range(input.ndim)])
        part = index_select(input, dim, Tensor.of(xp.asarray(place))) * Tensor.of(xp.asarray(column, input.dtype))
        total = part if total is None else total + part
    return total  # type: ignore[return-value]
