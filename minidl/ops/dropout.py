"""dropout by counter: the mask is a function of a key and the element's position, so it is never stored.

Backward makes the same mask again from the same key. All kernels use one hash, so they drop the same elements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.errors import MinidlError
from minidl.ops.each import SMALL

__all__ = ["dropout_by_key"]


class Dropout(Op):
    """Linear in x, and its own adjoint."""

    name = "dropout"
    saves = ("key",)

    @staticmethod
    def infer(x: Spec, key: Spec, *, p: float) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, key: Array, *, p: float) -> None:
        keep = (hashed(xp, x.size, key) >= np.uint32(min(p * 2**32, 2**32 - 1))).reshape(x.shape)
        xp.multiply(x, keep * x.dtype.type(1 / (1 - p)), out=out)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size >= SMALL

    @staticmethod
    def cpu(out: Array, x: Array, key: Array, *, p: float) -> None:
        limit = int(min(p * 2**32, 2**32 - 1))
        parallel(_drop, x.size, out.reshape(-1), x.reshape(-1), key, limit, 1 / (1 - p))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (key,) = node.saved
        return Dropout.apply(g, key, **node.params), None


def hashed(xp: Any, n: int, key: Array) -> Array:
    """A random 32-bit number for each position from 0 to n - 1.

    The finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA 2014) on key + position * golden ratio; its upper half.
    """
    z = key[0] + (xp.arange(1, n + 1, dtype=np.uint64) + key[1]) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(32)).astype(np.uint32)


@kernel("T[::1], const T[::1], const uint64[::1], uint64, T", T=("float32", "float64"))
def _drop(begin: int, end: int, out: Array, x: Array, key: Array, limit: int, factor: float) -> None:
    """The same hash as `hashed`, number by number."""
    zero = x.dtype.type(0)
    for i in range(begin, end):
        z = key[0] + (np.uint64(i + 1) + key[1]) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[i] = x[i] * factor if ((z ^ (z >> np.uint64(31))) >> np.uint64(32)) >= limit else zero


def dropout_by_key(input: Tensor, key: Tensor, p: float = 0.5) -> Tensor:
    """Each element set to zero with probability `p`, the others divided by 1 - p.

    Args:
        input: any shape, floating.
        key: two uint64 numbers, a seed and a counter; the same key drops the same elements.

    Raises:
        MinidlError: if `p` is not from 0 up to, not including, 1.

    Source: Srivastava et al., JMLR 15 (2014).
    """
    if not 0 <= p < 1:
        raise MinidlError(f"dropout: p must be from 0 up to, not including, 1; got {p}")
    result: Tensor = Dropout.apply(input, key.to(np.uint64), p=float(p))
    return result
