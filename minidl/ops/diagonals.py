"""Diagonals of matrices: taken out, and put in."""

from __future__ import annotations

from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, ViewOp, dim_index
from minidl.device import device_of
from minidl.errors import ShapeError
from minidl.ops.views import flatten
from minidl.ops.where import where

__all__ = ["diag", "diag_embed", "diagflat", "diagonal", "diagonal_scatter", "trace"]


def _length(rows: int, columns: int, offset: int) -> int:
    return max(0, min(rows + min(offset, 0), columns - max(offset, 0)))


class Diagonal(ViewOp):
    """The diagonal of each matrix made of two dimensions, as the last dimension."""

    name = "diagonal"

    @staticmethod
    def infer(x: Spec, *, offset: int, dim1: int, dim2: int) -> Spec:
        rest = [n for d, n in enumerate(x.shape) if d not in (dim1, dim2)]
        return x.with_shape(*rest, _length(x.shape[dim1], x.shape[dim2], offset))

    @staticmethod
    def view(x: Array, *, offset: int, dim1: int, dim2: int) -> Array:
        if not _length(x.shape[dim1], x.shape[dim2], offset):
            rest = [n for d, n in enumerate(x.shape) if d not in (dim1, dim2)]
            return device_of(x).xp.zeros((*rest, 0), x.dtype)
        return x.diagonal(offset, dim1, dim2)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (DiagonalAdjoint.apply(g, shape=node.specs[0].shape, **node.params),)


class DiagonalAdjoint(Op):
    """Zeros, with the gradient on the diagonal that it came from."""

    name = "diagonal_adjoint"

    @staticmethod
    def infer(g: Spec, *, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> Spec:
        return g.with_shape(*shape)

    @staticmethod
    def reference(xp: Any, out: Array, g: Array, *, shape: tuple[int, ...], offset: int, dim1: int, dim2: int) -> None:
        out[...] = 0
        steps = xp.arange(g.shape[-1])
        place: list[Any] = [slice(None)] * len(shape)
        place[dim1], place[dim2] = steps - min(offset, 0), steps + max(offset, 0)
        # Index arrays with slices between them come first in the result, else where they stand.
        together = abs(dim1 - dim2) == 1
        out[tuple(place)] = xp.moveaxis(g, -1, min(dim1, dim2) if together else 0)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        params = {name: value for name, value in node.params.items() if name != "shape"}
        return (Diagonal.apply(g, **params),)


def _two_dims(op: str, ndim: int, dim1: int, dim2: int) -> tuple[int, int]:
    if ndim < 2:
        raise ShapeError(f"{op}: needs two dimensions or more, got {ndim}")
    a, b = dim_index(op, dim1, ndim), dim_index(op, dim2, ndim)
    if a == b:
        raise ShapeError(f"{op}: dim1 and dim2 must differ, got {dim1} and {dim2}")
    return a, b


def diagonal(input: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """The diagonal of each matrix made of `dim1` and `dim2`, as the last dimension; a view.

    Args:
        offset: above the main diagonal if positive, below if negative.

    >>> diagonal(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1., 4.])
    """
    a, b = _two_dims("diagonal", input.ndim, dim1, dim2)
    result: Tensor = Diagonal.apply(input, offset=int(offset), dim1=a, dim2=b)
    return result


def diagonal_last(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """`diagonal` of the last two dimensions, as `linalg.diagonal` has it."""
    return diagonal(A, offset, dim1, dim2)


def diag_embed(input: Tensor, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor:
    """Matrices in `dim1` and `dim2` with the last dimension of `input` on a diagonal, and zeros elsewhere."""
    if not input.ndim:
        raise ShapeError("diag_embed: input needs one dimension or more")
    a, b = _two_dims("diag_embed", input.ndim + 1, dim1, dim2)
    if a > b:  # the diagonal below, seen from the other side
        a, b, offset = b, a, -offset
    size = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    shape.insert(a, size)
    shape.insert(b, size)
    result: Tensor = DiagonalAdjoint.apply(input, shape=tuple(shape), offset=int(offset), dim1=a, dim2=b)
    return result


take_diagonal = diagonal  # where an argument has its name


def diag(input: Tensor, diagonal: int = 0) -> Tensor:
    """Of a vector the matrix with it on a diagonal, of a matrix that diagonal.

    Raises:
        ShapeError: for other numbers of dimensions.
    """
    if input.ndim not in (1, 2):
        raise ShapeError(f"diag: input must have one or two dimensions, got {input.shape}; use diagonal or diag_embed")
    return diag_embed(input, diagonal) if input.ndim == 1 else take_diagonal(input, diagonal)


def diagflat(input: Tensor, offset: int = 0) -> Tensor:
    """The matrix with all elements of `input` on a diagonal."""
    return diag_embed(flatten(input), offset)


def diagonal_scatter(input: Tensor, src: Tensor, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Tensor:
    """`input` with `src` on a diagonal.

    Raises:
        ShapeError: if `src` has not the shape of that diagonal.
    """
    place = diagonal(input, offset, dim1, dim2)
    if place.shape != src.shape:
        raise ShapeError(f"diagonal_scatter: src must be {place.shape}, as the diagonal is; got {src.shape}")
    a, b = _two_dims("diagonal_scatter", input.ndim, dim1, dim2)
    spread = DiagonalAdjoint.apply(src, shape=input.shape, offset=int(offset), dim1=a, dim2=b)
    xp = input.device.xp
    ones = Tensor.of(xp.ones(place.shape, bool))
    kept: Tensor = DiagonalAdjoint.apply(ones, shape=input.shape, offset=int(offset), dim1=a, dim2=b)
    return where(kept, spread, input)


def trace(input: Tensor) -> Tensor:
    """The sum of a matrix's diagonal.

    >>> trace(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(5.)
    """
    if input.ndim != 2:
        raise ShapeError(f"trace: input must be a matrix, got {input.shape}")
    return diagonal(input).sum()
