"""grid_sample, and affine_grid (`affine.py`): images read at any places between their pixels.

The definition is made of gathers and sums (`_in_ops`), so images and places have derivatives of any order. Sampling is
one op forward and two back (`cpu.py`); what is differentiated again goes by the definition.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Grads, Node, Spec, Tensor, is_recording, recording
from minidl.core.walk import walk_back
from minidl.device.sampled_places import cubic_weights
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.grid_sample import cpu
from minidl.ops.grid_sample.affine import affine_grid
from minidl.ops.indexing import gather
from minidl.ops.unary import clamp, floor, round
from minidl.ops.views import expand, reshape, unsqueeze
from minidl.ops.where import where

__all__ = ["affine_grid", "grid_sample"]

MOST_NUMBERS = 1 << 31  # of an array for the kernels


def grid_sample(
    input: Tensor, grid: Tensor, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool | None = None
) -> Tensor:
    """`input` read at the places of `grid`.

    Args:
        input: (N, C, H, W) or (N, C, D, H, W).
        grid: (N, OH, OW, 2) or (N, OD, OH, OW, 3): x, y (and z), from -1 to 1 over the image.
        mode: "bilinear" (trilinear in volumes), "nearest" or, for images, "bicubic".
        padding_mode: what lies outside: "zeros", "border" (the nearest pixel) or "reflection".
        align_corners: whether -1 and 1 are the centres of the outermost pixels, or their edges (False, None).

    Returns:
        (N, C, OH, OW) or (N, C, OD, OH, OW).

    Raises:
        ShapeError, ArgumentError: if shapes do not fit, or a mode is unknown.

    Source: Jaderberg et al., NeurIPS 2015.
    """
    dims = input.ndim - 2
    if dims not in (2, 3) or grid.ndim != input.ndim or grid.shape[-1] != dims or len(grid) != len(input):
        raise ShapeError(f"grid_sample: needs (N, C, H, W) and (N, OH, OW, 2), or a dimension more; got {input.shape} "
                         f"and {grid.shape}")  # fmt: skip
    if not math.prod(input.shape[1:]) or input.dtype != grid.dtype:
        raise ShapeError(f"grid_sample: input must not be empty, and grid have its type; got {input.dtype} "
                         f"{input.shape} and {grid.dtype}")  # fmt: skip
    if mode not in ("bilinear", "nearest", "bicubic") or (mode == "bicubic" and dims == 3):
        raise ArgumentError(f"grid_sample: mode must be 'bilinear', 'nearest' or, for images, 'bicubic'; got {mode!r}")
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ArgumentError(
            f"grid_sample: padding_mode must be 'zeros', 'border' or 'reflection', got {padding_mode!r}"
        )
    how: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": bool(align_corners)}
    result: Tensor = GridSample.apply(input, grid, **how)
    return result


class Sampling(AlikeOp):
    """What the three ops share: kernels count pixels in 32 bits."""

    strided = True

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and all(a.size < MOST_NUMBERS for a in arrays)


class GridSample(Sampling):
    """Nearest, linear or cubic."""

    name = "grid_sample"
    saves = ("x", "grid")

    @staticmethod
    def infer(x: Spec, grid: Spec, *, mode: str, padding_mode: str, align_corners: bool) -> Spec:
        return x.with_shape(*x.shape[:2], *grid.shape[1:-1])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, grid: Array, **how: Any) -> None:
        with recording(False):
            out[...] = _in_ops(Tensor.of(x), Tensor.of(grid), **how).array

    @staticmethod
    def cpu(out: Array, x: Array, grid: Array, **how: Any) -> None:
        cpu.sample(out, x, grid, **how)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, grid = node.saved
        if is_recording():
            return _defined_gradients(x, grid, g, node.params)
        gx = GridSampleGradInput.apply(g, x, grid, **node.params) if node.needs[0] else None
        return gx, GridSampleGradGrid.apply(g, x, grid, **node.params) if node.needs[1] else None


class GridSampleGradInput(Sampling):
    """The gradient of the image; for a second derivative the definition is differentiated instead."""

    name = "grid_sample_grad_input"

    @staticmethod
    def infer(g: Spec, x: Spec, grid: Spec, *, mode: str, padding_mode: str, align_corners: bool) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, grid: Array, **how: Any) -> None:
        gx, _ = _defined_gradients(Tensor.of(x), Tensor.of(grid), Tensor.of(g), how)
        out[...] = 0 if gx is None else gx.array

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, grid: Array, **how: Any) -> None:
        cpu.sample_back(out, g, x, grid, **how)


class GridSampleGradGrid(Sampling):
    """The gradient of the places; for a second derivative the definition is differentiated instead."""

    name = "grid_sample_grad_grid"

    @staticmethod
    def infer(g: Spec, x: Spec, grid: Spec, *, mode: str, padding_mode: str, align_corners: bool) -> Spec:
        return grid

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, x: Array, grid: Array, **how: Any) -> None:
        _, found = _defined_gradients(Tensor.of(x), Tensor.of(grid), Tensor.of(g), how)
        out[...] = 0 if found is None else found.array

    @staticmethod
    def cpu(out: Array, g: Array, x: Array, grid: Array, **how: Any) -> None:
        cpu.sample_places_back(out, g, x, grid, **how)


def _defined_gradients(x: Tensor, grid: Tensor, g: Tensor, how: Mapping[str, Any]) -> Grads:
    """The gradients of the definition, which can be differentiated again where steps are recorded."""
    again = is_recording()
    if not x.requires_grad or not grid.requires_grad:
        x, grid = (t if t.requires_grad else t.detach().requires_grad_(True) for t in (x, grid))
    with recording(True):
        result = _in_ops(x, grid, **how)
    return walk_back([(result, g)], retain_graph=again, create_graph=again, wanted=[x, grid], accumulate=False)


def _in_ops(input: Tensor, grid: Tensor, *, mode: str, padding_mode: str, align_corners: bool) -> Tensor:
    """The definition."""
    dims, image, aligned = input.ndim - 2, input.shape[2:], align_corners
    places = [_pixel(grid[..., dims - 1 - d], n, aligned) for d, n in enumerate(image)]
    if mode != "bicubic":
        places = [_inside(p, n, padding_mode, aligned) for p, n in zip(places, image, strict=True)]
    pixels = reshape(input, *input.shape[:2], math.prod(image))
    total: Any = 0
    for corner in itertools.product(*[_neighbours(p, mode) for p in places]):
        index, weight = [place for place, _ in corner], _product([w for _, w in corner])
        if mode == "bicubic" and padding_mode != "zeros":
            index = [round(_inside(i, n, padding_mode, aligned)) for i, n in zip(index, image, strict=True)]
        total = total + _read(pixels, index, image) * unsqueeze(weight, 1)
    return reshape(total, *input.shape[:2], *grid.shape[1:-1])


def _pixel(x: Tensor, n: int, aligned: bool) -> Tensor:
    """A place from -1 to 1 as a pixel's number."""
    return (x + 1) * ((n - 1) / 2) if aligned else ((x + 1) * n - 1) * 0.5


def _inside(p: Tensor, n: int, padding_mode: str, aligned: bool) -> Tensor:
    """Places beyond the edge, moved onto the image as `padding_mode` says."""
    if padding_mode == "reflection":
        low, span = (0.0, float(n - 1)) if aligned else (-0.5, float(n))
        if span == 0:
            return p * 0
        away = (p - low).abs()
        turns = floor(away / span).detach()
        rest = away - turns * span
        p = where(turns.remainder(2) == 0, rest + low, span - rest + low)
    if padding_mode == "zeros":
        return p
    return clamp(where(p == p, p, -1.0), 0.0, float(n - 1))


def _neighbours(p: Tensor, mode: str) -> list[tuple[Tensor, Tensor]]:
    """Along one dimension the pixels that count at `p`, and their weights."""
    if mode == "nearest":
        place = round(p).detach()
        return [(place, place * 0 + 1)]
    low = floor(p).detach()
    share = p - low
    if mode == "bilinear":
        return [(low, 1 - share), (low + 1, share)]
    return [(low + i, w) for i, w in zip((-1, 0, 1, 2), cubic_weights(share), strict=True)]


def _product(factors: list[Tensor]) -> Tensor:
    result = factors[0]
    for factor in factors[1:]:
        result = result * factor
    return reshape(result, len(result), math.prod(result.shape[1:]))


def _read(pixels: Tensor, index: list[Tensor], image: tuple[int, ...]) -> Tensor:
    """(N, C, P): the pixels at whole places, zero outside of the image."""
    xp = pixels.device.xp
    flat, inside = xp.zeros((), np.int64), xp.ones((), bool)
    for place, n in zip(index, image, strict=True):
        inside = inside & (place.array >= 0) & (place.array <= n - 1)
        whole = xp.where((place.array >= 0) & (place.array <= n - 1), place.array, 0).astype(np.int64)
        flat = flat * n + whole
    flat = flat.reshape(len(pixels), 1, math.prod(flat.shape[1:]))
    found = gather(pixels, 2, expand(Tensor.of(flat), (len(pixels), pixels.shape[1], flat.shape[2])))
    return where(Tensor.of(inside.reshape(flat.shape)), found, 0.0)
