"""Functions that draw: dropouts and what else is random in training. Draws come from the default generator."""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.ops import argmax, dropout_by_key, leaky_relu, one_hot, softmax, where
from minidl.random import default_generator

__all__ = [
    "alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout", "gumbel_softmax",
    "rrelu",
]  # fmt: skip


def _check(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ArgumentError(f"{name}: p must be from 0 to 1, got {p}")


def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each element set to zero with probability `p`, the others divided by 1 - p; `input` itself outside of training.

    The mask comes from the default generator: `minidl.manual_seed` makes it repeatable.

    Source: Srivastava et al., JMLR 15 (2014).
    """
    _check("dropout", p)
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0.0
    key = default_generator().integers(0, 2**63 - 1, (2,)).astype(np.uint64)
    return dropout_by_key(input, Tensor.of(key).to(input.device), p)


def _mask_of_channels(name: str, input: Tensor, p: float, ranks: tuple[int, int], takes: str) -> Tensor:
    """Zeros and 1 / (1 - p), one for each channel; without a batch the first dimension is the channels."""
    _check(name, p)
    if input.ndim not in ranks:
        raise ShapeError(f"{name}: input must be {takes}, got {input.shape}")
    lead = 2 if input.ndim == ranks[1] else 1
    ones = input.device.xp.ones(input.shape[:lead] + (1,) * (input.ndim - lead), input.dtype)
    return dropout(Tensor.of(ones), p)


def dropout1d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel of (N, C, L) or (C, L) set to zero as a whole with probability `p`, the others divided by 1 - p."""
    mask = _mask_of_channels("dropout1d", input, p, (2, 3), "(N, C, L) or (C, L)")
    return input * mask if training and p else input


def dropout2d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel of (N, C, H, W) set to zero as a whole with probability `p`, the others divided by 1 - p."""
    if input.ndim < 3:
        raise ShapeError(f"dropout2d: input must be (N, C, H, W), got {input.shape}")
    if not training or p == 0:
        return input
    ones = Tensor.of(input.device.xp.ones(input.shape[:2] + (1,) * (input.ndim - 2), input.dtype))
    return input * dropout(ones, p)


def dropout3d(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    """Each channel of (N, C, D, H, W) or (C, D, H, W) set to zero as a whole with probability `p`."""
    mask = _mask_of_channels("dropout3d", input, p, (4, 5), "(N, C, D, H, W) or (C, D, H, W)")
    return input * mask if training and p else input


# What selu tends to on the left: -scale * alpha.
_SELU_FLOOR = -1.0507009873554804934 * 1.6732632423543772848


def alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """Each element set to selu's floor with probability `p`, all then scaled and shifted to mean 0 and variance 1.

    Source: Klambauer et al., NeurIPS 2017.
    """
    _check("alpha_dropout", p)
    if not training or p == 0:
        return input
    return _alpha(input, p, input.shape)


def feature_alpha_dropout(input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False) -> Tensor:
    """`alpha_dropout` of whole channels: (N, C, ...)."""
    _check("feature_alpha_dropout", p)
    if not training or p == 0:
        return input
    if input.ndim < 2:
        raise ShapeError(f"feature_alpha_dropout: input must be (N, C, ...), got {input.shape}")
    return _alpha(input, p, input.shape[:2] + (1,) * (input.ndim - 2))


def _alpha(input: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    if p == 1:
        return input * 0.0
    kept = dropout(Tensor.of(input.device.xp.ones(shape, input.dtype)), p) > 0
    scale = 1 / math.sqrt((1 - p) * (1 + p * _SELU_FLOOR**2))
    return where(kept, input, _SELU_FLOOR) * scale - scale * p * _SELU_FLOOR


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False, inplace: bool = False
) -> Tensor:
    """x above zero, slope * x below: a slope drawn for each element in training, the mean slope otherwise.

    Source: Xu et al., arXiv:1505.00853.
    """
    if lower > upper:
        raise ArgumentError(f"rrelu: lower must be at most upper, got {lower} and {upper}")
    if not training:
        return leaky_relu(input, (lower + upper) / 2)
    draws = default_generator().uniform(input.shape, lower, upper, input.dtype)
    return where(input > 0, input, input * Tensor.of(draws).to(input.device))


def gumbel_softmax(logits: Tensor, tau: float = 1.0, hard: bool = False, eps: float = 1e-10, dim: int = -1) -> Tensor:
    """A draw from classes that lets gradients pass: softmax((logits + Gumbel noise) / tau).

    Args:
        tau: the lower, the nearer to one class.
        hard: give one class as a vector of zeros with a one, with the soft draw's gradient.
        eps: taken for PyTorch's sake and ignored.

    Source: Jang et al., ICLR 2017.
    """
    draws = default_generator().uniform(logits.shape, dtype=np.dtype(np.float64))
    noise = -np.log(-np.log(np.maximum(draws, np.finfo(np.float64).tiny)))
    soft = softmax((logits + Tensor.of(noise.astype(logits.dtype)).to(logits.device)) / tau, dim)
    if not hard:
        return soft
    chosen = one_hot(argmax(soft.detach(), dim), soft.shape[dim]).movedim(-1, dim).to(soft.dtype)
    return chosen - soft.detach() + soft
