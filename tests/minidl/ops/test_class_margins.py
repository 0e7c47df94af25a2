"""Margins between classes: values and gradients are PyTorch's, and for whole numbers exactly those of the reference."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.testing import check_gradient

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
F = minidl.nn.functional


def true_classes(rows, classes):
    """Some true classes in front, in no order; rows with none and with all of them."""
    rng = np.random.default_rng(1)
    target = np.stack([rng.permutation(classes) for _ in range(rows)])
    for r, count in enumerate(rng.integers(0, classes + 1, rows)):
        target[r, count:] = -1
    return target


def run(lib, name, x, target, options):
    leaf = lib.tensor(x, requires_grad=True)
    loss = getattr(lib.nn.functional, name)(leaf, lib.tensor(target), **options)
    (loss * lib.arange(1.0, 1 + loss.numel(), dtype=loss.dtype).reshape(loss.shape)).sum().backward()
    return loss.detach().numpy(), leaf.grad.numpy()


@pytest.mark.parametrize("shape", [(1, 2), (7, 5), (40, 33), (3, 700)])
@pytest.mark.parametrize("options", [{}, {"p": 2}, {"margin": 0.3, "reduction": "sum"}, {"reduction": "none"}, None])
@pytest.mark.parametrize("compiled", [True, False])
def test_values_and_gradients_are_pytorchs(shape, options, compiled) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    name = "multilabel_margin_loss" if options is None else "multi_margin_loss"
    target = true_classes(*shape) if options is None else np.arange(shape[0]) * 3 % shape[1]
    minidl.use_numba(compiled)
    try:
        ours = run(minidl, name, x, target, options or {})
    finally:
        minidl.use_numba(True)
    for mine, other in zip(ours, run(torch, name, x, target, options or {}), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["multi_margin_loss", "multilabel_margin_loss"])
def test_whole_numbers_are_exact(name) -> None:
    """Sixteen classes: to divide by them rounds nothing."""
    x = np.random.default_rng(0).integers(-9, 9, (50, 16)).astype(np.float32)
    target = true_classes(50, 16) if "label" in name else np.arange(50) % 16
    found = []
    for compiled in (True, False):
        minidl.use_numba(compiled)
        try:
            found.append(run(minidl, name, x, target, {"reduction": "none"}))
        finally:
            minidl.use_numba(True)
    for mine, other in zip(*found, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("order", [1, 2])
def test_gradients_hold_along_random_directions(order) -> None:
    x = minidl.tensor(np.random.default_rng(0).standard_normal((4, 6)))
    target, labels = minidl.tensor([0, 5, 2, 2]), minidl.tensor(true_classes(4, 6))
    for p in (1, 2):
        check_gradient(lambda t, p=p: F.multi_margin_loss(t, target, p, reduction="none").square(), x, order=order)
    check_gradient(lambda t: F.multilabel_margin_loss(t, labels, reduction="none").square(), x, order=order)


@pytest.mark.parametrize("name", ["multi_margin_loss", "multilabel_margin_loss"])
def test_a_class_out_of_range_is_told(name) -> None:
    target = minidl.tensor([0, 3]) if name == "multi_margin_loss" else minidl.tensor([[0, -1, -1], [1, 3, -1]])
    with pytest.raises(minidl.errors.ShapeError, match=f"{name}: index goes from 0 to 3, but must lie from 0 to 2"):
        getattr(F, name)(minidl.zeros(2, 3), target)
