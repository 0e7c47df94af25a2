"""Attention as functions: with dropout, and with the projections of many heads."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from minidl.core import Tensor, is_recording
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, ShapeError
from minidl.nn.random_functions import dropout
from minidl.ops import attention_weights, cat, linear, matmul, mean, scaled_dot_product_attention_by, where
from minidl.ops.attention import attention_of_heads

__all__ = ["multi_head_attention_forward", "scaled_dot_product_attention"]


def scaled_dot_product_attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """softmax(query @ key^T * scale + mask) @ value.

    Args:
        query, key, value: (..., L, E), (..., S, E) and (..., S, Ev).
        attn_mask: broadcasts to (..., L, S); bool, True where a key counts, or floating and added to the scores.
        dropout_p: share of the weights that is dropped; whether in training or not, as in PyTorch.
        is_causal: key j counts for query i only where j <= i.
        scale: 1 / sqrt(E) for None.
        enable_gqa: heads (third dimension from the end) of key and value serve several of query's.

    Returns:
        (..., L, Ev).

    Source: Vaswani et al., NeurIPS 2017, section 3.2.1.
    """
    drop = functools.partial(dropout, p=dropout_p) if dropout_p else None
    return scaled_dot_product_attention_by(drop, query, key, value, attn_mask, is_causal, scale, enable_gqa)


def multi_head_attention_forward(
    query: Tensor, key: Tensor, value: Tensor, embed_dim_to_check: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool, dropout_p: float,
    out_proj_weight: Tensor, out_proj_bias: Tensor | None, training: bool = True,
    key_padding_mask: Tensor | None = None, need_weights: bool = True, attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False, q_proj_weight: Tensor | None = None, k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None, static_k: Tensor | None = None, static_v: Tensor | None = None,
    average_attn_weights: bool = True, is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Attention of several heads: each projects query, key and value, and the results are joined and projected.

    Args:
        query, key, value: (L, N, E), (S, N, Ek) and (S, N, Ev); without N for one sample.
        in_proj_weight: (3 E, E), unless `use_separate_proj_weight`; in_proj_bias: (3 E,).
        bias_k, bias_v: (1, 1, E), one key and value more for each sample.
        add_zero_attn: one key and value of zeros more.
        key_padding_mask: (N, S), True for keys that do not count, or floating and added.
        attn_mask: (L, S) or (N heads, L, S), True where a key does not count, or floating and added.
        need_weights: also give the weights, (N, L, S), or (N, heads, L, S) unless `average_attn_weights`.
        static_k, static_v: refused.

    Returns:
        (L, N, E), and the weights or None.

    Source: Vaswani et al., NeurIPS 2017, section 3.2.2.
    """
    if static_k is not None or static_v is not None:
        raise ArgumentError(
            "multi_head_attention_forward: static_k and static_v are not offered; project them as key, value"
        )
    if is_causal and attn_mask is None:
        raise ArgumentError("multi_head_attention_forward: is_causal is a hint; it needs attn_mask too")
    separate = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    return many_heads(
        query, key, value, embed_dim_to_check, num_heads, in_proj_weight, in_proj_bias, separate, bias_k, bias_v,
        add_zero_attn, dropout_p if training else 0.0, out_proj_weight, out_proj_bias, key_padding_mask, need_weights,
        attn_mask, average_attn_weights,
    )  # fmt: skip


def many_heads(
    query: Tensor, key: Tensor, value: Tensor, features: int, num_heads: int, in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None, separate: Any, bias_k: Tensor | None, bias_v: Tensor | None, add_zero_attn: bool,
    dropout_p: float, out_proj_weight: Tensor, out_proj_bias: Tensor | None, key_padding_mask: Tensor | None,
    need_weights: bool, attn_mask: Tensor | None, average_attn_weights: bool, batch_first: bool = False,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """`multi_head_attention_forward` for (L, N, E), or (N, L, E) as they lie with `batch_first`.

    Args:
        separate: three weights in the place of `in_proj_weight`, or None.
    """
    single, along = query.ndim == 2, 1 if batch_first else 0  # the dimension of the places
    q, k, v = each_once(lambda x: x.unsqueeze(1 - along), query, key, value) if single else (query, key, value)
    if query.ndim not in (2, 3) or q.shape[2] != features or features % num_heads:
        raise ShapeError(f"multi_head_attention_forward: query must be (L, N, {features}), a multiple of "
                         f"num_heads {num_heads}; got {query.shape}")  # fmt: skip
    batch, length = q.shape[1 - along], q.shape[along]
    q, k, v = _projected(q, k, v, in_proj_weight, in_proj_bias, separate)
    mask = None
    if attn_mask is not None or key_padding_mask is not None:
        mask = _joined_masks(attn_mask, key_padding_mask, (batch, length, k.shape[along]), q, num_heads, single)
    more = (batch, 1) if batch_first else (1, batch)
    if bias_k is not None and bias_v is not None:
        k, v = (cat([x, b.expand(*more, x.shape[2])], along) for x, b in ((k, bias_k), (v, bias_v)))
    if add_zero_attn:
        k, v = (cat([x, x.new_zeros((*more, x.shape[2]))], along) for x in (k, v))
    if mask is not None and mask.shape[-1] < k.shape[along]:
        mask = cat([mask, mask.new_zeros((*mask.shape[:-1], k.shape[along] - mask.shape[-1]))], -1)
    found = weights = None
    if not need_weights and not dropout_p:
        found = attention_of_heads(q, k, v, mask, num_heads, along)
    if found is None:
        apart, joined = ((0, 2, 1, 3), (0, 2, 1, 3)) if batch_first else ((1, 2, 0, 3), (2, 0, 1, 3))
        heads = [x.reshape(*x.shape[:2], num_heads, x.shape[2] // num_heads).permute(*apart) for x in (q, k, v)]
        if need_weights or dropout_p:
            weights = dropout(attention_weights(heads[0], heads[1], mask), dropout_p, True)
            found = matmul(weights, heads[2])
        else:
            found = scaled_dot_product_attention_by(None, heads[0], heads[1], heads[2], mask)
        found = found.permute(*joined).reshape(*q.shape)
    result = linear(found, out_proj_weight, out_proj_bias)
    shown = None
    if need_weights and weights is not None:
        shown = mean(weights, 1) if average_attn_weights else weights
    if single:
        return result.squeeze(1 - along), None if shown is None else shown.squeeze(0)
    return result, shown


def each_once(change: Callable[[Tensor], Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
    """change(t) for each; what is the same tensor stays the same one."""
    changed = {id(t): t for t in tensors}
    changed = {key: change(t) for key, t in changed.items()}
    return tuple([changed[id(t)] for t in tensors])


def _projected(
    q: Tensor, k: Tensor, v: Tensor, weight: Tensor | None, bias: Tensor | None, separate: Any
) -> tuple[Tensor, ...]:
    if q is k is v and weight is not None and separate is None and not is_recording():
        together = linear(q, weight, bias).array
        size = together.shape[-1] // 3
        return tuple([Tensor.of(together[..., at : at + size]) for at in (0, size, 2 * size)])
    weights = separate if separate is not None else weight.chunk(3, 0)  # type: ignore[union-attr]
    biases = (None, None, None) if bias is None else bias.chunk(3, 0)
    return tuple(linear(x, w, b) for x, w, b in zip((q, k, v), weights, biases, strict=True))


def _joined_masks(
    attn_mask: Tensor | None, padding: Tensor | None, sizes: tuple[int, int, int], like: Tensor, heads: int,
    single: bool,
) -> Tensor | None:  # fmt: skip
    """Both masks as one that is added to the scores, (1 or N, 1 or heads, 1 or L, S); `sizes` are N, L and S."""
    total, (batch, queries, keys) = None, sizes
    if attn_mask is not None:
        mask = _added(attn_mask, like)
        if mask.shape not in ((queries, keys), (batch * heads, queries, keys)):
            raise ShapeError(f"multi_head_attention_forward: attn_mask must be {(queries, keys)} or "
                             f"{(batch * heads, queries, keys)}, got {attn_mask.shape}")  # fmt: skip
        total = mask.reshape(-1, heads if mask.ndim == 3 else 1, queries, keys)
    if padding is not None:
        mask = _added(padding.unsqueeze(0) if single else padding, like)
        if mask.shape != (batch, keys):
            raise ShapeError(f"multi_head_attention_forward: key_padding_mask must be {(batch, keys)}, "
                             f"got {padding.shape}")  # fmt: skip
        mask = mask.reshape(batch, 1, 1, keys)
        total = mask if total is None else total + mask
    return total


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: True, which hides, as -inf."""
    if is_floating(mask.dtype):
        return mask.to(like.dtype)
    zero = Tensor.of(like.device.xp.zeros((), like.dtype))
    return where(mask, -float("inf"), zero)
