"""The ops behind linear algebra: inverse, solve, determinants, QR, eigenvalues and singular values of matrices.

LAPACK, by the array module, computes; the gradients are written in ops, so they can be differentiated again. Sources:
Giles, "Collected matrix derivative results for forward and reverse mode AD" (2008); Townsend, "Differentiating the
singular value decomposition" (2016); Walter and Lehmann, "Algorithmic differentiation of linear algebra functions"
(2010) for QR.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Grads, Node, Op, Spec, Tensor
from minidl.device.dtypes import is_floating
from minidl.errors import ArgumentError, DTypeError, ShapeError
from minidl.ops.concat import cat
from minidl.ops.diagonals import diag_embed, diagonal
from minidl.ops.reduce import prod
from minidl.ops.triangles import tril
from minidl.ops.views import expand, narrow, unsqueeze
from minidl.ops.where import where

__all__: list[str] = []  # reached by `decompositions.py`


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


def check_square(op: str, x: Spec) -> None:
    if x.ndim < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{op}: needs square matrices (..., N, N), got {x.shape}")
    check_floating(op, x)


def check_floating(op: str, x: Spec) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{op}: needs matrices (..., M, N), got {x.shape}")
    if not is_floating(x.dtype):
        raise DTypeError(f"{op}: needs floating matrices, got {x.dtype}; use input.float()")


def run(op: type[Op], *inputs: Tensor, **params: Any) -> Any:
    """Apply an op, and say in our words when LAPACK finds no answer."""
    try:
        return op.apply(*inputs, **params)
    except np.linalg.LinAlgError as error:
        reason = str(error).lower()
        raise ArgumentError(
            f"{op.name}: {reason}; the matrix allows no answer: add a little to its diagonal, or use pinv or lstsq"
        ) from None


class Inverse(Op):
    name = "inverse"
    saves = ("out",)

    @staticmethod
    def infer(x: Spec) -> Spec:
        check_square("inverse", x)
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
        check_square("solve", a)
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
        check_square("cholesky", x)
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
        check_square("det", x)
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
        check_square("slogdet", x)
        one = x.with_shape(*x.shape[:-2])
        return one, one

    @staticmethod
    def reference(xp: Any, out: tuple[Array, Array], x: Array) -> None:
        out[0][...], out[1][...] = xp.linalg.slogdet(x)

    @staticmethod
    def vjp(node: Node, g: Any) -> Grads:
        (x,) = node.saved
        return (None if g[1] is None else g[1][..., None, None] * run(Inverse, x).mT,)


class QRReduced(Op):
    """Q with orthonormal columns and upper triangular R, Q R = A."""

    name = "qr"
    saves = ("x", "out")

    @staticmethod
    def infer(x: Spec) -> tuple[Spec, Spec]:
        check_floating("qr", x)
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
    return run(Solve, r, (gq + q @ mirrored).mT).mT  # type: ignore[no-any-return]


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
        check_square("eigh", x)
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
        check_floating("svd", x)
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
