"""Saved values that are computed again: the memory they do not hold, and that gradients are the same."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minidl
import minidl.nn.functional as F
from minidl.core import recipe
from minidl.errors import GradError
from minidl.testing import check_gradient


@pytest.fixture(autouse=True)
def of_any_size(monkeypatch):
    monkeypatch.setattr(recipe, "LEAST_BYTES", 0)


def network(x, norm_weight, norm_bias, weight, watch=None):
    y = F.batch_norm(x, None, None, norm_weight, norm_bias, training=True)
    if watch is not None:
        watch.append(weakref.ref(y.array))
    return F.conv2d(y, weight, padding=1)


def arguments():
    rng = np.random.default_rng(0)
    shapes = ((2, 3, 6, 5), (3,), (3,), (4, 3, 3, 3))
    return [minidl.tensor(rng.standard_normal(s)).requires_grad_() for s in shapes]


def test_the_result_of_a_norm_does_not_outlive_the_forward_pass() -> None:
    watch = []
    gc.disable()
    try:
        loss = network(*arguments(), watch).sum()
        assert watch[0]() is None
        loss.backward()
    finally:
        gc.enable()


def test_a_small_result_is_kept(monkeypatch) -> None:
    monkeypatch.setattr(recipe, "LEAST_BYTES", 2 * 3 * 6 * 5 * 8)
    watch = []
    loss = network(*arguments(), watch).sum()
    assert watch[0]() is not None
    loss.backward()


def test_gradients_are_those_of_the_kept_value() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours = arguments()
    (network(*ours) ** 2).sum().backward()
    theirs = [torch.tensor(t.detach().numpy()).requires_grad_() for t in ours]
    y = torch.nn.functional.batch_norm(theirs[0], None, None, theirs[1], theirs[2], training=True)
    (torch.nn.functional.conv2d(y, theirs[3], padding=1) ** 2).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_second_derivatives_flow_through_it() -> None:
    check_gradient(lambda *a: network(*a).sigmoid(), *[t.detach() for t in arguments()], order=2)


def test_a_changed_ingredient_is_found_out() -> None:
    x, norm_weight, norm_bias, weight = arguments()
    loss = network(x, norm_weight, norm_bias, weight).sum()
    with minidl.no_grad():
        norm_weight.mul_(2.0)
    with pytest.raises(GradError, match="changed it in place"):
        loss.backward()
