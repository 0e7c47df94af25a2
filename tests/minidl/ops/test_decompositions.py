"""Gradients of decompositions, twice, where their input must be of a kind that a table of random inputs has not."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import linalg
from minidl.errors import ArgumentError, ShapeError
from minidl.testing import check_gradient, draw


def symmetric(x):
    return x + x.mT


def positive_definite(x):
    return x @ x.mT + minidl.eye(x.shape[-1], dtype=x.dtype)


def test_cholesky_gives_the_factor_and_its_gradients() -> None:
    (x,) = draw([(2, 3, 3)])
    low = minidl.cholesky(positive_definite(x))
    np.testing.assert_allclose((low @ low.mT).array, positive_definite(x).array, rtol=1e-12)
    check_gradient(lambda x: minidl.cholesky(positive_definite(x)), x, order=2)


def test_eigenvalues_and_vectors_have_gradients() -> None:
    (x,) = draw([(3, 3)])
    w, v = linalg.eigh(symmetric(x))
    np.testing.assert_allclose((v * w @ v.mT).array, symmetric(x).array, rtol=1e-12, atol=1e-12)
    check_gradient(lambda x: (linalg.eigh(symmetric(x))[0], abs(linalg.eigh(symmetric(x))[1])), x, order=2)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (3, 4)])
def test_singular_values_and_products_of_vectors_have_gradients(shape) -> None:
    def gauge_free(x):
        u, s, vh = linalg.svd(x, full_matrices=False)
        return s, u * minidl.arange(1, 4, dtype=x.dtype) @ vh

    check_gradient(gauge_free, *draw([shape]), order=2)


@pytest.mark.parametrize("shape", [(3, 3), (4, 3), (2, 3)])
def test_qr_has_gradients(shape) -> None:
    check_gradient(lambda x: tuple(linalg.qr(x)), *draw([shape]), order=2)


def test_pseudo_inverse_has_gradients_along_matrices_of_one_rank() -> None:
    check_gradient(lambda a, b: linalg.pinv(a @ b.mT), *draw([(4, 2), (3, 2)]), order=2)


def test_determinant_of_a_singular_matrix_has_its_cofactors_as_gradient() -> None:
    x = minidl.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=np.float64, requires_grad=True)
    minidl.det(x).backward()
    np.testing.assert_allclose(x.grad.numpy(), [[4.0, -2.0], [-2.0, 1.0]], atol=1e-12)


def test_what_has_no_answer_is_named() -> None:
    with pytest.raises(ArgumentError, match="inverse: singular matrix; the matrix allows no answer"):
        minidl.inverse(minidl.zeros(2, 2))
    with pytest.raises(ArgumentError, match="cholesky: matrix is not positive definite"):
        minidl.cholesky(-minidl.eye(2))
    with pytest.raises(ShapeError, match=r"solve: A \(2, 2\) needs B of 2 rows, got \(3, 1\)"):
        linalg.solve(minidl.eye(2), minidl.zeros(3, 1))
