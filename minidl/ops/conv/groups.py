"""Groups of few channels, joined until they fill a vector: their weights stand in blocks among zeros.

(Not those of 2, 4 or 8 channels and as many filters, which `depthwise.py` does without zeros.)

A group of 4 filters leaves three quarters of a vector of 16 lanes idle, and its sums are short. Four groups as one of
16 channels and 16 filters do four times the operations, in full vectors and longer sums. 3×3, 28², one core of Zen 5,
ms apart and joined: 32 groups of 2, 16 images: 3.1 and 1.3, the weight gradient 5.6 and 1.5; 32 groups of 4, 32 images:
9.9 and 8.7, the weight gradient 21.9 and 9.3.

A zero weight times NaN or infinity is NaN, so a NaN reaches the filters of the groups it is joined with: like
Winograd's algorithm, this is left out under the precision "exact".
"""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Array
from minidl.device.vectors import lanes_of
from minidl.ops.conv.choice import is_exact


def joined_groups(weight: Array, groups: int) -> int:
    """How many groups at a time are one for the kernels, for a weight (K, C / groups, *kernel).

    >>> import numpy as np
    >>> joined_groups(np.zeros((6, 2, 3, 3)), 1)
    1
    """
    if groups == 1 or is_exact():
        return 1
    most = lanes_of(weight.dtype) // max(weight.shape[1], len(weight) // groups)
    return max(m for m in range(1, groups + 1) if groups % m == 0 and m <= max(1, most))


def joined_weight(weight: Array, groups: int, joined: int) -> Array:
    """(K, joined · C / groups, *kernel): zeros for the channels of the other groups that a group is joined with."""
    filters, channels = len(weight) // groups, weight.shape[1]
    wide = np.zeros((groups // joined, joined, filters, joined, channels * math.prod(weight.shape[2:])), weight.dtype)
    _own_blocks(wide)[...] = weight.reshape(groups // joined, joined, filters, -1)
    return wide.reshape(len(weight), joined * channels, *weight.shape[2:])


def own_weights(wide: Array, groups: int, joined: int, out: Array) -> None:
    """Take the weights (K, C / groups, *kernel) out of such blocks: the adjoint of `joined_weight`."""
    blocks = wide.reshape(groups // joined, joined, len(out) // groups, joined, -1)
    out.reshape(groups // joined, joined, len(out) // groups, -1)[...] = _own_blocks(blocks)


def _own_blocks(blocks: Array) -> Array:
    """[group, member, filter, weight] of [group, member, filter, channels of member, weight]: a view."""
    step = blocks.strides[1] + blocks.strides[3]
    shape = (*blocks.shape[:3], blocks.shape[4])
    strides = (blocks.strides[0], step, blocks.strides[2], blocks.strides[4])
    return np.lib.stride_tricks.as_strided(blocks, shape, strides)
