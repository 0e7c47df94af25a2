"""The functions behind the layers, under PyTorch's names: ops re-exported, and what layers add to them.

Arguments that PyTorch takes and that change nothing here (`inplace`) are accepted, so that its calls run unchanged.
"""

from __future__ import annotations

import numpy as np

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.ops import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    batch_norm,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    conv1d,
    conv2d,
    conv3d,
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
    cross_entropy,
    dropout_by_key,
    gelu,
    group_norm,
    huber_loss,
    interpolate,
    l1_loss,
    layer_norm,
    linear,
    log_softmax,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    mse_loss,
    nll_loss,
    one_hot,
    pad,
    sigmoid,
    smooth_l1_loss,
    soft_dice_loss,
    softmax,
    softplus,
    tanh,
)
from minidl.ops import elu as _elu
from minidl.ops import hardtanh as _hardtanh
from minidl.ops import leaky_relu as _leaky_relu
from minidl.ops import relu as _relu
from minidl.ops import relu6 as _relu6
from minidl.ops import silu as _silu
from minidl.random import default_generator

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "batch_norm", "binary_cross_entropy", "binary_cross_entropy_with_logits", "conv1d", "conv2d", "conv3d",
    "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "cross_entropy", "dropout", "dropout2d", "elu",
    "gelu", "group_norm", "hardtanh", "huber_loss", "interpolate", "l1_loss", "layer_norm", "leaky_relu", "linear",
    "log_softmax", "max_pool1d", "max_pool2d", "max_pool3d", "mse_loss", "nll_loss", "one_hot", "pad", "relu",
    "relu6", "sigmoid", "silu", "smooth_l1_loss", "soft_dice_loss", "softmax", "softplus", "tanh",
]  # fmt: skip


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0)."""
    return _relu(input)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x, held between 0 and 6."""
    return _relu6(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x)."""
    return _silu(input)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x above zero, negative_slope * x below."""
    return _leaky_relu(input, negative_slope)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x above zero, alpha * (exp(x) - 1) below."""
    return _elu(input, alpha)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """x, held between `min_val` and `max_val`."""
    return _hardtanh(input, min_val, max_val)


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element set to zero with probability `p`, the others divided by 1 - p; `input` itself outside of training.

    The mask comes from the default generator: `minidl.manual_seed` makes it repeatable.

    Source: Srivastava et al., JMLR 15 (2014).
    """
    if not 0 <= p <= 1:
        raise ArgumentError(f"dropout: p must be from 0 to 1, got {p}")
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    key = default_generator().integers(0, 2**63 - 1, (2,)).astype(np.uint64)
    return dropout_by_key(input, Tensor.of(key).to(input.device), p)


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel of (N, C, H, W) set to zero as a whole with probability `p`, the others divided by 1 - p."""
    if input.ndim < 3:
        raise ShapeError(f"dropout2d: input must be (N, C, H, W), got {input.shape}")
    if not training or p == 0:
        return input
    ones = Tensor.of(input.device.xp.ones(input.shape[:2] + (1,) * (input.ndim - 2), input.dtype))
    return input * dropout(ones, p)
