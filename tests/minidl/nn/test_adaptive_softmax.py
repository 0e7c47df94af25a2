"""AdaptiveLogSoftmaxWithLoss beside PyTorch's, with its weights."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SETTINGS = [{"cutoffs": [3, 7]}, {"cutoffs": (1,), "head_bias": True}, {"cutoffs": [2, 4, 11], "div_value": 2.0}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("targets", [[0, 11, 5, 2, 7, 3, 1, 11], [0, 0], [11], 4])
def test_results_gradients_and_state_are_pytorchs(settings, targets) -> None:
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(32, 12, **settings).double()
    ours = nn.AdaptiveLogSoftmaxWithLoss(32, 12, **settings).double()
    state = theirs.state_dict()
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict({name: value.numpy() for name, value in state.items()})
    rows = np.random.default_rng(0).standard_normal((*np.shape(targets), 32))
    found = []
    for lib, layer in ((torch, theirs), (minidl, ours)):
        x = lib.tensor(rows).requires_grad_()
        given = layer(x, lib.tensor(targets))
        (given.output.exp().sum() + given.loss).backward()
        found.append([given.output, given.loss, x.grad, *(p.grad for p in layer.parameters())])
    for wanted, given in zip(*found, strict=True):
        if given is None or wanted is None:  # a cluster without targets
            assert given is wanted
        else:
            np.testing.assert_allclose(given.detach().numpy(), wanted.detach().numpy(), rtol=1e-11, atol=1e-13)
    if rows.ndim == 2:
        x = minidl.tensor(rows)
        np.testing.assert_allclose(
            ours.log_prob(x).detach().numpy(), theirs.log_prob(torch.tensor(rows)).detach().numpy(), rtol=1e-11
        )
        assert ours.predict(x).tolist() == theirs.predict(torch.tensor(rows)).tolist()


def test_probabilities_sum_to_one_and_weights_are_drawn_again() -> None:
    layer = nn.AdaptiveLogSoftmaxWithLoss(32, 12, [2, 5])
    x = minidl.randn(6, 32)
    np.testing.assert_allclose(layer.log_prob(x).exp().sum(1).detach().numpy(), 1, rtol=1e-6)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer.reset_parameters()
    assert all((value.array != before[name].array).any() for name, value in layer.state_dict().items())
