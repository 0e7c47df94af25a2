"""Pixels and channels exchanged: shuffles."""

from __future__ import annotations

from minidl.core import Tensor
from minidl.errors import ArgumentError, ShapeError

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r², H, W) to (..., C, H r, W r): channels become pixels. Source: Shi et al., CVPR 2016.

    Raises:
        ShapeError: if r² does not divide the channels.
    """
    r = upscale_factor
    if r < 1:
        raise ArgumentError(f"pixel_shuffle: upscale_factor must be 1 or more, got {r}")
    if input.ndim < 3 or input.shape[-3] % (r * r):
        raise ShapeError(f"pixel_shuffle: input must be (..., C, H, W) with C a multiple of {r * r}, got {input.shape}")
    *lead, c, h, w = input.shape
    n = len(lead)
    parts = input.reshape(*lead, c // (r * r), r, r, h, w)
    return parts.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2).reshape(*lead, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) to (..., C r², H, W): undoes `pixel_shuffle`."""
    r = downscale_factor
    if r < 1:
        raise ArgumentError(f"pixel_unshuffle: downscale_factor must be 1 or more, got {r}")
    if input.ndim < 3 or input.shape[-1] % r or input.shape[-2] % r:
        raise ShapeError(f"pixel_unshuffle: input must be (..., C, H, W) with H, W multiples of {r}, got {input.shape}")
    *lead, c, h, w = input.shape
    n = len(lead)
    parts = input.reshape(*lead, c, h // r, r, w // r, r)
    return parts.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3).reshape(*lead, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """(N, C, ...) with its channels dealt out: those of `groups` groups in turn. Source: Zhang et al., CVPR 2018.

    Raises:
        ShapeError: if `groups` does not divide C.
    """
    if input.ndim < 3 or groups < 1 or input.shape[1] % groups:
        raise ShapeError(f"channel_shuffle: input must be (N, C, ...), C a multiple of {groups}; got {input.shape}")
    n, c, *image = input.shape
    return input.reshape(n, groups, c // groups, *image).transpose(1, 2).reshape(input.shape)
