"""cast: the same numbers in another element type.

Two or four bytes in and four or two out for each number, and hardly any arithmetic: memory decides. Kernels are for
types of 16 bits, which every op on them goes through (`core/op.py`). A number takes 0.1 ns, where NumPy converts to
float16 by a function, in 1.4 ns, and in 65 where the result is subnormal, as gradients are; ml_dtypes rounds to
bfloat16 in 0.33. The way from bfloat16 was tried too and won nothing: 0.08 ns against 0.07. A NaN stays one; the rest
of its bits is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import Kernel, kernel, parallel
from minidl.device.dtypes import DType
from minidl.device.half import from_half, to_bfloat16, to_half
from minidl.device.numba_backend import converts_half
from minidl.ops.each import SMALL
from minidl.ops.elementwise import quiet

__all__ = ["cast"]


@kernel("float32[::1], const uint16[::1]")
def _widen_half(begin: int, end: int, out: Array, x: Array) -> None:
    for i in range(begin, end):
        out[i] = from_half(x[i])


@kernel("uint16[::1], const float32[::1]")
def _narrow_to_half(begin: int, end: int, out: Array, x: Array) -> None:
    for i in range(begin, end):
        out[i] = to_half(x[i])


@kernel("uint16[::1], const uint32[::1]")
def _narrow_to_bfloat16(begin: int, end: int, out: Array, x: Array) -> None:
    for i in range(begin, end):
        out[i] = to_bfloat16(x[i])


# (from, to): the kernel, and the types in which it sees the result and the input.
_KERNELS: dict[tuple[str, str], tuple[Kernel, Any, Any]] = {
    ("float16", "float32"): (_widen_half, np.float32, np.uint16),
    ("float32", "float16"): (_narrow_to_half, np.uint16, np.float32),
    ("float32", "bfloat16"): (_narrow_to_bfloat16, np.uint16, np.uint32),
}


class Cast(Op):
    """The same numbers in another element type."""

    name = "cast"
    moves = True
    elementwise = True

    @staticmethod
    def infer(x: Spec, *, dtype: DType) -> Spec:
        return x.with_dtype(dtype)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, dtype: DType) -> None:
        with quiet():
            out[...] = x  # assignment casts as C does

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        pair = (arrays[0].dtype.name, params["dtype"].name)
        return arrays[0].size >= SMALL and pair in _KERNELS and ("float16" not in pair or converts_half())

    @staticmethod
    def cpu(out: Array, x: Array, *, dtype: DType) -> None:
        run, to, of = _KERNELS[x.dtype.name, dtype.name]
        parallel(run, x.size, out.reshape(-1).view(to), x.reshape(-1).view(of))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (cast(g, node.specs[0].dtype),)


def cast(input: Tensor, dtype: DType) -> Tensor:
    """`input` with element type `dtype`; gradients come back in the old type."""
    result: Tensor = Cast.apply(input, dtype=dtype)
    return result
