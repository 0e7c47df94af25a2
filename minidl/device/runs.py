"""Runs of numbers in flat arrays: copied and cleared by the C library, whatever their length.

A loop over `x[i + n]` does not become a copy of vectors: Numba lets an index count from the end, so every number is
asked for its sign first (a band of 16 channels: 1.2 ms instead of 0.2).
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import intrinsic
from minidl.device.vectors import data_pointer


def _emit_copy(typing_context: Any, target: Any, it: Any, source: Any, i: Any, count: Any) -> Any:
    from numba.core import cgutils, types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        to = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        begin = builder.gep(data_pointer(context, builder, source, args[2]), [args[3]])
        cgutils.raw_memcpy(builder, to, begin, args[4], target.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(target, types.intp, source, types.intp, types.intp), code


@intrinsic(_emit_copy)
def copy_run(target: Any, it: int, source: Any, i: int, count: int) -> None:
    """target[it : it + count] = source[i : i + count]; they must not overlap."""
    target[it : it + count] = source[i : i + count]


def _emit_clear(typing_context: Any, target: Any, it: Any, count: Any) -> Any:
    from numba.core import cgutils, types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        from llvmlite import ir

        to = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        size = builder.mul(args[2], ir.Constant(args[2].type, target.dtype.bitwidth // 8))
        cgutils.memset(builder, to, size, 0)
        return context.get_dummy_value()

    return types.void(target, types.intp, types.intp), code


@intrinsic(_emit_clear)
def clear_run(target: Any, it: int, count: int) -> None:
    """target[it : it + count] = 0."""
    target[it : it + count] = 0
