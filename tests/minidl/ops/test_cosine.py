"""cosine_similarity: PyTorch's values and gradients, for short rows and for rows beyond float32's range of squares."""

from __future__ import annotations

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


def cosines(lib, x, y, g, dim):
    x, y = (lib.tensor(a, requires_grad=True) for a in (x, y))
    found = lib.nn.functional.cosine_similarity(x, y, dim)
    found.backward(lib.tensor(g))
    return found.detach().numpy(), x.grad.numpy(), y.grad.numpy()


@pytest.mark.parametrize(("shape", "dim"), [((3, 1), 1), ((5, 17), -1), ((2, 70, 3), 1), ((4, 3, 5, 2), 0)], ids=str)
def test_cosines_are_pytorchs(shape, dim) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, *shape))
    g = rng.standard_normal(np.delete(shape, dim))
    for ours, theirs in zip(cosines(minidl, x, y, g, dim), cosines(torch, x, y, g, dim), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-25, 1e-9, 1.0, 1e25])
def test_scales_do_not_matter_but_for_eps(scale) -> None:
    """The squares of the largest and smallest are no numbers of float32."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 4, 33))
    wide = minidl.cosine_similarity(minidl.tensor(x * scale), minidl.tensor(y), 1).numpy()
    narrow = minidl.cosine_similarity(
        minidl.tensor((x * scale).astype(np.float32)), minidl.tensor(y).float(), 1
    ).numpy()
    np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-30)
