from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, GradError


def weights(lib, scale: float) -> list:
    rng = np.random.default_rng(0)
    made = []
    for shape in [(3, 4), (5,)]:
        p = lib.nn.Parameter(lib.zeros(*shape))
        p.grad = lib.tensor((scale * rng.standard_normal(shape)).astype(np.float32))
        made.append(p)
    return [*made, lib.nn.Parameter(lib.zeros(2))]  # one without a gradient


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_clipping_by_norm_is_pytorchs(norm_type: float, scale: float) -> None:
    """float32: a few roundings."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = weights(minidl, scale), weights(torch, scale)
    total = nn.utils.clip_grad_norm_(ours, 1.0, norm_type)
    their_total = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type)
    assert total.item() == pytest.approx(their_total.item(), rel=1e-6)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)


def test_clipping_by_value_holds_each_element() -> None:
    ours = weights(minidl, 10.0)
    nn.utils.clip_grad_value_(ours, 0.5)
    assert max(abs(p.grad.numpy()).max() for p in ours[:2]) == 0.5


def test_one_tensor_or_none_with_a_gradient_will_do() -> None:
    assert nn.utils.clip_grad_norm_(weights(minidl, 1.0)[0], 1.0).item() > 1
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0


def test_a_gradient_that_is_not_finite_is_reported_if_asked() -> None:
    ours = weights(minidl, math.nan)
    with pytest.raises(GradError, match="NaN or infinite"):
        nn.utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert math.isnan(nn.utils.clip_grad_norm_(ours, 1.0).item())


def test_clipping_of_many_small_and_large_gradients_is_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    made = [rng.standard_normal(shape) for shape in [(70_001,), (3, 3, 3, 3), (0, 2), (), *[(16,)] * 50]]
    both = []
    for lib in (minidl, torch):
        weights = [lib.nn.Parameter(lib.tensor(0 * m)) for m in made]
        for w, m in zip(weights, made, strict=True):
            w.grad = lib.tensor(m)
        total = lib.nn.utils.clip_grad_norm_(weights, 5.0)
        both.append([np.asarray(total), *[w.grad.numpy() for w in weights]])
        lib.nn.utils.clip_grad_value_(weights, 0.01)
        both[-1] += [w.grad.numpy() for w in weights]
    for ours, theirs in zip(*both, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_a_negative_limit_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"clip_value must be 0 or more, got -0\.5"):
        nn.utils.clip_grad_value_([], -0.5)
    with pytest.raises(ArgumentError, match="max_norm must be 0 or more"):
        nn.utils.clip_grad_norm_([], -1.0)


def test_total_norm_and_clipping_by_it_are_pytorchs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = weights(minidl, 10.0), weights(torch, 10.0)
    total = nn.utils.get_total_norm([p.grad for p in ours[:2]])
    their_total = torch.nn.utils.get_total_norm([p.grad for p in theirs[:2]])
    assert total.item() == pytest.approx(their_total.item(), rel=1e-6)
    nn.utils.clip_grads_with_norm_(ours, 0.5, total)
    torch.nn.utils.clip_grads_with_norm_(theirs, 0.5, their_total)
    for p, q in zip(ours[:2], theirs[:2], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-6)


def test_weights_as_one_vector_and_back() -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1))
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert vector.shape == (3 * 2 + 2 + 2 + 1,)
    np.testing.assert_array_equal(vector.detach()[6:8], net[0].bias.detach())
    vector.sum().backward()
    assert net[0].weight.grad.tolist() == [[1.0] * 3] * 2
    nn.utils.vector_to_parameters(minidl.arange(11.0), net.parameters())
    assert net[1].weight.tolist() == [[8.0, 9.0]]
    assert all(p.requires_grad and p.is_leaf for p in net.parameters())
