"""affine_grid: the places that an affine map reads, and the sums that are its adjoint.

Along a row of places only x moves, so a row is a line for each coordinate: two operations a number. The adjoint sums
the gradient of each row, and its products with x; what is left is a small product with the other coordinates.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import inline, kernel, parallel
from minidl.device.dtypes import DType
from minidl.errors import ShapeError

__all__ = ["affine_grid"]

FLOATS = ("float32", "float64")
Lengths = tuple[int, ...]


class AffineGrid(Op):
    """(N, dims, dims + 1) times (x, y, z, 1) at each place: (N, *lengths, dims)."""

    name = "affine_grid"

    @staticmethod
    def infer(theta: Spec, *, lengths: Lengths, is_aligned: bool) -> Spec:
        return theta.with_shape(theta.shape[0], *lengths, len(lengths))

    @staticmethod
    def reference(xp: Any, out: Array, theta: Array, *, lengths: Lengths, is_aligned: bool) -> None:
        points = _points(xp, lengths, is_aligned, theta.dtype)
        out[...] = xp.matmul(points, xp.swapaxes(theta, 1, 2)).reshape(out.shape)

    @staticmethod
    def cpu(out: Array, theta: Array, *, lengths: Lengths, is_aligned: bool) -> None:
        *around, columns = _axes(lengths, is_aligned, out.dtype)
        outer = around[0] if len(around) > 1 else np.zeros(1, out.dtype)
        rows = out.size // max(out.shape[-1] * out.shape[-2], 1)
        parallel(_rows, rows, out.reshape(-1), theta.reshape(-1), outer, around[-1], columns, len(lengths))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AffineGridAdjoint.apply(g, is_aligned=node.params["is_aligned"]),)


class AffineGridAdjoint(Op):
    """For each sample and entry of theta the sum over places of gradient times coordinate."""

    name = "affine_grid_adjoint"

    @staticmethod
    def infer(g: Spec, *, is_aligned: bool) -> Spec:
        return g.with_shape(g.shape[0], g.shape[-1], g.shape[-1] + 1)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, is_aligned: bool) -> None:
        points = _points(xp, g.shape[1:-1], is_aligned, g.dtype)
        flat = g.reshape(len(g), len(points), g.shape[-1])
        out[...] = xp.matmul(xp.swapaxes(flat, 1, 2), points)

    @staticmethod
    def cpu(out: Array, g: Array, *, is_aligned: bool) -> None:
        *around, columns = _axes(g.shape[1:-1], is_aligned, g.dtype)
        dims, rows = g.shape[-1], math.prod(g.shape[1:-2])
        parts = np.empty((len(g) * rows, dims, 2))
        parallel(_row_sums, len(parts), parts.reshape(-1), g.reshape(-1), columns, dims)
        parts = parts.reshape(len(g), *g.shape[1:-2], dims, 2)
        plain = parts[..., 1]
        others = [plain * axis.reshape([-1 if i == d + 1 else 1 for i in range(dims + 1)])
                  for d, axis in enumerate(around)]  # fmt: skip
        every = tuple(range(1, dims))
        for e, terms in enumerate([parts[..., 0], *others[::-1], plain]):
            out[:, :, e] = terms.sum(every)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (AffineGrid.apply(g, lengths=node.specs[0].shape[1:-1], **node.params),)


@functools.lru_cache(maxsize=64)
def _axes(lengths: Lengths, is_aligned: bool, dtype: DType) -> tuple[Array, ...]:
    """The coordinates along each dimension, z or y first, from -1 to 1 or half a pixel within."""
    ends = [np.linspace(-1, 1, n) if n > 1 else np.zeros(n) for n in lengths]
    return tuple(
        [(e if is_aligned else e * ((n - 1) / max(n, 1))).astype(dtype) for e, n in zip(ends, lengths, strict=True)]
    )


def _points(xp: Any, lengths: Lengths, is_aligned: bool, dtype: DType) -> Array:
    """(places, dims + 1): x, y, z and 1."""
    points = np.ones((*lengths, len(lengths) + 1), dtype)
    for d, axis in enumerate(_axes(lengths, is_aligned, dtype)):
        points[..., len(lengths) - 1 - d] = axis.reshape([-1 if i == d else 1 for i in range(len(lengths))])
    return xp.asarray(points.reshape(-1, len(lengths) + 1))


@inline
def _start(theta: Array, at: int, dims: int, y: Any, z: Any) -> Any:
    """A coordinate of the row at y and z where x is 0."""
    if dims == 2:
        return theta[at + 1] * y + theta[at + 2]
    return theta[at + 1] * y + theta[at + 2] * z + theta[at + 3]


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const T[::1], intp", T=FLOATS)
def _rows(
    begin: int, end: int, out: Array, theta: Array, outer: Array, middle: Array, columns: Array, dims: int
) -> None:
    """One unit is a row of places."""
    width = len(columns)
    for row in range(begin, end):
        y, rest = middle[row % len(middle)], row // len(middle)
        z, sample = outer[rest % len(outer)], rest // len(outer)
        for d in range(dims):
            at = (sample * dims + d) * (dims + 1)
            start, step = _start(theta, at, dims, y, z), theta[at]
            for i in range(width):
                out[(row * width + i) * dims + d] = start + step * columns[i]


@kernel("float64[::1], const T[::1], const T[::1], intp", T=FLOATS)
def _row_sums(begin: int, end: int, parts: Array, g: Array, columns: Array, dims: int) -> None:
    """One unit is a row of places: for each coordinate the sum of products with x, and the plain sum."""
    width = len(columns)
    for row in range(begin, end):
        for d in range(dims):
            along, total = 0.0, 0.0
            for i in range(width):
                slope = np.float64(g[(row * width + i) * dims + d])
                along += slope * columns[i]
                total += slope
            parts[(row * dims + d) * 2], parts[(row * dims + d) * 2 + 1] = along, total


def affine_grid(theta: Tensor, size: Any, align_corners: bool | None = None) -> Tensor:
    """The places that an affine map reads, for `grid_sample`.

    Args:
        theta: (N, 2, 3) or (N, 3, 4), from places of the result to places of the image.
        size: (N, C, H, W) or (N, C, D, H, W) of the result.
        align_corners: as for `grid_sample`.

    Returns:
        (N, H, W, 2) or (N, D, H, W, 3).

    >>> affine_grid(Tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2))[0, 0, :, 0]
    tensor([-0.5,  0.5])
    """
    lengths = tuple(map(int, size))
    dims = len(lengths) - 2
    if dims not in (2, 3) or theta.shape != (lengths[0], dims, dims + 1):
        raise ShapeError(f"affine_grid: theta must be (N, 2, 3) for size (N, C, H, W), or (N, 3, 4) with D; got "
                         f"{theta.shape} and {lengths}")  # fmt: skip
    result: Tensor = AffineGrid.apply(theta, lengths=lengths[2:], is_aligned=bool(align_corners))
    return result
