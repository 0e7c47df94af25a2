"""PyTorch has no LAMB: the paper's formula, in plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn, optim


def by_the_paper(w, grads, lr, beta1, beta2, eps, weight_decay):
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(grads, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        change = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + weight_decay * w
        lengths = np.linalg.norm(w), np.linalg.norm(change)
        w = w - lr * (lengths[0] / lengths[1] if all(lengths) else 1.0) * change
    return w


@pytest.mark.parametrize("numba", [True, False])
@pytest.mark.parametrize("weight_decay", [0, 0.1])
def test_it_follows_the_paper(numba: bool, weight_decay: float) -> None:
    """float64, and a few roundings a step; a tensor of zeros takes a step of Adam's length."""
    rng = np.random.default_rng(0)
    starts = [rng.standard_normal((4, 3)), np.zeros(5), rng.standard_normal(())]
    grads = [[rng.standard_normal(s.shape) for _ in range(20)] for s in starts]
    weights = [nn.Parameter(minidl.tensor(s.copy())) for s in starts]
    optimizer = optim.LAMB(weights, lr=0.02, betas=(0.8, 0.95), weight_decay=weight_decay)
    with minidl.use_numba(numba):
        for step in range(20):
            for w, g in zip(weights, grads, strict=True):
                w.grad = minidl.tensor(g[step])
            optimizer.step()
    for w, start, g in zip(weights, starts, grads, strict=True):
        wanted = by_the_paper(start, g, 0.02, 0.8, 0.95, 1e-6, weight_decay)
        np.testing.assert_allclose(w.detach().numpy(), wanted, rtol=1e-11, atol=1e-13)
    assert set(optimizer.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}


def test_up_is_the_other_way() -> None:
    up, down = nn.Parameter(minidl.ones(3)), nn.Parameter(minidl.ones(3))
    for weight, maximize in ((up, True), (down, False)):
        weight.grad = minidl.tensor([1.0, -2.0, 3.0])
        optim.LAMB([weight], lr=0.1, maximize=maximize).step()
    np.testing.assert_allclose(up.detach().numpy() - 1, 1 - down.detach().numpy(), rtol=1e-6)
