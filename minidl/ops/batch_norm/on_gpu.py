"""Batch normalisation by the CUDA kernels of `batch_norm.cuh`, on images (N, C, *space)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import CudaKernels, device_of
from minidl.ops.activation_gpu import KINDS
from minidl.ops.batch_norm.activation import NONE, Activation

CUDA = CudaKernels(__file__, "batch_norm.cuh")
# Sums over channels are cut into parts until there are so many blocks, but none has less than so many numbers.
BLOCKS, LEAST = 256, 2048
PIECE = 1024  # numbers that a block makes when the sums are there


def moments(mean: Array, var: Array, x: Array) -> None:
    """Mean and (biased) variance of each channel."""
    channels, plane, samples, parts = sizes = _sizes(x)
    sums = _sums(x, channels, parts)
    CUDA.launch_blocks("moments", channels * parts, mean, var, sums, x, *sizes)
    if parts > 1:
        CUDA.launch("moments_of_parts", channels, mean, var, sums, x, plane, samples, parts)


def normalized(
    out: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array, residual: Array | None, eps: float,
    activation: Activation,
) -> None:  # fmt: skip
    """act((x - mean) / sqrt(var + eps) * weight + bias [+ residual])."""
    last = (*_numbers(activation), *_sizes(x)[:2])
    CUDA.launch("normalize", x.size, out, x, weight, bias, mean, var, residual, eps, *last)


def gradients(
    out: tuple[Array, ...], g: Array, x: Array, weight: Array, bias: Array, mean: Array, var: Array, eps: float,
    activation: Activation = NONE, y: Array | None = None,
) -> None:  # fmt: skip
    """Those of x, weight and bias; with the result y under a ReLU also what that lets through of g."""
    gx, gw, gb, *kept = out
    channels, plane, samples, parts = sizes = _sizes(x)
    sums = device_of(x).xp.empty((channels, parts, 2), np.float64)
    given = (g, x, y, weight, bias, mean, var, eps, *_numbers(activation), sums)
    CUDA.launch_blocks("gradient_sums", channels * parts, *given, *sizes)
    pieces = -(-samples * plane // PIECE)
    made = (gx, kept[0] if kept else None, gw, gb)
    CUDA.launch_blocks("gradients", channels * pieces, *given, *made, *sizes, pieces)


def move_towards(
    running_mean: Array, running_var: Array, mean: Array, var: Array, momentum: float, correction: float
) -> None:
    """Running statistics a step towards those of a batch."""
    CUDA.launch("move_towards", mean.size, running_mean, running_var, mean, var, momentum, correction)


def _sizes(x: Array) -> tuple[int, int, int, int]:
    """Channels, numbers of a channel in one sample, samples, and the parts into which sums are cut."""
    samples, channels, *space = x.shape
    plane = math.prod(space)
    return channels, plane, samples, max(1, min(BLOCKS // channels, samples * plane // LEAST))


def _sums(x: Array, channels: int, parts: int) -> Array | None:
    """Room for the sums of the parts."""
    return device_of(x).xp.empty((channels, parts, 2), np.float64) if parts > 1 else None


def _numbers(activation: Activation) -> tuple[Any, ...]:
    kind, level = activation
    return KINDS[kind], level
