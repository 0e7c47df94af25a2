"""Functions of matrices made of products and decompositions: powers, exponential, norms, condition, inverses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from minidl.core import Tensor, dim_index
from minidl.device.dtypes import DType, is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.concat import stack
from minidl.ops.decompositions import inverse, solve, svdvals
from minidl.ops.lapack import check_square
from minidl.ops.norms import vector_norm
from minidl.ops.products import chain_matmul
from minidl.ops.products import cross as cross3
from minidl.ops.reduce import amax, amin
from minidl.ops.reduce import sum as sum_
from minidl.ops.views import expand, movedim, reshape, unsqueeze

__all__ = ["matrix_exp", "matrix_power", "nuclear_norm"]


def matrix_power(input: Tensor, n: int) -> Tensor:
    """The `n`-th power of each matrix; negative powers are those of the inverse.

    >>> matrix_power(Tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    check_square("matrix_power", input.spec)
    if n < 0:
        return matrix_power(inverse(input), -n)
    if n == 0:
        eye = input.device.xp.eye(input.shape[-1], dtype=input.dtype)
        return expand(Tensor.of(eye), input.shape) + input * 0
    power, rest, found = input, n, None
    while rest:
        if rest & 1:
            found = power if found is None else found @ power
        rest >>= 1
        power = power @ power if rest else power
    return found  # type: ignore[return-value]


# Coefficients of the Padé approximation of degree 13. Source: Higham, SIAM J. Matrix Anal. Appl. 26 (2005), (2.3).
_PADE = tuple(
    math.factorial(26 - j) * math.factorial(13) / (math.factorial(26) * math.factorial(13 - j) * math.factorial(j))
    for j in range(14)
)


def matrix_exp(input: Tensor) -> Tensor:
    """The exponential of each matrix, 1 + A + A²/2 + ..., by a Padé approximation of A / 2^s, squared s times.

    Source: Higham, SIAM J. Matrix Anal. Appl. 26 (2005).
    """
    check_square("matrix_exp", input.spec)
    if not input.numel():
        return input * 1
    size = float(amax(sum_(input.detach().abs(), -2)).item())
    squarings = max(0, math.ceil(math.log2(size / 5.37))) if 5.37 < size < math.inf else 0
    a = input * 0.5**squarings
    square = a @ a
    one = Tensor.of(a.device.xp.eye(a.shape[-1], dtype=a.dtype))
    even, odd, power = one * _PADE[0], one * _PADE[1], one
    for j in range(1, 7):
        power = power @ square
        even, odd = even + power * _PADE[2 * j], odd + power * _PADE[2 * j + 1]
    odd = a @ odd
    result = solve(even - odd, even + odd) if a.ndim > 1 else a
    for _ in range(squarings):
        result = result @ result
    return result


def multi_dot(tensors: Sequence[Tensor]) -> Tensor:
    """The product of two or more matrices in the order of fewest multiplications; vectors may stand at the ends."""
    if len(tensors) < 2:
        raise ShapeError(f"multi_dot: needs two tensors or more, got {len(tensors)}")
    if any(not 1 <= x.ndim <= 2 for x in tensors) or any(x.ndim != 2 for x in tensors[1:-1]):
        raise ShapeError(f"multi_dot: needs matrices, with vectors at the ends alone; got {[x.shape for x in tensors]}")
    first, last = tensors[0], tensors[-1]
    parts = [unsqueeze(first, 0) if first.ndim == 1 else first, *tensors[1:-1],
             unsqueeze(last, 1) if last.ndim == 1 else last]  # fmt: skip
    result = chain_matmul(*parts)
    shape = ([] if first.ndim == 1 else [result.shape[0]]) + ([] if last.ndim == 1 else [result.shape[1]])
    return reshape(result, shape)


def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """A norm of each matrix made of two dimensions.

    Args:
        ord: "fro"; "nuc", the sum of singular values; 2 and -2, the largest and smallest of them; 1 and -1 (inf and
            -inf), the largest and smallest sum of sizes in a column (row).
    """
    A = A if dtype is None else A.to(dtype)
    dims = [dim_index("matrix_norm", d, A.ndim) for d in dim]
    if len(dims) != 2 or dims[0] == dims[1] or A.ndim < 2:
        raise ShapeError(f"matrix_norm: dim must be two different dimensions of A {A.shape}, got {dim}")
    if not is_floating(A.dtype):
        raise DTypeError(f"matrix_norm: A must be floating, got {A.dtype}; use A.float()")
    x = movedim(A, dims, (-2, -1))
    if ord == "fro":
        result = vector_norm(x, 2, (-2, -1))
    elif ord == "nuc":
        result = sum_(svdvals(x), -1)
    elif ord in (2, -2):
        result = (amax if ord > 0 else amin)(svdvals(x), -1)
    elif ord in (1, -1, math.inf, -math.inf):
        sums = sum_(x.abs(), -2 if abs(ord) == 1 else -1)
        result = (amax if ord > 0 else amin)(sums, -1)
    else:
        raise ArgumentError(f"matrix_norm: ord must be 'fro', 'nuc', ±1, ±2 or ±inf, got {ord!r}")
    for d in sorted(dims) if keepdim else ():
        result = unsqueeze(result, d)
    return result


def nuclear_norm(input: Tensor, dim: Any = None, keepdim: bool = False, dtype: DType | None = None) -> Tensor:
    """The sum of the singular values of each matrix, over all of a matrix or two dimensions `dim`."""
    return matrix_norm(input, "nuc", (-2, -1) if dim is None else dim, keepdim, dtype=dtype)


def norm_of_either(
    A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Tensor:
    """`vector_norm` along one dimension, `matrix_norm` over two; the 2-norm of all elements by default.

    Args:
        ord: as for those two.
        dim: one dimension, two, or None: all for no `ord`, else one or two as A has.
    """
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if isinstance(dim, (list, tuple)) and len(dim) == 1:
        dim = dim[0]
    if isinstance(dim, int) or (dim is None and A.ndim == 1):
        if isinstance(ord, str):
            raise ArgumentError(f"norm: ord {ord!r} is a norm of matrices; dim must be two dimensions")
        return vector_norm(A, ord, dim, keepdim, dtype=dtype)
    if dim is None and A.ndim != 2:
        raise ShapeError(f"norm: with ord and without dim, A must have one or two dimensions, got {A.shape}")
    return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)


def cross_last(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor:
    """The vector product along `dim`, of length 3."""
    return cross3(input, other, dim)


def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor:
    """Products summed along `dim`."""
    return sum_(x * y, dim)


def vander(x: Tensor, *, N: int | None = None) -> Tensor:
    """Powers 0 to N - 1 of each element, in rows.

    >>> vander(Tensor([2.0]), N=3)
    tensor([[1., 2., 4.]])
    """
    if N is not None and N <= 1:
        raise ArgumentError(f"vander: N must be above 1, got {N}")
    x = x if x.ndim else reshape(x, 1)
    count = x.shape[-1] if N is None else N
    powers = [x * 0 + 1]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    return stack(powers, -1)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """The condition number of each matrix: its norm times that of its inverse; `p` as for `matrix_norm`, 2 for None."""
    if p in (None, 2, -2):
        s = svdvals(A)
        if not s.shape[-1]:
            return sum_(s, -1)
        high, low = amax(s, -1), amin(s, -1)
        return low / high if p == -2 else high / low
    check_square("cond", A.spec)
    if not A.numel():
        return sum_(A, (-2, -1))
    return matrix_norm(A, p) * matrix_norm(inverse(A), p)


def tensorinv(A: Tensor, ind: int = 2) -> Tensor:
    """The inverse of A as a map from its last dimensions to its first `ind`."""
    if ind <= 0:
        raise ArgumentError(f"tensorinv: ind must be above 0, got {ind}")
    rows, columns = A.shape[:ind], A.shape[ind:]
    if math.prod(rows) != math.prod(columns):
        raise ShapeError(f"tensorinv: the first {ind} lengths of A {A.shape} must multiply to as much as the others")
    return reshape(inverse(reshape(A, math.prod(rows), math.prod(columns))), (*columns, *rows))


def tensorsolve(A: Tensor, B: Tensor, dims: Sequence[int] | None = None) -> Tensor:
    """X with tensordot(A, X) = B.

    Args:
        dims: dimensions of A to move to its end first.
    """
    if dims is not None:
        A = movedim(A, list(dims), list(range(A.ndim - len(dims), A.ndim)))
    unknowns = A.shape[B.ndim :]
    if math.prod(unknowns) != math.prod(A.shape[: B.ndim]):
        raise ShapeError(f"tensorsolve: A {A.shape} and B {B.shape} do not make as many equations as unknowns")
    matrix = reshape(A, B.numel(), B.numel())
    return reshape(solve(matrix, reshape(B, B.numel())), unknowns)
