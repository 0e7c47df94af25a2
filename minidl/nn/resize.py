"""Upsample: a larger image, by repeating pixels or by interpolating between them."""

from __future__ import annotations

from collections.abc import Sequence

from minidl.core import Tensor
from minidl.errors import ArgumentError
from minidl.nn import functional as F
from minidl.nn.module import Module

__all__ = ["Upsample", "UpsamplingBilinear2d", "UpsamplingNearest2d"]


class Upsample(Module):
    """Resize the spatial dimensions. Maps (N, C, d1, ...) to (N, C, d1', ...).

    Args:
        size: the new lengths; a number, or one for each spatial dimension.
        scale_factor: factors instead of `size`; new lengths are rounded down.
        mode: as for `functional.interpolate`: "nearest", "linear", "bilinear", "bicubic", "trilinear", ...
        align_corners: map corner pixels onto corner pixels; linear and cubic modes only.
        recompute_scale_factor: use the ratio of the lengths, not the factor that was given.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        if (size is None) == (scale_factor is None):
            raise ArgumentError("Upsample: give either size or scale_factor")
        self.size, self.mode, self.align_corners = size, mode, align_corners
        self.recompute_scale_factor = recompute_scale_factor
        self.scale_factor = (
            tuple(float(f) for f in scale_factor)
            if isinstance(scale_factor, Sequence)
            else None
            if scale_factor is None
            else float(scale_factor)
        )

    def forward(self, input: Tensor) -> Tensor:
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners, self.recompute_scale_factor
        )

    def extra_repr(self) -> str:
        wanted = f"size={self.size}" if self.scale_factor is None else f"scale_factor={self.scale_factor}"
        return f"{wanted}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Resize images by repeating pixels. Maps (N, C, H, W) to (N, C, H', W')."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor)


class UpsamplingBilinear2d(Upsample):
    """Resize images bilinearly, corners upon corners. Maps (N, C, H, W) to (N, C, H', W')."""

    def __init__(self, size: int | Sequence[int] | None = None, scale_factor: float | Sequence[float] | None = None):
        super().__init__(size, scale_factor, "bilinear", True)
