"""Products of vectors and matrices built on `matmul`: einsum, tensordot, outer, kron, `addmm` and its kin."""

from __future__ import annotations

import math
from typing import Any

from minidl.core import Tensor, dim_index
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.diagonals import diagonal
from minidl.ops.elementwise import broadcast
from minidl.ops.matmul import bmm, matmul
from minidl.ops.reduce import sum as sum_
from minidl.ops.views import expand, permute, reshape, unsqueeze

__all__ = [
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "chain_matmul", "cross", "dot", "einsum", "ger", "inner", "kron",
    "mm", "mv", "outer", "tensordot", "vdot",
]  # fmt: skip


def _needs(name: str, *tensors_and_ranks: tuple[str, Tensor, int]) -> None:
    for argument, x, rank in tensors_and_ranks:
        if x.ndim != rank:
            raise ShapeError(f"{name}: {argument} must have {rank} dimension{'s'[: rank > 1]}, got {x.shape}")
    if len({x.dtype for _, x, _ in tensors_and_ranks}) > 1:
        raise DTypeError(
            f"{name}: operands must have one element type, got {[str(x.dtype) for _, x, _ in tensors_and_ranks]}"
        )


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices, (M, K) times (K, N)."""
    _needs("mm", ("input", input, 2), ("mat2", mat2, 2))
    return matmul(input, mat2)


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """A matrix times a vector, (M, K) times (K,)."""
    _needs("mv", ("input", input, 2), ("vec", vec, 1))
    return matmul(input, vec)


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The inner product of two vectors of one length.

    >>> dot(Tensor([1.0, 2.0]), Tensor([3.0, 4.0]))
    tensor(11.)
    """
    _needs("dot", ("input", input, 1), ("tensor", tensor, 1))
    if input.shape != tensor.shape:
        raise ShapeError(f"dot: vectors must have one length, got {input.shape} and {tensor.shape}")
    return matmul(input, tensor)


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The same as `dot`; PyTorch's conjugates complex numbers."""
    return dot(input, other)


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Products summed over the last dimension of both; a single number multiplies."""
    if not input.ndim or not other.ndim:
        return input * other
    if input.shape[-1] != other.shape[-1]:
        raise ShapeError(f"inner: last dimensions must agree, got {input.shape} and {other.shape}")
    return tensordot(input, other, ([-1], [-1]))


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """Every product of an element of one vector and one of the other, (M,) and (N,) to (M, N)."""
    if input.ndim != 1 or vec2.ndim != 1:
        raise ShapeError(f"outer: needs two vectors, got {input.shape} and {vec2.shape}")
    return unsqueeze(input, 1) * vec2


def ger(input: Tensor, vec2: Tensor) -> Tensor:
    """The same as `outer`, as BLAS calls it."""
    return outer(input, vec2)


def _plus(name: str, input: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta * input + alpha * product; with beta 0, input counts for nothing, NaN included."""
    if broadcast(name, input.spec, product.spec) != product.shape:
        raise ShapeError(f"{name}: input {input.shape} does not broadcast to the product's shape {product.shape}")
    if input.dtype != product.dtype:
        raise DTypeError(f"{name}: input must be {product.dtype} as the product is, got {input.dtype}")
    scaled = product if alpha == 1 else product * alpha
    if beta == 0:
        return scaled
    return (input if beta == 1 else input * beta) + scaled


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat1 @ mat2); `input` broadcasts."""
    return _plus("addmm", input, mm(mat1, mat2), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (mat @ vec); `input` broadcasts."""
    return _plus("addmv", input, mv(mat, vec), beta, alpha)


def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2); `input` broadcasts."""
    return _plus("addr", input, outer(vec1, vec2), beta, alpha)


def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * the sum of all products of the batch; `input` broadcasts."""
    return _plus("addbmm", input, sum_(bmm(batch1, batch2), 0), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """beta * input + alpha * (batch1 @ batch2); `input` broadcasts."""
    return _plus("baddbmm", input, bmm(batch1, batch2), beta, alpha)


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of several matrices, in the order of fewest multiplications.

    Source: Cormen et al., "Introduction to Algorithms", section 14.2.
    """
    n = len(matrices)
    if not n or any(m.ndim != 2 for m in matrices):
        raise ShapeError(f"chain_matmul: needs matrices, got {[m.shape for m in matrices]}")
    lengths = [matrices[0].shape[0], *[m.shape[1] for m in matrices]]
    best: dict[tuple[int, int], tuple[int, int]] = {(i, i): (0, i) for i in range(n)}
    for span in range(1, n):
        for i in range(n - span):
            j = i + span
            best[i, j] = min(
                (best[i, k][0] + best[k + 1, j][0] + lengths[i] * lengths[k + 1] * lengths[j + 1], k)
                for k in range(i, j)
            )

    def product(i: int, j: int) -> Tensor:
        return matrices[i] if i == j else matmul(product(i, best[i, j][1]), product(best[i, j][1] + 1, j))

    return product(0, n - 1)


def kron(input: Tensor, other: Tensor) -> Tensor:
    """The Kronecker product: each element of `input` replaced by its product with all of `other`.

    >>> kron(Tensor([[1.0, 2.0]]), Tensor([[1.0], [3.0]]))
    tensor([[1., 2.],
            [3., 6.]])
    """
    rank = max(input.ndim, other.ndim)
    a, b = ((1,) * (rank - x.ndim) + x.shape for x in (input, other))
    spread = reshape(input, [n for length in a for n in (length, 1)])
    blocks = reshape(other, [n for length in b for n in (1, length)])
    return reshape(spread * blocks, [n * m for n, m in zip(a, b, strict=True)])


def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along a dimension of length 3: `dim`, or the first such one.

    >>> cross(Tensor([1.0, 0.0, 0.0]), Tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    shape = broadcast("cross", input.spec, other.spec)
    if input.ndim != other.ndim:
        raise ShapeError(f"cross: operands must have as many dimensions, got {input.shape} and {other.shape}")
    if dim is None and 3 not in shape:
        raise ShapeError(f"cross: needs a dimension of length 3, got {shape}")
    d = shape.index(3) if dim is None else dim_index("cross", dim, len(shape))
    if input.shape[d] != 3 or other.shape[d] != 3:
        raise ShapeError(f"cross: dimension {d} must have length 3, got {input.shape} and {other.shape}")
    return input.roll(-1, d) * other.roll(-2, d) - input.roll(-2, d) * other.roll(-1, d)


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Products summed over pairs of dimensions.

    Args:
        dims: the last so many dimensions of `a` against the first of `b`; or a pair of lists of dimensions.

    >>> tensordot(Tensor([[1.0, 2.0]]), Tensor([3.0, 4.0]), 1)
    tensor([11.])
    """
    if isinstance(dims, int):
        if not 0 <= dims <= min(a.ndim, b.ndim):
            raise ShapeError(f"tensordot: dims must be from 0 to {min(a.ndim, b.ndim)}, got {dims}")
        left, right = list(range(a.ndim - dims, a.ndim)), list(range(dims))
    else:
        pairs = [list(part.tolist()) if isinstance(part, Tensor) else list(part) for part in dims]
        left, right = ([dim_index("tensordot", d, x.ndim) for d in p] for p, x in zip(pairs, (a, b), strict=True))
    for i, j in zip(left, right, strict=False):  # a length of 1 is stretched, as in PyTorch
        if 1 in (a.shape[i], b.shape[j]):
            a = expand(a, [max(n, b.shape[j]) if d == i else n for d, n in enumerate(a.shape)])
            b = expand(b, [max(n, a.shape[i]) if d == j else n for d, n in enumerate(b.shape)])
    if len(left) != len(right) or any(a.shape[i] != b.shape[j] for i, j in zip(left, right, strict=False)):
        raise ShapeError(f"tensordot: {a.shape} and {b.shape} do not agree along {left} and {right}")
    if a.dtype != b.dtype:
        raise DTypeError(f"tensordot: operands must have one element type, got {a.dtype} and {b.dtype}")
    free_a = [d for d in range(a.ndim) if d not in left]
    free_b = [d for d in range(b.ndim) if d not in right]
    shape = [a.shape[d] for d in free_a] + [b.shape[d] for d in free_b]
    inner_length = math.prod(a.shape[d] for d in left)
    rows = reshape(permute(a, free_a + left), math.prod(a.shape[d] for d in free_a), inner_length)
    columns = reshape(permute(b, right + free_b), inner_length, math.prod(b.shape[d] for d in free_b))
    return reshape(matmul(rows, columns), shape)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Products of tensors summed over the letters that the result has not.

    Args:
        equation: "ij,jk->ik": a letter for each dimension of each operand, and those of the result. Without "->" the
            result has the letters that occur once, in order of the alphabet. "..." stands for dimensions that
            broadcast. A letter twice in one operand takes its diagonal.
        operands: one for each part of the equation.

    Raises:
        ArgumentError: for an equation that does not fit the operands.

    >>> einsum("ij,jk->ik", Tensor([[1.0, 2.0]]), Tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    tensors = list(operands[0]) if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else list(operands)
    left, arrow, right = equation.replace(" ", "").partition("->")
    parts = left.split(",")
    if len(parts) != len(tensors):
        raise ArgumentError(f"einsum: {equation!r} names {len(parts)} operands, got {len(tensors)}")
    terms = [_labelled(equation, part, x) for part, x in zip(parts, tensors, strict=True)]
    dots = sorted({label for labels, _ in terms for label in labels if isinstance(label, int)})
    counts = [label for part in parts for label in part if label.isalpha()]
    result: list[Any] = list(dots)
    if not arrow:
        result += sorted(label for label in set(counts) if counts.count(label) == 1)
    else:
        result = [label for piece in right.replace("...", ".") for label in (dots if piece == "." else [piece])]
    known = {label for labels, _ in terms for label in labels}
    if len(set(result)) != len(result) or not set(result) <= known:
        raise ArgumentError(f"einsum: the result of {equation!r} must name letters of the operands, each once")
    total = terms[0]
    for i, term in enumerate(terms[1:], 1):
        later = {label for labels, _ in terms[i + 1 :] for label in labels}
        total = _contracted(equation, total, term, later | set(result))
    labels, x = _summed(total, set(result))
    missing = [label for label in result if label not in labels]
    x = reshape(x, x.shape + (1,) * len(missing))
    return permute(x, [(labels + missing).index(label) for label in result]) if result else x


def _labelled(equation: str, part: str, x: Tensor) -> tuple[list[Any], Tensor]:
    """An operand with a label for each dimension, numbers for those of "...", and diagonals taken."""
    front, dots, back = part.partition("...")
    spare = x.ndim - len(front) - len(back)
    if (not (front + back).isalpha() and front + back) or spare < 0 or (spare and not dots):
        raise ArgumentError(f"einsum: {part!r} in {equation!r} does not fit a tensor of shape {x.shape}")
    labels: list[Any] = [*front, *range(-spare, 0), *back]
    for label in set(labels):
        while labels.count(label) > 1:
            i, j = (k for k, other in enumerate(labels) if other == label and labels[:k].count(label) < 2)
            if x.shape[i] != x.shape[j]:
                raise ArgumentError(
                    f"einsum: {label!r} stands for lengths {x.shape[i]} and {x.shape[j]} in {equation!r}"
                )
            x = diagonal(x, 0, i, j)
            labels = [*[other for k, other in enumerate(labels) if k not in (i, j)], label]
    return labels, x


def _summed(term: tuple[list[Any], Tensor], needed: set[Any]) -> tuple[list[Any], Tensor]:
    labels, x = term
    drop = [d for d, label in enumerate(labels) if label not in needed]
    return [label for label in labels if label in needed], sum_(x, drop) if drop else x


def _contracted(
    equation: str, a: tuple[list[Any], Tensor], b: tuple[list[Any], Tensor], needed: set[Any]
) -> tuple[list[Any], Tensor]:
    """The product of two terms, summed over what nothing later needs: one product of matrices for each batch."""
    a, b = _summed(a, needed | set(b[0])), _summed(b, needed | set(a[0]))
    for label in set(a[0]) & set(b[0]):
        n, m = a[1].shape[a[0].index(label)], b[1].shape[b[0].index(label)]
        if n != m and 1 not in (n, m):
            raise ArgumentError(f"einsum: {label!r} stands for lengths {n} and {m} in {equation!r}")
        if n != m:
            a, b = (_stretched(term, label, max(n, m)) for term in (a, b))
    shared = [label for label in a[0] if label in b[0]]
    batch, inner_ = ([la for la in shared if (la in needed) == kept] for kept in (True, False))
    rows, columns = ([la for la in one if la not in other] for one, other in ((a[0], b[0]), (b[0], a[0])))
    sizes = dict(zip(a[0], a[1].shape, strict=True)) | dict(zip(b[0], b[1].shape, strict=True))
    shapes = [[math.prod(sizes[la] for la in group) for group in groups]
              for groups in ((batch, rows, inner_), (batch, inner_, columns))]  # fmt: skip
    left = reshape(permute(a[1], [a[0].index(la) for la in batch + rows + inner_]), shapes[0])
    right = reshape(permute(b[1], [b[0].index(la) for la in batch + inner_ + columns]), shapes[1])
    labels = batch + rows + columns
    return labels, reshape(matmul(left, right), [sizes[la] for la in labels])


def _stretched(term: tuple[list[Any], Tensor], label: Any, length: int) -> tuple[list[Any], Tensor]:
    labels, x = term
    return labels, expand(x, [length if other == label else n for other, n in zip(labels, x.shape, strict=True)])
