"""LBFGS beside PyTorch's, in float64, on losses that are curved differently in every direction."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import ArgumentError
from minidl.io import read_checkpoint, save_checkpoint
from minidl.optim.line_search import Point, strong_wolfe

OPTIONS = [
    {}, {"lr": 0.3}, {"history_size": 3, "max_iter": 7}, {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "lr": 5.0, "max_iter": 4, "history_size": 2},
    {"line_search_fn": "strong_wolfe", "max_eval": 6}, {"tolerance_grad": 0.5}, {"tolerance_change": 1e-2},
]  # fmt: skip


def quadratic(lib: Any, weights: list[Any]) -> Any:
    scale = lib.tensor(np.linspace(0.1, 4.0, 6))
    x = lib.cat([w.reshape(-1) for w in weights[:2]])
    return ((x - 1) * scale * (x - 1)).sum() + 0.3 * (x[:-1] * x[1:]).sum()


def rosenbrock(lib: Any, weights: list[Any]) -> Any:
    """Curved valley: the quadratic model is wrong nearly everywhere."""
    x = lib.cat([w.reshape(-1) for w in weights[:2]])
    return (10 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def started(lib: Any, loss_of: Any, options: dict[str, Any]) -> tuple[list[Any], Any, Any]:
    rng = np.random.default_rng(3)
    weights = [lib.nn.Parameter(lib.tensor(0.5 * rng.standard_normal(shape))) for shape in [(2, 2), (2,), (3,)]]
    optimizer = lib.optim.LBFGS(weights, **options)

    def closure() -> Any:
        optimizer.zero_grad()
        loss = loss_of(lib, weights)
        loss.backward()
        return loss

    return weights, optimizer, closure


def flat(weights: list[Any]) -> np.ndarray:
    return np.concatenate([w.detach().numpy().ravel() for w in weights])


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("loss_of", [quadratic, rosenbrock])
def test_it_goes_pytorchs_way(loss_of: Any, options: dict[str, Any]) -> None:
    """float64: roundings are blown up by divisions of small differences, so 1e-7 once it has nearly arrived.

    Without a line search the valley throws the weights far away; what is compared stays finite.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, optimizer, closure = started(minidl, loss_of, options)
    theirs, their_optimizer, their_closure = started(torch, loss_of, options)
    for _ in range(3 if loss_of is rosenbrock else 6):
        loss, their_loss = optimizer.step(closure), their_optimizer.step(their_closure)
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-7, abs=1e-12)
        np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-7, atol=1e-7)
    state, their_state = optimizer.state[ours[0]], their_optimizer.state[theirs[0]]
    for key in ("func_evals", "n_iter"):
        assert state[key] == their_state[key]


def test_long_vectors_go_pytorchs_way_and_take_the_same_bits_on_any_number_of_threads() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    n, results, before = 70_001, [], minidl.get_num_threads()
    scale, start = np.linspace(0.1, 4.0, n), np.random.default_rng(0).standard_normal(n)
    try:
        for lib, threads in ((minidl, 1), (minidl, 3), (torch, None)):
            if threads:
                minidl.set_num_threads(threads)
            weight = lib.nn.Parameter(lib.tensor(start))
            optimizer = lib.optim.LBFGS([weight], max_iter=8, history_size=4, line_search_fn="strong_wolfe")

            def closure(lib: Any = lib, weight: Any = weight) -> float:
                pull = scale * (weight.detach().numpy() - 1)
                weight.grad = lib.tensor(pull)
                return float(0.5 * (pull * pull / scale).sum())

            optimizer.step(closure)
            results.append(weight.detach().numpy())
    finally:
        minidl.set_num_threads(before)
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], results[2], rtol=1e-9, atol=1e-9)


def test_the_line_search_finds_the_bottom_of_the_valley() -> None:
    weights, optimizer, closure = started(minidl, rosenbrock, {"line_search_fn": "strong_wolfe", "max_iter": 100})
    optimizer.step(closure)
    np.testing.assert_allclose(flat(weights[:2]), 1.0, atol=1e-5)
    np.testing.assert_array_equal(weights[2].grad is None, True)


def test_a_resumed_run_takes_the_same_bits(tmp_path) -> None:
    options = {"line_search_fn": "strong_wolfe", "max_iter": 4}
    weights, optimizer, closure = started(minidl, rosenbrock, options)
    optimizer.step(closure)
    optimizer.step(closure)
    save_checkpoint(tmp_path / "c", optimizer=optimizer)
    others, resumed, other_closure = started(minidl, rosenbrock, options)
    for other, weight in zip(others, weights, strict=True):
        other.data = weight.detach().clone()
    read_checkpoint(tmp_path / "c").restore(optimizer=resumed)
    copied = copy.deepcopy(optimizer.state_dict())
    for run, again in ((optimizer, closure), (resumed, other_closure)):
        run.step(again)
    np.testing.assert_array_equal(flat(weights), flat(others))
    assert copied["state"][0]["n_iter"] < optimizer.state[weights[0]]["n_iter"]


def test_a_state_of_pytorchs_is_gone_on_with() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = {"max_iter": 4, "lr": 0.3}
    theirs, their_optimizer, their_closure = started(torch, quadratic, options)
    their_optimizer.step(their_closure)
    ours, optimizer, closure = started(minidl, quadratic, options)
    for w, v in zip(ours, theirs, strict=True):
        w.data = minidl.tensor(v.detach().numpy().copy())
    optimizer.load_state_dict(their_optimizer.state_dict())
    optimizer.step(closure)
    their_optimizer.step(their_closure)
    np.testing.assert_allclose(flat(ours), flat(theirs), rtol=1e-9, atol=1e-9)


def line(function: Any, slope: Any) -> Any:
    return lambda t: Point(t, function(t), minidl.tensor(0.0), slope(t))


@pytest.mark.parametrize("first", [0.001, 0.1, 1.0, 30.0])
def test_a_step_meets_both_conditions(first: float) -> None:
    at = line(lambda t: (t - 2) ** 4 + (t - 2) ** 2, lambda t: 4 * (t - 2) ** 3 + 2 * (t - 2))
    start = at(0.0)
    end = strong_wolfe(at, start, first, 1.0)
    assert end.loss <= start.loss + 1e-4 * end.t * start.slope
    assert abs(end.slope) <= 0.9 * abs(start.slope)


def test_a_line_that_only_falls_ends_after_its_trials() -> None:
    calls = []
    at = line(lambda t: calls.append(t) or -t, lambda t: -1.0)
    end = strong_wolfe(at, at(0.0), 1.0, 1.0)
    assert len(calls) == 27
    assert end.t == max(calls)


W = nn.Parameter(minidl.ones(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.LBFGS([{"params": [W]}, {"params": [nn.Parameter(minidl.ones(1))]}]), "takes one group"),
        (
            lambda: optim.LBFGS([W], line_search_fn="armijo"),
            "line_search_fn must be None or 'strong_wolfe', got 'armijo'",
        ),
        (lambda: optim.LBFGS([W], history_size=0), "history_size must be 1 or more, got 0"),
        (lambda: optim.LBFGS([W]).step(), "step needs a closure that computes the loss"),
    ],
)
def test_what_cannot_be_meant_is_named(make, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
