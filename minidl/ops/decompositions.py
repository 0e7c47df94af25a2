"""Linear algebra: inverses, systems of equations, determinants and decompositions, for batches of matrices.

LAPACK, by the array module, computes; the gradients are written in ops, so they can be differentiated again. Sources:
Giles, "Collected matrix derivative results for forward and reverse mode AD" (2008); Townsend, "Differentiating the
singular value decomposition" (2016); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions"
(2010) for QR.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor, as_tensor, dim_index
from minidl.device.dtypes import DType, is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.concat import cat, stack
from minidl.ops.diagonals import diag_embed, diagonal, tril, triu
from minidl.ops.indexing import where
from minidl.ops.norms import vector_norm
from minidl.ops.products import chain_matmul
from minidl.ops.products import cross as cross3
from minidl.ops.reduce import amax, amin, prod
from minidl.ops.reduce import sum as sum_
from minidl.ops.unary import log
from minidl.ops.views import expand, movedim, narrow, reshape, unsqueeze

__all__ = ["cholesky", "cholesky_inverse", "cholesky_solve", "det", "inverse", "logdet", "matrix_exp", "matrix_power",
           "nuclear_norm", "pinverse", "qr", "slogdet", "svd"]  # fmt: skip


class QR(NamedTuple):
    """An orthogonal and an upper triangular matrix."""

    Q: Tensor
    R: Tensor


class SignLogDet(NamedTuple):
    """The sign of a determinant and the logarithm of its size."""

    sign: Tensor
    logabsdet: Tensor


class Eigh(NamedTuple):
    """Eigenvalues, smallest first, and eigenvectors in columns."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class SVD(NamedTuple):
    """U, the singular values, largest first, and the transposed V."""

    U: Tensor
    S: Tensor
    Vh: Tensor


def _each_square(op: str, x: Spec) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{op}: needs square matrices (..., N, N), got {x.shape}")
    _floating(op, x)


def _floating(op: str, x: Spec) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{op}: needs matrices (..., M, N), got {x.shape}")
    if not is_floating(x.dtype):
        raise DTypeError(f"{op}: needs floating matrices, got {x.dtype}; use input.float()")


def _run(op: type[Op], *inputs: Tensor, **params: Any) -> Any:
    """Apply an op, and say in our words when LAPACK finds no answer."""
    try:
        return op.apply(*inputs, **params)
    except np.linalg.LinAlgError as error:
        raise ArgumentError(f"{op.name}: {str(error).lower()}; the matrix allows no answer") from None


class Inverse(Op):
    name = "inverse"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec) -> Spec:
        _each_square("inverse", x)
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = xp.linalg.inv(x)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (y,) = node.saved
        return (-(y.mT @ g @ y.mT),)


class Solve(Op):
    """x with A x = b, for matrices b."""

    name = "solve"
    saves = ("a", "out")

    @staticmethod
    def infer(a: Spec, b: Spec) -> Spec:
        _each_square("solve", a)
        if a.dtype != b.dtype:
            raise DTypeError(f"solve: A and B must have one element type, got {a.dtype} and {b.dtype}")
        if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
            raise ShapeError(f"solve: A {a.shape} needs B of {a.shape[-1]} rows, got {b.shape}")
        try:
            batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        except ValueError:
            raise ShapeError(f"solve: leading dimensions of A {a.shape} and B {b.shape} do not broadcast") from None
        return b.with_shape(*batch, *b.shape[-2:])

    @staticmethod
    def reference(xp: Any, out: Array, a: Array, b: Array) -> None:
        b = xp.broadcast_to(b, out.shape)
        out[...] = xp.linalg.solve(xp.broadcast_to(a, (*out.shape[:-2], *a.shape[-2:])), b)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        a, x = node.saved
        gb = Solve.apply(a.mT, g)
        return -(gb @ x.mT) if node.needs[0] else None, gb


class Cholesky(Op):
    """The lower triangular L with L L^T = A; only the lower half of A is read."""

    name = "cholesky"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec) -> Spec:
        _each_square("cholesky", x)
        return x

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = xp.linalg.cholesky(x)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        (low,) = node.saved
        inner = tril(low.mT @ g)
        inner = inner - diag_embed(diagonal(inner, 0, -2, -1)) * 0.5
        half = Solve.apply(low.mT, Solve.apply(low.mT, inner.mT).mT)
        return ((half + half.mT) * 0.5,)


class Det(Op):
    name = "det"
    saves = ("x", "out")

    @staticmethod
    def infer(x: Spec) -> Spec:
        _each_square("det", x)
        return x.with_shape(*x.shape[:-2])

    @staticmethod
    def reference(xp: Any, out: Array, x: Array) -> None:
        out[...] = xp.linalg.det(x)

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        """The cofactors: det(A) A^-T; of singular matrices by their singular values, without a division."""
        x, y = node.saved
        outer = g[..., None, None]
        try:
            return (outer * y[..., None, None] * Inverse.apply(x).mT,)
        except np.linalg.LinAlgError:
            u, s, vh = SVDReduced.apply(x.detach())
            n = s.shape[-1]
            eye = Tensor.of(x.device.xp.eye(n, dtype=bool))
            others = prod(where(eye, 1.0, expand(unsqueeze(s, -2), (*s.shape, n))), -1)
            signs = Det.apply(u) * Det.apply(vh)
            return (outer * signs[..., None, None] * ((u * unsqueeze(others, -2)) @ vh),)


class SlogDet(Op):
    """The sign of the determinant, and the logarithm of its size."""

    name = "slogdet"
    saves = ("x",)

    @staticmethod
    def infer(x: Spec) -> tuple[Spec, Spec]:
        _each_square("slogdet", x)
        one = x.with_shape(*x.shape[:-2])
        return one, one

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array) -> None:
        out[0][...], out[1][...] = xp.linalg.slogdet(x)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        (x,) = node.saved
        return (None if g[1] is None else g[1][..., None, None] * Inverse.apply(x).mT,)


class QRReduced(Op):
    """Q with orthonormal columns and upper triangular R, Q R = A."""

    name = "qr"
    saves = ("x", "out")

    @staticmethod
    def infer(x: Spec) -> tuple[Spec, Spec]:
        _floating("qr", x)
        *batch, m, n = x.shape
        return x.with_shape(*batch, m, min(m, n)), x.with_shape(*batch, min(m, n), n)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array) -> None:
        out[0][...], out[1][...] = xp.linalg.qr(x)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        x, (q, r) = node.saved
        gq, gr = (part if part is not None else whole * 0 for part, whole in zip(g, (q, r), strict=True))
        *_, m, n = x.shape
        if m >= n:
            return (_qr_gradient(q, r, gq, gr),)
        right = narrow(gr, -1, m, n - m)  # A = [X Y], R = [U V], Y = Q V
        gq = gq + narrow(x, -1, m, n - m) @ right.mT
        left = _qr_gradient(q, narrow(r, -1, 0, m), gq, narrow(gr, -1, 0, m))
        return (cat([left, q @ right], x.ndim - 1),)


def _qr_gradient(q: Tensor, r: Tensor, gq: Tensor, gr: Tensor) -> Tensor:
    inner = r @ gr.mT - gq.mT @ q
    mirrored = tril(inner) + tril(inner, -1).mT
    return Solve.apply(r, (gq + q @ mirrored).mT).mT  # type: ignore[no-any-return]


class PseudoInverse(Op):
    """V S^-1 U^T over the singular values above `cut`, (..., 1).

    Source of the gradient: Golub and Pereyra, SIAM J. Numer. Anal. 10 (1973); it holds where the rank stays the same.
    """

    name = "pinv"
    saves = ("x", "out")

    @staticmethod
    def infer(x: Spec, cut: Spec) -> Spec:
        *batch, m, n = x.shape
        return x.with_shape(*np.broadcast_shapes(tuple(batch), cut.shape[:-1]), n, m)

    @staticmethod
    def reference(xp: Any, out: Array, x: Array, cut: Array) -> None:
        u, s, vh = xp.linalg.svd(x, full_matrices=False)
        turned = xp.where(s > cut, 1 / xp.where(s > cut, s, s.dtype.type(1)), s.dtype.type(0))
        out[...] = xp.matmul(vh.swapaxes(-1, -2) * turned[..., None, :], u.swapaxes(-1, -2))

    @staticmethod
    def vjp(node: Node, g: Tensor) -> Grads:
        x, p = node.saved
        gt, pt = g.mT, p.mT
        beside = gt @ (p @ pt)
        below = (pt @ p) @ gt
        return -(pt @ g @ pt) + beside - x @ (p @ beside) + below - (below @ p) @ x, None


class EighOfHalf(Op):
    """Eigenvalues, smallest first, and eigenvectors of symmetric matrices; only one half is read, "L" or "U"."""

    name = "eigh"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec, *, half: str) -> tuple[Spec, Spec]:
        _each_square("eigh", x)
        return x.with_shape(*x.shape[:-1]), x

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array, *, half: str) -> None:
        out[0][...], out[1][...] = xp.linalg.eigh(x, UPLO=half)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        ((w, v),) = node.saved
        gw, gv = g
        inner = diag_embed(gw) if gw is not None else 0
        if gv is not None:
            inner = inner + (v.mT @ gv) * _one_over_gaps(w)
        found = v @ inner @ v.mT
        return ((found + found.mT) * 0.5,)  # both halves share it, though one alone was read


class SVDReduced(Op):
    name = "svd"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec) -> tuple[Spec, Spec, Spec]:
        _floating("svd", x)
        *batch, m, n = x.shape
        k = min(m, n)
        return x.with_shape(*batch, m, k), x.with_shape(*batch, k), x.with_shape(*batch, k, n)

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array, Array], x: Array) -> None:
        out[0][...], out[1][...], out[2][...] = xp.linalg.svd(x, full_matrices=False)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        ((u, s, vh),) = node.saved
        gu, gs, gvh = g
        inner = diag_embed(gs) if gs is not None else diag_embed(s * 0)
        outside: Any = 0
        if gu is not None:
            turn = u.mT @ gu
            inner = inner + (turn - turn.mT) * _one_over_gaps(s * s) * unsqueeze(s, -2)
            if u.shape[-2] > s.shape[-1]:
                outside = ((gu - u @ turn) / unsqueeze(s, -2)) @ vh
        if gvh is not None:
            turn = vh @ gvh.mT
            inner = inner + unsqueeze(s, -1) * ((turn - turn.mT) * _one_over_gaps(s * s))
            if vh.shape[-1] > s.shape[-1]:
                outside = outside + u @ ((gvh - turn.mT @ vh) / unsqueeze(s, -1))
        return (u @ inner @ vh + outside,)


def _one_over_gaps(w: Tensor) -> Tensor:
    """1 / (w[j] - w[i]), zero on the diagonal."""
    gaps = unsqueeze(w, -2) - unsqueeze(w, -1)
    eye = Tensor.of(w.device.xp.eye(w.shape[-1], dtype=bool))
    return where(eye, 0.0, 1 / where(eye, 1.0, gaps))


def inverse(input: Tensor) -> Tensor:
    """The inverse of each matrix.

    Raises:
        ShapeError: unless the matrices are square.
        ArgumentError: if one is singular.

    >>> inverse(Tensor([[2.0]]))
    tensor([[0.5]])
    """
    result: Tensor = _run(Inverse, input)
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
    result: Tensor = _run(Solve, A, columns)
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
    result: Tensor = _run(Solve, half, B)
    return result


def cholesky(input: Tensor, upper: bool = False) -> Tensor:
    """The lower triangular L of a positive definite matrix, with L L^T = A; or its transpose if `upper`.

    Raises:
        ArgumentError: if a matrix is not positive definite.

    >>> cholesky(Tensor([[4.0]]))
    tensor([[2.]])
    """
    result: Tensor = _run(Cholesky, input.mT if upper and input.ndim > 1 else input)
    return result.mT if upper else result


def cholesky_solve(B: Tensor, L: Tensor, upper: bool = False) -> Tensor:
    """X with A X = B, given the Cholesky factor L of A."""
    low = triu(L).mT if upper else tril(L)
    result: Tensor = _run(Solve, low.mT, _run(Solve, low, B))
    return result


def cholesky_inverse(L: Tensor, upper: bool = False) -> Tensor:
    """The inverse of A, given its Cholesky factor L."""
    _each_square("cholesky_inverse", L.spec)
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
        _floating("qr", A.spec)
        return QR(*map(Tensor.of, A.device.xp.linalg.qr(A.array, mode="complete")))
    q, r = _run(QRReduced, A)
    return QR(Tensor.of(A.device.xp.empty((0,), A.dtype)), r) if mode == "r" else QR(q, r)


def eigh(A: Tensor, UPLO: str = "L") -> Eigh:
    """Eigenvalues, smallest first, and eigenvectors in columns, of symmetric matrices.

    Args:
        UPLO: which half is read, "L" for the lower, "U" for the upper.
    """
    if str(UPLO).upper() not in ("L", "U"):
        raise ArgumentError(f"eigh: UPLO must be 'L' or 'U', got {UPLO!r}")
    return Eigh(*_run(EighOfHalf, A, half=str(UPLO).upper()))


def eigvalsh(A: Tensor, UPLO: str = "L") -> Tensor:
    """Eigenvalues of symmetric matrices, smallest first."""
    return eigh(A, UPLO).eigenvalues


def svd_by_parts(A: Tensor, full_matrices: bool = True) -> SVD:
    """U, S and V^T with U diag(S) V^T = A, the largest singular value first.

    Args:
        A: (..., M, N).
        full_matrices: whole bases in U and V; the columns beyond min(M, N) carry no gradient.
    """
    u, s, vh = _run(SVDReduced, A)
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
    _floating("pinv", A.spec)
    if not A.numel():
        return expand(sum_(A, (-2, -1), keepdim=True), (*A.shape[:-2], A.shape[-1], A.shape[-2]))
    if hermitian:
        w, v = eigh(A)
        kept = w.abs() > _cut(A, w.abs(), atol, rtol)
        turned = where(kept, 1 / where(kept, w, 1.0), 0.0)
        return (v * unsqueeze(turned, -2)) @ v.mT
    result: Tensor = _run(PseudoInverse, A, _cut(A, svdvals(A.detach()), atol, rtol))
    return result


def _cut(A: Tensor, s: Tensor, atol: Any, rtol: Any) -> Tensor:
    """Below which singular values count as zero."""
    if rtol is None:
        given = atol is not None and (not isinstance(atol, (int, float)) or atol > 0)
        rtol = 0.0 if given else max(A.shape[-2:]) * float(np.finfo(A.dtype).eps)
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
    _floating("matrix_rank", A.spec)
    if not A.numel():
        return Tensor.of(A.device.xp.zeros(A.shape[:-2], np.int64))
    s = svdvals(tril(A.detach()) + tril(A.detach(), -1).mT if hermitian else A.detach())
    if tol is not None:
        atol, rtol = tol, 0.0
    return sum_(s > _cut(A, s, atol, rtol), -1)


def matrix_power(input: Tensor, n: int) -> Tensor:
    """The `n`-th power of each matrix; negative powers are those of the inverse.

    >>> matrix_power(Tensor([[1.0, 1.0], [0.0, 1.0]]), 5)
    tensor([[1., 5.],
            [0., 1.]])
    """
    _each_square("matrix_power", input.spec)
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
    _each_square("matrix_exp", input.spec)
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
    _each_square("cond", A.spec)
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
