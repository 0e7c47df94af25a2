"""MultiheadAttention: several attentions side by side, each on its own projection."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.device import Device
from minidl.device.dtypes import DType
from minidl.errors import ArgumentError
from minidl.nn import init
from minidl.nn.attention_functions import many_heads
from minidl.nn.linear import Linear, blank
from minidl.nn.module import Module
from minidl.nn.parameter import Parameter

__all__ = ["MultiheadAttention"]


class MultiheadAttention(Module):
    """Attention of several heads. Source: Vaswani et al., NeurIPS 2017, section 3.2.2.

    Maps query (L, N, embed_dim), key (S, N, kdim) and value (S, N, vdim) to (L, N, embed_dim) and the weights
    (N, L, S); with `batch_first` N comes first, and without N it is one sample.

    Args:
        embed_dim, num_heads: the features of all heads together, and how many heads there are; they must divide.
        dropout: share of the attention weights that is dropped in training.
        bias: add learned numbers after the projections.
        add_bias_kv: one learned key and value more.
        add_zero_attn: one key and value of zeros more.
        kdim, vdim: features of key and value where they are others than embed_dim.
        batch_first: take and give (N, L, features).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, dropout: float = 0.0, bias: bool = True, add_bias_kv: bool = False,
        add_zero_attn: bool = False, kdim: int | None = None, vdim: int | None = None, batch_first: bool = False,
        device: Device | str | None = None, dtype: DType | None = None,
    ) -> None:  # fmt: skip
        if embed_dim < 1 or num_heads < 1 or embed_dim % num_heads:
            raise ArgumentError(f"MultiheadAttention: num_heads must divide embed_dim {embed_dim}, got {num_heads}")
        self.embed_dim, self.num_heads, self.dropout = embed_dim, num_heads, dropout
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.add_zero_attn, self.batch_first = add_zero_attn, batch_first
        self.joint = self.kdim == self.vdim == embed_dim
        made = {"device": device, "dtype": dtype}

        def weight(*shape: int, wanted: bool = True) -> Parameter | None:
            return blank(*shape, device=device, dtype=dtype) if wanted else None

        self.in_proj_weight = weight(3 * embed_dim, embed_dim, wanted=self.joint)
        self.q_proj_weight = weight(embed_dim, embed_dim, wanted=not self.joint)
        self.k_proj_weight = weight(embed_dim, self.kdim, wanted=not self.joint)
        self.v_proj_weight = weight(embed_dim, self.vdim, wanted=not self.joint)
        self.in_proj_bias = weight(3 * embed_dim, wanted=bias)
        self.out_proj = Linear(embed_dim, embed_dim, bias, **made)  # type: ignore[arg-type]
        self.bias_k = weight(1, 1, embed_dim, wanted=add_bias_kv)
        self.bias_v = weight(1, 1, embed_dim, wanted=add_bias_kv)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the starting values again."""
        for w in (self.in_proj_weight, self.q_proj_weight, self.k_proj_weight, self.v_proj_weight):
            if w is not None:
                init.xavier_uniform_(w)
        if self.in_proj_bias is not None and self.out_proj.bias is not None:
            init.zeros_(self.in_proj_bias)
            init.zeros_(self.out_proj.bias)
        for b in (self.bias_k, self.bias_v):
            if b is not None:
                init.xavier_normal_(b)

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding_mask: Tensor | None = None,
        need_weights: bool = True, attn_mask: Tensor | None = None, average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """Masks are as for `functional.multi_head_attention_forward`: True hides a key, numbers are added."""
        if is_causal and attn_mask is None:
            raise ArgumentError("MultiheadAttention: is_causal is a hint; it needs attn_mask too")
        separate = None if self.joint else (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        return many_heads(
            query, key, value, self.embed_dim, self.num_heads, self.in_proj_weight, self.in_proj_bias, separate,
            self.bias_k, self.bias_v, self.add_zero_attn, self.dropout if self.training else 0.0, self.out_proj.weight,
            self.out_proj.bias, key_padding_mask, need_weights, attn_mask, average_attn_weights,
            self.batch_first and query.ndim == 3,
        )  # fmt: skip
