"""Pictures of any size for networks that halve it several times."""

from __future__ import annotations

from minidl import Tensor
from minidl.nn import functional as F

__all__ = ["pad_to_multiple"]


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """(N, C, H, W) with its last rows and columns repeated until both sides divide by `multiple`.

    >>> import minidl
    >>> pad_to_multiple(minidl.zeros(1, 1, 5, 8), 4).shape
    (1, 1, 8, 8)
    """
    down, right = -x.shape[2] % multiple, -x.shape[3] % multiple
    return F.pad(x, (0, right, 0, down), mode="replicate") if down or right else x
