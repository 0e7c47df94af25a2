"""Attention: a weighted mean of values, with weights from how well queries and keys agree."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Tensor
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.arranging import repeat_interleave
from minidl.ops.diagonals import tril
from minidl.ops.indexing import where
from minidl.ops.matmul import matmul
from minidl.ops.softmax import softmax

__all__ = ["attention_weights", "scaled_dot_product_attention_by"]


def attention_weights(
    query: Tensor, key: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False, scale: float | None = None
) -> Tensor:
    """softmax(query @ key^T * scale + mask), (..., L, S).

    Args:
        query, key: (..., L, E) and (..., S, E).
        attn_mask: broadcasts to (..., L, S); bool, True where a key counts, or floating and added.
        is_causal: key j counts for query i only where j <= i.
        scale: 1 / sqrt(E) for None.

    Raises:
        ShapeError, ArgumentError: if shapes do not fit, or there are both a mask and `is_causal`.
    """
    if query.ndim < 2 or key.ndim < 2 or query.shape[-1] != key.shape[-1]:
        raise ShapeError(f"attention: query (..., L, E) and key (..., S, E) must agree, got {query.shape}, {key.shape}")
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention: give attn_mask or is_causal, not both")
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale
    scores = matmul(query * factor, key.mT)
    if is_causal:
        ones = Tensor.of(query.device.xp.ones((query.shape[-2], key.shape[-2]), bool))
        attn_mask = tril(ones)
    if attn_mask is None:
        return softmax(scores, -1)
    if is_floating(attn_mask.dtype):
        return softmax(scores + attn_mask, -1)
    counted = where(attn_mask, scores, -math.inf)
    nobody = Tensor.of(~attn_mask.array.any(-1, keepdims=True))  # a query without keys gives zeros, not NaN
    return where(nobody, 0.0, softmax(where(nobody, scores, counted), -1))


def scaled_dot_product_attention_by(
    drop: Any, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
    scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """The mean of `value` weighted by `attention_weights`, on which `drop` is applied first.

    Args:
        drop: a function from weights to weights, such as dropout.
        query, key, value: (..., L, E), (..., S, E) and (..., S, Ev).
        enable_gqa: heads (third dimension from the end) of key and value serve several of query's.

    Source: Vaswani et al., NeurIPS 2017, section 3.2.1.
    """
    if enable_gqa:
        key, value = (repeat_interleave(x, query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"attention: key (..., S, E) and value (..., S, Ev) must agree, got {key.shape}, {value.shape}"
        )
    return matmul(drop(attention_weights(query, key, attn_mask, is_causal, scale)), value)
