"""weight_norm and spectral_norm beside PyTorch's functions of these names: keys, weights, gradients, buffers."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn.utils import remove_spectral_norm, remove_weight_norm, spectral_norm, weight_norm

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

LAYERS = [("Linear", (4, 3), (2, 4)), ("Conv2d", (2, 3, 3), (1, 2, 5, 5)), ("ConvTranspose2d", (2, 3, 3), (1, 2, 5, 5))]


def both(name: str, args: tuple[int, ...], norm: str, **options: Any) -> tuple[Any, Any]:
    """Our layer and PyTorch's with the same weights and buffers, float64."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch has a newer way to do the same
        theirs = getattr(torch.nn.utils, norm)(getattr(torch.nn, name)(*args).double(), **options)
    ours = (weight_norm if norm == "weight_norm" else spectral_norm)(getattr(nn, name)(*args).double(), **options)
    assert sorted(ours.state_dict()) == sorted(theirs.state_dict())
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


@pytest.mark.parametrize(("name", "args", "shape"), LAYERS)
@pytest.mark.parametrize(
    ("norm", "options"),
    [
        ("weight_norm", {}), ("weight_norm", {"dim": 1}), ("weight_norm", {"dim": None}),
        ("spectral_norm", {}), ("spectral_norm", {"n_power_iterations": 3}),
    ],
)  # fmt: skip
def test_layers_are_pytorchs(name: str, args: Any, shape: Any, norm: str, options: dict[str, Any]) -> None:
    """Twice in training, so that power iterations go on, and once in eval, where they rest."""
    ours, theirs = both(name, args, norm, **options)
    x = np.random.default_rng(0).standard_normal(shape)
    for training in (True, True, False):
        ours.train(training)
        theirs.train(training)
        ours.zero_grad()
        theirs.zero_grad()
        y, z = ours(minidl.tensor(x)), theirs(torch.tensor(x))
        (y * y).sum().backward()
        (z * z).sum().backward()
        np.testing.assert_allclose(y.detach(), z.detach().numpy(), rtol=1e-10, atol=1e-12)
        gradients = {key: p.grad for key, p in theirs.named_parameters()}
        for key, p in ours.named_parameters():
            np.testing.assert_allclose(p.grad, gradients[key].numpy(), rtol=1e-9, atol=1e-12)
        for key, buffer in theirs.named_buffers():
            np.testing.assert_allclose(dict(ours.named_buffers())[key], buffer.numpy(), rtol=1e-10)


@pytest.mark.parametrize(("put", "take"), [(weight_norm, remove_weight_norm), (spectral_norm, remove_spectral_norm)])
def test_removing_leaves_a_plain_layer_that_does_the_same(put: Any, take: Any) -> None:
    layer, x = put(nn.Linear(4, 3)), minidl.randn(2, 4)
    for _ in range(20):
        before = layer(x)
    take(layer)
    np.testing.assert_allclose(layer(x).detach(), before.detach(), rtol=1e-5, atol=1e-6)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    assert isinstance(layer.weight, nn.Parameter)


@pytest.mark.parametrize("put", [weight_norm, spectral_norm])
def test_a_copy_makes_its_own_weight(put: Any) -> None:
    layer = put(nn.Linear(4, 3))
    other = copy.deepcopy(layer)
    with minidl.no_grad():
        for p in other.parameters():
            p.mul_(2.0)
    x = minidl.randn(2, 4)
    before = layer(x).detach().numpy()
    other(x)
    np.testing.assert_array_equal(layer.eval()(x).detach(), layer(x).detach())
    assert not np.allclose(other.eval()(x).detach(), before) or put is spectral_norm
    assert all(p is not q for p, q in zip(layer.parameters(), other.parameters(), strict=True))


def test_a_spectral_norm_is_one() -> None:
    layer = spectral_norm(nn.Linear(6, 5), n_power_iterations=50)
    layer(minidl.zeros(1, 6))
    assert np.linalg.svd(layer.weight.detach().numpy())[1][0] == pytest.approx(1, abs=1e-4)
