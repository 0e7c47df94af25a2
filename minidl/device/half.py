"""16-bit floats in kernels, as the whole numbers that their bits are: kernels have no arithmetic on them.

float16 goes to float32 and back by the instruction that processors have for it (F16C, NEON), which rounds to the
nearest, ties to even; bfloat16 is the upper half of a float32, so its bits are moved, and rounded by adding just less
than half of the last one that stays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.device.inline import inline, intrinsic


def _emit_from_half(typing_context: Any, bits: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), code


def _emit_to_half(typing_context: Any, x: Any) -> Any:
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), code


@intrinsic(_emit_from_half)
def from_half(bits: Any) -> Any:
    """The float32 of the float16 with these bits."""
    return np.uint16(bits).view(np.float16).astype(np.float32)


@intrinsic(_emit_to_half)
def to_half(x: Any) -> Any:
    """The bits of the float16 nearest to `x`."""
    return np.float32(x).astype(np.float16).view(np.uint16)


@inline
def to_bfloat16(bits: Any) -> Any:
    """The bits of the bfloat16 nearest to the float32 with these bits; one NaN for all of a sign, as in ml_dtypes."""
    magnitude, sign = bits & np.uint32(0x7FFFFFFF), (bits >> np.uint32(16)) & np.uint32(0x8000)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.uint16(sign | np.uint32(0x7FC0) if magnitude > np.uint32(0x7F800000) else rounded)
