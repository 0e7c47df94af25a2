"""tril and triu: the triangle of each matrix on one side of a diagonal, zeros on the other. One pass over memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.device.padded_line import padded_line
from minidl.errors import ShapeError

__all__ = ["tril", "triu"]


class Triangle(Op):
    """What lies on and below the diagonal, or on and above it; linear, and its own adjoint."""

    name = "triangle"

    @staticmethod
    def infer(x: Spec, *, diagonal: int, is_lower: bool) -> Spec:
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, *, diagonal: int, is_lower: bool) -> None:
        out[...] = (xp.tril if is_lower else xp.triu)(x, diagonal)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Mapping[str, Any]) -> bool:
        return super().cpu_takes(arrays, params) and arrays[0].size > 0

    @staticmethod
    def cpu(out: Array, x: Array, *, diagonal: int, is_lower: bool) -> None:
        rows, columns = x.shape[-2:]
        parallel(_rows, x.size // columns, out.reshape(-1), x.reshape(-1), rows, columns, diagonal, is_lower)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        return (Triangle.apply(g, **node.params),)


@kernel("T[::1], const T[::1], intp, intp, intp, bool", T=("float32", "float64"))
def _rows(begin: int, end: int, out: Array, x: Array, rows: int, columns: int, diagonal: int, is_lower: bool) -> None:
    """One unit is a row."""
    for row in range(begin, end):
        first, zero = row * columns, x.dtype.type(0)
        edge = min(max(row % rows + diagonal + (1 if is_lower else 0), 0), columns)
        if is_lower:
            padded_line(out, first, x, first, 0, edge, columns - edge, zero)
        else:
            padded_line(out, first, x, first + edge, edge, columns - edge, 0, zero)


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal of each matrix; zeros above.

    >>> tril(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([[1., 0.],
            [3., 4.]])
    """
    return _triangle("tril", input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal of each matrix; zeros below."""
    return _triangle("triu", input, diagonal, False)


def _triangle(name: str, input: Tensor, diagonal: int, is_lower: bool) -> Tensor:
    if input.ndim < 2:
        raise ShapeError(f"{name}: input must have two dimensions or more, got {input.shape}")
    result: Tensor = Triangle.apply(input, diagonal=int(diagonal), is_lower=is_lower)
    return result
