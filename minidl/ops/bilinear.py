"""bilinear: a product of two inputs through a tensor of weights."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ShapeError
from minidl.ops.products import einsum

__all__ = ["bilinear"]


def bilinear(input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x1^T W_k x2 + b_k for each output k.

    Args:
        input1, input2: (..., I) and (..., J), with the same leading dimensions.
        weight: (K, I, J).
        bias: (K,), or None.

    Returns:
        (..., K).

    Raises:
        ShapeError: if shapes do not fit.
    """
    if (
        weight.ndim != 3
        or (input1.shape[-1:], input2.shape[-1:]) != (weight.shape[1:2], weight.shape[2:])
        or input1.shape[:-1] != input2.shape[:-1]
        or (bias is not None and bias.shape != weight.shape[:1])
    ):
        raise ShapeError(f"bilinear: needs (..., I), (..., J), weight (K, I, J) and bias (K,); got {input1.shape}, "
                         f"{input2.shape}, {weight.shape} and {None if bias is None else bias.shape}")  # fmt: skip
    result = einsum("...i,kij,...j->...k", input1, weight, input2)
    return result if bias is None else result + bias
