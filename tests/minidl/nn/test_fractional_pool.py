"""Fractional max pooling beside PyTorch's, given the same draws."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.nn import functional as F

SHAPES = [
    ((9, 7), (3, 2), (4, 5)), ((8, 8), (2, 2), (1, 7)), ((5, 6), (1, 3), (5, 4)), ((4, 4), (4, 4), (1, 1)),
    ((6, 7, 8), (2, 3, 1), (3, 4, 5)), ((9, 5, 6), (3, 2, 2), (1, 3, 4)), ((12, 9, 10), (2, 2, 3), (7, 5, 7)),
]  # fmt: skip


@pytest.mark.parametrize(("image", "kernel", "output"), SHAPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [(2, 3), (3,)])
def test_windows_values_places_and_gradients_are_pytorchs(image, kernel, output, dtype, batch) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng, name = np.random.default_rng(len(image)), f"fractional_max_pool{len(image)}d"
    x, draws = rng.standard_normal((*batch, *image)), rng.random((*(1, *batch)[-2:], len(image)))
    results = []
    for lib, function in ((torch, getattr(torch.nn.functional, name)), (minidl, getattr(F, name))):
        given = lib.tensor(x.astype(dtype)).requires_grad_()
        samples = lib.tensor(draws.astype(dtype))
        values, places = function(given, kernel, output, return_indices=True, _random_samples=samples)
        (values * values).sum().backward()
        results.append([np.asarray(t.detach().numpy()) for t in (values, places, given.grad)])
    for theirs, ours in zip(*results, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_draws_come_from_the_default_generator_and_cover_the_image() -> None:
    x = Tensor(np.arange(400.0, dtype=np.float32).reshape(1, 1, 20, 20))
    results = []
    for seed in (1, 1, 2, 3):
        minidl.manual_seed(seed)
        results.append(F.fractional_max_pool2d(x, 2, output_ratio=(0.7, 0.5)))
    assert {r.shape for r in results} == {(1, 1, 14, 10)}
    assert (results[0].array == results[1].array).all()
    assert any((results[0].array != r.array).any() for r in results[2:])
    assert {r.array.max() for r in results} == {399.0}  # the last window lies at the edge
