"""Attention: a weighted mean of values, with weights from how well queries and keys agree.

On the CPU it is one op (`cpu.py`), which never writes the weights to memory; `attention_weights` gives them to those
who want to see them, or to drop some.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Run, Spec, Tensor, is_recording
from minidl.core.casting import current_casting
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.arranging import repeat_interleave
from minidl.ops.attention import cpu
from minidl.ops.attention.cpu import Heads, cut
from minidl.ops.matmul import matmul
from minidl.ops.reduce import sum as sum_
from minidl.ops.softmax import softmax
from minidl.ops.triangles import tril
from minidl.ops.views import expand, permute, reshape
from minidl.ops.where import where

__all__ = ["attention_weights", "scaled_dot_product_attention_by"]


class Attention(AlikeOp):
    """softmax(q kᵀ scale + mask) v, and the logarithm of each query's sum of exponentials, which going back needs.

    q (..., L, E), k (..., S, E) and v (..., S, Ev) have the same leading dimensions; the mask broadcasts to
    (..., L, S). With `heads` they are (N, L, H E) or (L, N, H E), as projections give them, and so is the result: the
    op sees (N, H, L, E) in them (`cpu.cut`).
    """

    name = "attention"
    saves = ("q", "k", "v", "mask", "out")
    strided = True

    @staticmethod
    def infer(
        q: Spec, k: Spec, v: Spec, mask: Spec | None = None,
        *, scale: float, is_causal: bool, is_safe: bool, heads: Heads = None,
    ) -> tuple[Spec, Spec]:  # fmt: skip
        out = q.with_shape(*q.shape[:-1], v.shape[-1])
        if heads is None:
            return out, q.with_shape(*q.shape[:-1])
        count, along = heads
        return out, q.with_shape(q.shape[1 - along], count, q.shape[along])

    @staticmethod
    def reference(
        xp: Any, out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None,
        *, scale: float, is_causal: bool, is_safe: bool, heads: Heads = None,
    ) -> None:  # fmt: skip
        result, level = cut(out[0], heads), out[1]
        q, k, v = (cut(a, heads) for a in (q, k, v))
        scores = _scores(xp, q, k, mask, scale, is_causal)
        top = scores.max(axis=-1, keepdims=True)
        if is_safe:
            top = xp.where(top == -math.inf, 0, top)
        weights = xp.exp(scores - top)
        total = weights.sum(axis=-1, keepdims=True)
        if is_safe:
            total = xp.where(total == 0, 1, total)
        level[...] = (top + xp.log(total))[..., 0]
        _multiply(xp, result, weights / total, v)

    @staticmethod
    def bind(
        out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None,
        *, scale: float, is_causal: bool, is_safe: bool, heads: Heads = None,
    ) -> Run:  # fmt: skip
        how = {"scale": scale, "is_causal": is_causal, "is_safe": is_safe, "heads": heads}
        return _handing_over(cpu.forward, out, q, k, v, mask, **how)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        q, k, v, mask, (out, level) = node.saved
        scale, is_causal, heads = node.params["scale"], node.params["is_causal"], node.params.get("heads")
        masks = () if mask is None else (mask,)
        if not is_recording():
            how = {"scale": scale, "is_causal": is_causal, "heads": heads}
            return *AttentionGrad.apply(g[0], q, k, v, out, level, *masks, **how), *(None for _ in masks)
        # To be differentiated again, in ops.
        q, k, v, slope = (_apart(t, heads) for t in (q, k, v, g[0]))
        scores = matmul(q * scale, k.mT)
        scores = scores if mask is None else scores + mask
        weights = softmax(scores + _later_keys(q, k) if is_causal else scores, -1)
        gw = matmul(slope, v.mT)
        gs = weights * (gw - sum_(gw * weights, -1, keepdim=True)) * scale
        found = (matmul(gs, k), matmul(gs.mT, q), matmul(weights.mT, slope))
        return *(_joined(t, heads) for t in found), *(None for _ in masks)


class AttentionGrad(AlikeOp):
    """The gradients of q, k and v; for a second derivative they are written in ops instead."""

    name = "attention_grad"
    strided = True

    @staticmethod
    def infer(
        g: Spec, q: Spec, k: Spec, v: Spec, out: Spec, level: Spec, mask: Spec | None = None,
        *, scale: float, is_causal: bool, heads: Heads,
    ) -> tuple[Spec, Spec, Spec]:  # fmt: skip
        return q, k, v

    @staticmethod
    def reference(
        xp: Any, grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
        mask: Array | None = None, *, scale: float, is_causal: bool, heads: Heads,
    ) -> None:  # fmt: skip
        gq, gk, gv, g, q, k, v, out = (cut(a, heads) for a in (*grads, g, q, k, v, out))
        weights = xp.exp(_scores(xp, q, k, mask, scale, is_causal) - level[..., None])
        slopes = xp.matmul(g, v.swapaxes(-1, -2))
        slopes -= (g * out).sum(axis=-1, keepdims=True)
        slopes *= weights * scale
        _multiply(xp, gq, slopes, k)
        _multiply(xp, gk, slopes.swapaxes(-1, -2), q)
        _multiply(xp, gv, weights.swapaxes(-1, -2), g)

    @staticmethod
    def bind(
        grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
        mask: Array | None = None, *, scale: float, is_causal: bool, heads: Heads,
    ) -> Run:  # fmt: skip
        how = {"scale": scale, "is_causal": is_causal, "heads": heads}
        return _handing_over(cpu.backward, grads, g, q, k, v, out, level, mask, **how)


def _apart(t: Tensor, heads: Heads) -> Tensor:
    """What `cut` is for arrays."""
    if heads is None:
        return t
    count, along = heads
    return permute(reshape(t, *t.shape[:2], count, t.shape[2] // count), *((0, 2, 1, 3) if along else (1, 2, 0, 3)))


def _joined(t: Tensor, heads: Heads) -> Tensor:
    """The way back from `_apart`."""
    if heads is None:
        return t
    t = permute(t, *((0, 2, 1, 3) if heads[1] else (2, 0, 1, 3)))
    return reshape(t, *t.shape[:2], t.shape[2] * t.shape[3])


def _multiply(xp: Any, out: Array, x: Array, y: Array) -> None:
    """out = x times y, also where out is of several heads."""
    if out.flags.c_contiguous:
        xp.matmul(x, y, out=out)
    else:
        out[...] = xp.matmul(x, y)


def _scores(xp: Any, q: Array, k: Array, mask: Array | None, scale: float, is_causal: bool) -> Array:
    scores = xp.matmul(q * q.dtype.type(scale), k.swapaxes(-1, -2))
    if mask is not None:
        scores = scores + mask
    if is_causal:
        scores = xp.where(xp.tril(xp.ones(scores.shape[-2:], bool)), scores, scores.dtype.type(-math.inf))
    return scores


def _handing_over(bind: Callable[..., Run], results: Any, *arrays: Array | None, **how: Any) -> Run:
    """What `bind` gives, which writes C-contiguous results; stand-ins for those that are not are copied."""
    run = bind(_straight(results), *arrays, **how)
    if all(a.flags.c_contiguous for a in results):
        return run

    def handing_over(results: tuple[Array, ...], *arrays: Array) -> None:
        written = _straight(results)
        run(written, *arrays)
        for result, array in zip(results, written, strict=True):
            if array is not result:
                result[...] = array

    return handing_over


def _straight(results: tuple[Array, ...]) -> tuple[Array, ...]:
    """Those results that are C-contiguous, and stand-ins for the others."""
    return tuple([a if a.flags.c_contiguous else np.empty(a.shape, a.dtype) for a in results])


def _later_keys(q: Tensor, k: Tensor) -> Tensor:
    """(L, S): -inf for keys behind a query's own place, 0 for the others."""
    xp = q.device.xp
    counts = xp.tril(xp.ones((q.shape[-2], k.shape[-2]), bool))
    return Tensor.of(xp.where(counts, 0, -math.inf).astype(q.dtype))


def _at_once(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool, scale: float | None
) -> Tensor:
    """The op `attention`, of operands that fit."""
    q, k, v = query, key, value
    if not q.shape[:-2] == k.shape[:-2] == v.shape[:-2]:
        batch = np.broadcast_shapes(*[x.shape[:-2] for x in (q, k, v)])
        q, k, v = (x if x.shape[:-2] == batch else expand(x, (*batch, *x.shape[-2:])) for x in (q, k, v))
    masks = () if attn_mask is None else (_added(attn_mask, query),)
    factor = 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else float(scale)
    is_safe = attn_mask is not None and not is_floating(attn_mask.dtype)
    result: Tensor = Attention.apply(q, k, v, *masks, scale=factor, is_causal=is_causal, is_safe=is_safe)[0]
    return result


def attention_of_heads(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, heads: int, along: int
) -> Tensor | None:
    """The attention of so many heads, which lie side by side in the last of three dimensions, with places `along` one.

    The result lies alike. None where that is more than one op: empty, of narrow or several types, with a mask, which is
    added to the scores (N, heads, L, S), that learns.
    """
    is_plain = query.dtype == key.dtype == value.dtype and query.dtype in (np.float32, np.float64)
    is_plain = is_plain and current_casting() is None and not (mask is not None and mask.requires_grad)
    if not is_plain or not (query.numel() and key.numel() and value.numel()):
        return None
    factor = 1 / math.sqrt(query.shape[2] // heads)
    inputs = (query, key, value) if mask is None else (query, key, value, mask)
    result: Tensor = Attention.apply(*inputs, scale=factor, is_causal=False, is_safe=False, heads=(heads, along))[0]
    return result


def _added(mask: Tensor, like: Tensor) -> Tensor:
    """A mask as numbers to add: where it is False -inf."""
    if is_floating(mask.dtype):
        return mask.to(like.dtype)
    return Tensor.of(like.device.xp.where(mask.array, 0, -math.inf).astype(like.dtype))


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
    _check(query, key, attn_mask, is_causal)
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
        drop: a function from weights to weights, such as dropout. Without one (None) the weights are never made.
        query, key, value: (..., L, E), (..., S, E) and (..., S, Ev).
        enable_gqa: heads (third dimension from the end) of key and value serve several of query's.

    Source: Vaswani et al., NeurIPS 2017, section 3.2.1.
    """
    if enable_gqa:
        key, value = (repeat_interleave(x, query.shape[-3] // x.shape[-3], -3) for x in (key, value))
    _check(query, key, attn_mask, is_causal)
    if value.ndim < 2 or key.shape[-2] != value.shape[-2]:
        raise ShapeError(
            f"attention: key (..., S, E) and value (..., S, Ev) must agree, got {key.shape}, {value.shape}"
        )
    is_plain = query.dtype == key.dtype == value.dtype and is_floating(query.dtype) and query.shape[-1] > 0
    if drop is None and is_plain and key.shape[-2] and not (attn_mask is not None and attn_mask.requires_grad):
        return _at_once(query, key, value, attn_mask, is_causal, scale)
    drop = drop or (lambda weights: weights)
    return matmul(drop(attention_weights(query, key, attn_mask, is_causal, scale)), value)


def _check(query: Tensor, key: Tensor, attn_mask: Tensor | None, is_causal: bool) -> None:
    if query.ndim < 2 or key.ndim < 2 or query.shape[-1] != key.shape[-1]:
        raise ShapeError(f"attention: query (..., L, E) and key (..., S, E) must agree, got {query.shape}, {key.shape}")
    if is_causal and attn_mask is not None:
        raise ArgumentError("attention: give attn_mask or is_causal, not both")
