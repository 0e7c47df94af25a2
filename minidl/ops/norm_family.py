"""Normalisations beyond batch, layer and group: instance, local response."""

from __future__ import annotations

import math

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.avg_pool import avg_pool2d
from minidl.ops.batch_norm import batch_norm
from minidl.ops.normalize import group_norm
from minidl.ops.pad import pad
from minidl.ops.views import flatten, reshape, squeeze, transpose, unsqueeze

__all__ = ["instance_norm", "local_response_norm"]


def instance_norm(
    input: Tensor, running_mean: Tensor | None = None, running_var: Tensor | None = None, weight: Tensor | None = None,
    bias: Tensor | None = None, use_input_stats: bool = True, momentum: float = 0.1, eps: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Normalise each channel of each sample over its pixels.

    Args:
        input: (N, C, L, ...).
        running_mean, running_var: (C,), moved towards the mean over the batch by `momentum`, and used instead of the
            sample's own where `use_input_stats` is False.
        weight, bias: (C,), a scale and a shift for each channel.

    Raises:
        ShapeError: if a channel has one pixel only.

    Source: Ulyanov et al., arXiv:1607.08022.
    """
    if input.ndim < 2:
        raise ShapeError(f"instance_norm: input must be (N, C, L, ...), got {input.shape}")
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    n, c, *image = input.shape
    if math.prod(image) == 1:
        raise ShapeError(f"instance_norm: needs more than one pixel in each channel, got input {input.shape}")
    if running_mean is None and running_var is None:
        return group_norm(input, c, weight, bias, eps)
    samples = reshape(input, 1, n * c, *image)
    stats = [None if s is None else Tensor.of(s.device.xp.tile(s.array, n)) for s in (running_mean, running_var)]
    result = reshape(batch_norm(samples, stats[0], stats[1], None, None, True, momentum, eps), input.shape)
    for kept, seen in zip((running_mean, running_var), stats, strict=True):
        if kept is not None and seen is not None:
            kept.array[...] = seen.array.reshape(n, c).mean(0)
    shape = [c if d == 1 else 1 for d in range(input.ndim)]
    result = result if weight is None else result * reshape(weight, shape)
    return result if bias is None else result + reshape(bias, shape)


def local_response_norm(input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha * mean of x² over `size` neighbouring channels)^beta.

    Args:
        input: (N, C, ...), with one dimension or more behind C.

    Source: Krizhevsky et al., NeurIPS 2012, section 3.3.
    """
    if input.ndim < 3:
        raise ShapeError(f"local_response_norm: input must be (N, C, L, ...), got {input.shape}")
    if size < 1:
        raise ArgumentError(f"local_response_norm: size must be 1 or more, got {size}")
    if not input.numel():
        return input
    squares = pad(flatten(input * input, 2), (0, 0, size // 2, (size - 1) // 2))
    images = unsqueeze(transpose(squares, 1, 2), 3)  # channels are pixels, and lie as those of a channels-last image
    means = transpose(squeeze(avg_pool2d(images, (size, 1), 1), 3), 1, 2)
    return input / (reshape(means, input.shape) * alpha + k) ** beta
