"""Linear algebra: inverses, systems of equations, determinants and decompositions, for batches of matrices.

The ops and their gradients: `lapack.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Tensor, as_tensor
from minidl.device.dtypes import finfo
from minidl.errors import ArgumentError, ShapeError
from minidl.ops.concat import cat
from minidl.ops.diagonals import diag_embed, diagonal
from minidl.ops.lapack import (
    QR,
    SVD,
    Cholesky,
    Det,
    Eigh,
    EighOfHalf,
    Inverse,
    PseudoInverse,
    QRReduced,
    SignLogDet,
    SlogDet,
    Solve,
    SVDReduced,
    check_floating,
    check_square,
    run,
)
from minidl.ops.reduce import amax
from minidl.ops.reduce import sum as sum_
from minidl.ops.triangles import tril, triu
from minidl.ops.unary import log
from minidl.ops.views import expand, unsqueeze
from minidl.ops.where import where

__all__ = [
    "cholesky",
    "cholesky_inverse",
    "cholesky_solve",
    "det",
    "inverse",
    "logdet",
    "pinverse",
    "qr",
    "slogdet",
    "svd",
]


def inverse(input: Tensor) -> Tensor:
    """The inverse of each matrix.

    Raises:
        ShapeError: unless the matrices are square.
        ArgumentError: if one is singular.

    >>> inverse(Tensor([[2.0]]))
    tensor([[0.5]])
    """
    result: Tensor = run(Inverse, input)
    return result


def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor:
    """X with A X = B (or X A = B if not `left`).

    Args:
        A: (..., N, N), regular.
        B: (..., N, K), or (..., N) vectors, one for each matrix. Leading dimensions broadcast.

    Raises:
        ShapeError: if shapes do not fit.
        ArgumentError: if a matrix is singular.
    """
    vectors = B.ndim == 1 or (A.ndim - 1 == B.ndim and B.shape == A.shape[:-1])
    columns = unsqueeze(B, -1) if vectors else B
    if not left:
        if vectors:
            raise ShapeError("solve: left=False takes no vectors; give B as (1, N)")
        return solve(A.mT, columns.mT).mT
    result: Tensor = run(Solve, A, columns)
    return result.squeeze(-1) if vectors else result


def solve_triangular(A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """X with A X = B for a triangular A: only its upper (or lower) half is read; arguments as for `solve`.

    Args:
        unitriangular: take the diagonal as ones.
    """
    half = triu(A) if upper else tril(A)
    if unitriangular:
        ones = Tensor.of(A.device.xp.ones(A.shape[:-1], A.dtype))
        half = half - diag_embed(diagonal(half, 0, -2, -1)) + diag_embed(ones)
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    result: Tensor = run(Solve, half, B)
    return result


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The lower triangular L of a positive definite matrix, with L L^T = A; or its transpose if `upper`.

    Raises:
        ArgumentError: if a matrix is not positive definite.

    >>> cholesky(Tensor([[4.0]]))
    tensor([[2.]])
    """
    result: Tensor = run(Cholesky, input.mT if upper and input.ndim > 1 else input)
    return result.mT if upper else result


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, given the Cholesky factor L of A."""
    low = triu(L).mT if upper else tril(L)
    result: Tensor = run(Solve, low.mT, run(Solve, low, B))
    return result


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor L."""
    check_square("cholesky_inverse", L.spec)
    low = triu(L).mT if upper else tril(L)
    half = inverse(low)
    return half.mT @ half


def det(input: Tensor) -> Tensor:
    """The determinant of each matrix.

    >>> det(Tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    result: Tensor = Det.apply(input)
    return result


def slogdet(input: Tensor) -> SignLogDet:
    """The sign of each determinant and the logarithm of its size; 0 and -inf for singular matrices."""
    return SignLogDet(*SlogDet.apply(input))


def logdet(input: Tensor) -> Tensor:
    """The logarithm of each determinant; NaN for negative ones."""
    sign, size = slogdet(input)
    return size + log(sign.detach())


def qr(input: Tensor, some: bool = True) -> QR:
    """Q with orthonormal columns and upper triangular R, with Q R = A; a whole basis in Q unless `some`."""
    return qr_by_mode(input, "reduced" if some else "complete")


def qr_by_mode(A: Tensor, mode: str = "reduced") -> QR:
    """Q with orthonormal columns and upper triangular R, with Q R = A.

    Args:
        A: (..., M, N).
        mode: "reduced" for Q of (..., M, min(M, N)), "complete" for a whole basis, "r" for R alone (Q is empty).
    """
    if mode not in ("reduced", "complete", "r"):
        raise ArgumentError(f"qr: mode must be 'reduced', 'complete' or 'r', got {mode!r}")
    if mode == "complete" and A.ndim > 1 and A.shape[-2] > A.shape[-1]:
        if A.requires_grad:
            raise ArgumentError("qr: mode 'complete' of a tall matrix has no gradient; use 'reduced'")
        check_floating("qr", A.spec)
        return QR(*map(Tensor.of, A.device.xp.linalg.qr(A.array, mode="complete")))
    q, r = run(QRReduced, A)
    return QR(Tensor.of(A.device.xp.empty((0,), A.dtype)), r) if mode == "r" else QR(q, r)


def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """Eigenvalues, smallest first, and eigenvectors in columns, of symmetric matrices.

    Args:
        UPLO: which half is read, "L" for the lower, "U" for the upper.
    """
    if str(UPLO).upper() not in ("L", "U"):
        raise ArgumentError(f"eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    return Eigh(*run(EighOfHalf, A, half=str(UPLO).upper()))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, smallest first."""
    return eigh(A, UPLO).eigenvalues


def svd_by_parts(A: Tensor, full_matrices: bool = True) -> SVD:
    """U, S and V^T with U diag(S) V^T = A, the largest singular value first.

    Args:
        A: (..., M, N).
        full_matrices: whole bases in U and V; the columns beyond min(M, N) carry no gradient.
    """
    u, s, vh = run(SVDReduced, A)
    if full_matrices:
        u, vh = _whole_basis(u), _whole_basis(vh.mT).mT
    return SVD(u, s, vh)


def _whole_basis(columns: Tensor) -> Tensor:
    """Orthonormal columns, and as many more as make a basis; those more carry no gradient."""
    *_, m, k = columns.shape
    if m == k:
        return columns
    xp = columns.device.xp
    whole = xp.linalg.qr(columns.array, mode="complete")[0] if k else xp.broadcast_to(
        xp.eye(m, dtype=columns.dtype), (*columns.shape[:-1], m))  # fmt: skip
    return cat([columns, Tensor.of(xp.ascontiguousarray(whole[..., k:]))], columns.ndim - 1)


def svd(input: Tensor, some: bool = True, compute_uv: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """U, S and V with U diag(S) V^T = A; `linalg.svd` gives V^T. Without `compute_uv`, U and V are zeros."""
    u, s, vh = svd_by_parts(input, full_matrices=not some)
    if not compute_uv:
        *batch, m, n = input.shape
        xp = input.device.xp
        return Tensor.of(xp.zeros((*batch, m, m), s.dtype)), s, Tensor.of(xp.zeros((*batch, n, n), s.dtype))
    return u, s, vh.mT


def svdvals(A: Tensor) -> Tensor:
    """The singular values of each matrix, the largest first."""
    return svd_by_parts(A, full_matrices=False).S


def pinv(A: Tensor, *, atol: Any = None, rtol: Any = None, hermitian: bool = False) -> Tensor:
    """The pseudo-inverse of each matrix, by its singular values.

    Args:
        atol, rtol: singular values below the larger of atol and rtol times the largest one count as zero; rtol is
            max(M, N) times the rounding of the element type unless either is given.
        hermitian: A is symmetric: its eigenvalues serve, and only the lower half is read.
    """
    check_floating("pinv", A.spec)
    if not A.numel():
        return expand(sum_(A, (-2, -1), keepdim=True), (*A.shape[:-2], A.shape[-1], A.shape[-2]))
    if hermitian:
        w, v = eigh(A)
        kept = w.abs() > _cut(A, w.abs(), atol, rtol)
        turned = where(kept, 1 / where(kept, w, 1.0), 0.0)
        return (v * unsqueeze(turned, -2)) @ v.mT
    result: Tensor = run(PseudoInverse, A, _cut(A, svdvals(A.detach()), atol, rtol))
    return result


def _cut(A: Tensor, s: Tensor, atol: Any, rtol: Any) -> Tensor:
    """Below which singular values count as zero."""
    if rtol is None:
        given = atol is not None and (not isinstance(atol, (int, float)) or atol > 0)
        rtol = 0.0 if given else max(A.shape[-2:]) * finfo(A.dtype).eps
    relative = amax(s.detach(), -1, keepdim=True) * _column(rtol, s)
    return relative if atol is None else relative.maximum(_column(atol, s))


def _column(bound: Any, like: Tensor) -> Tensor:
    t = as_tensor(bound, like=like)
    return unsqueeze(t, -1) if t.ndim else t


def pinverse(input: Tensor, rcond: float = 1e-15) -> Tensor:
    """The pseudo-inverse of each matrix; singular values below rcond times the largest count as zero."""
    return pinv(input, rtol=rcond)


def matrix_rank(A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None) -> Tensor:
    """How many singular values of each matrix are not zero, int64; bounds as for `pinv`."""
    check_floating("matrix_rank", A.spec)
    if not A.numel():
        return Tensor.of(A.device.xp.zeros(A.shape[:-2], np.int64))
    s = svdvals(tril(A.detach()) + tril(A.detach(), -1).mT if hermitian else A.detach())
    if tol is not None:
        atol, rtol = tol, 0.0
    return sum_(s > _cut(A, s, atol, rtol), -1)
