"""50 steps of each optimizer beside PyTorch's, in float64, on a small problem with two groups of weights."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

STEPS = 50


def grid(**choices: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


SGD_ROWS = [
    *grid(momentum=(0, 0.9), weight_decay=(0, 0.1), maximize=(False, True)),
    *grid(momentum=(0.9,), dampening=(0.3,), weight_decay=(0, 0.1)),
    *grid(momentum=(0.9,), nesterov=(True,), weight_decay=(0, 0.1), maximize=(False, True)),
]
ADAM_ROWS = grid(amsgrad=(False, True), weight_decay=(0, 0.1), maximize=(False, True), betas=((0.9, 0.999), (0.5, 0.7)))
KIN = {"weight_decay": (0, 0.1), "maximize": (False, True)}
GRIDS = {
    "ASGD": [*grid(**KIN, lambd=(1e-4, 0.1)), *grid(t0=(10,), alpha=(0.75, 2.0))],
    "Adafactor": [*grid(**KIN, d=(1.0, 2.0)), *grid(beta2_decay=(-0.1,), eps=((None, 1e-3), (0.5, 0.1)))],
    "SGD": SGD_ROWS,
    "Adam": [*ADAM_ROWS, {"decoupled_weight_decay": True, "weight_decay": 0.1}],
    "AdamW": ADAM_ROWS,
    "NAdam": grid(**KIN, decoupled_weight_decay=(False, True), momentum_decay=(4e-3, 0.1)),
    "RAdam": grid(**KIN, decoupled_weight_decay=(False, True), betas=((0.9, 0.999), (0.5, 0.7))),
    "RMSprop": grid(**KIN, momentum=(0, 0.9), centered=(False, True)),
    "Adagrad": grid(**KIN, lr_decay=(0, 0.2), initial_accumulator_value=(0, 0.3)),
    "Adadelta": grid(**KIN, rho=(0.9, 0.5)),
    "Adamax": grid(**KIN, betas=((0.9, 0.999), (0.5, 0.7))),
    "Rprop": grid(etas=((0.5, 1.2), (0.3, 2.0)), step_sizes=((1e-6, 50), (1e-3, 0.02)), maximize=(False, True)),
}
ROWS = [(name, options) for name, rows in GRIDS.items() for options in rows]


def start(lib: Any) -> list[Any]:
    rng = np.random.default_rng(0)
    return [lib.nn.Parameter(lib.tensor(rng.standard_normal(shape))) for shape in [(4, 3), (3,), ()]]


def gradients(step: int) -> list[np.ndarray]:
    rng = np.random.default_rng([1, step])
    return [rng.standard_normal((4, 3)), rng.standard_normal(3), rng.standard_normal(())]


def run(lib: Any, name: str, options: dict[str, Any], numba: bool = True) -> tuple[list[np.ndarray], Any]:
    """All weights after each step; the last weight gets no gradient on every third."""
    weights = start(lib)
    groups = [{"params": weights[:1], "lr": 0.03}, {"params": weights[1:], "weight_decay": 0.01}]
    optimizer = getattr(lib.optim, name)(groups, lr=0.01, **options)
    history = []
    for step in range(STEPS):
        for i, (weight, gradient) in enumerate(zip(weights, gradients(step), strict=True)):
            pull = gradient + (0.1 * weight.detach().numpy())
            weight.grad = lib.tensor(pull) if i < 2 or step % 3 else None
        with minidl.use_numba(numba):
            optimizer.step()
        history.append(np.concatenate([w.detach().numpy().ravel() for w in weights]))
    return history, optimizer


@pytest.mark.parametrize(
    ("name", "options", "numba"),
    [*[(*row, True) for row in ROWS], *[(name, rows[-1], False) for name, rows in GRIDS.items()]],
    ids=str,
)
def test_weights_follow_pytorchs_step_by_step(name: str, options: dict[str, Any], numba: bool) -> None:
    """A few roundings of float64 a step, which 50 steps do not blow up."""
    ours, _ = run(minidl, name, options, numba)
    theirs, _ = run(torch, name, options)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {}),
        ("SGD", {"momentum": 0.9}),
        ("Adam", {"amsgrad": True}),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
        *[(name, {}) for name in GRIDS if name != "SGD"],
    ],
)
def test_states_travel_between_pytorch_and_us(name: str, options: dict[str, Any]) -> None:
    _, ours = run(minidl, name, options)
    _, theirs = run(torch, name, options)
    state, their_state = ours.state_dict(), theirs.state_dict()
    assert set(state["state"]) == set(their_state["state"])
    for number, values in their_state["state"].items():
        assert {k for k, v in values.items() if v is not None} == set(state["state"][number])
        for key, value in state["state"][number].items():
            np.testing.assert_allclose(value.numpy(), values[key].numpy(), rtol=1e-11, atol=1e-13)
    for group, their_group in zip(state["param_groups"], their_state["param_groups"], strict=True):
        assert {k: their_group[k] for k in group} == group
    ours.load_state_dict(their_state)
    for group, their_group in zip(ours.param_groups, theirs.param_groups, strict=True):
        for p, q in zip(group["params"], their_group["params"], strict=True):
            p.grad, q.grad = minidl.ones(*p.shape, dtype=p.dtype), torch.ones_like(q)
            p.data = minidl.tensor(q.detach().numpy())
    ours.step()
    theirs.step()
    for p, q in zip(ours.param_groups[1]["params"], theirs.param_groups[1]["params"], strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-12)
