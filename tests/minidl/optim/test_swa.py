"""Averages of weights beside PyTorch's, and their schedule."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import ArgumentError, ShapeError
from minidl.optim import swa_utils

AVERAGES = {
    "mean": lambda u: {},
    "mean of each": lambda u: {"avg_fn": u.get_swa_avg_fn()},
    "mean of all": lambda u: {"multi_avg_fn": u.get_swa_multi_avg_fn()},
    "running": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8)},
    "running of each": lambda u: {"avg_fn": u.get_ema_avg_fn(0.8)},
    "with buffers": lambda u: {"multi_avg_fn": u.get_ema_multi_avg_fn(0.8), "use_buffers": True},
    "buffers in the mean": lambda u: {"use_buffers": True},
}


def model(lib: Any) -> Any:
    return lib.nn.Sequential(lib.nn.Linear(3, 4), lib.nn.BatchNorm1d(4), lib.nn.Linear(4, 2))


def moved(lib: Any, net: Any, step: int) -> None:
    """Other weights and other statistics, the same in both libraries."""
    rng = np.random.default_rng(step)
    with lib.no_grad():
        for p in net.parameters():
            p.copy_(lib.tensor(rng.standard_normal(tuple(p.shape)).astype(np.float32)))
        net.train()
        net(lib.tensor(rng.standard_normal((5, 3)).astype(np.float32)))


@pytest.mark.parametrize("options", AVERAGES.values(), ids=AVERAGES)
def test_averages_are_pytorchs(options: Any) -> None:
    """float32, and one or two roundings in each of seven updates.

    PyTorch's mean over buffers divides the integer counter by lerp and refuses; ours takes the last count.
    """
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    with_buffers = options(swa_utils).get("use_buffers", False)
    states = []
    for lib in (minidl, torch):
        net = model(lib)
        average = lib.optim.swa_utils.AveragedModel(net, **options(lib.optim.swa_utils))
        for step in range(7):
            moved(lib, net, step)
            if lib is torch and with_buffers:
                net[1].num_batches_tracked = net[1].num_batches_tracked.float()
                average.module[1].num_batches_tracked = average.module[1].num_batches_tracked.float()
            average.update_parameters(net)
        states.append({k: v.numpy() for k, v in average.state_dict().items()})
    ours, theirs = states
    assert sorted(ours) == sorted(theirs)
    assert ours["n_averaged"] == 7
    for key in set(theirs) - ({"module.1.num_batches_tracked"} if with_buffers else set()):
        np.testing.assert_allclose(ours[key], theirs[key], rtol=1e-5, atol=1e-6)


def test_the_average_is_used_like_the_model() -> None:
    net = model(minidl)
    average = swa_utils.AveragedModel(net)
    x = minidl.ones(5, 3)
    average.update_parameters(net)
    np.testing.assert_array_equal(average.eval()(x).detach().numpy(), net.eval()(x).detach().numpy())
    before = copy.deepcopy(average.state_dict())
    moved(minidl, net, 1)
    np.testing.assert_array_equal(average.state_dict()["module.0.weight"].numpy(), before["module.0.weight"].numpy())
    again = swa_utils.AveragedModel(model(minidl))
    again.load_state_dict(average.state_dict())
    assert int(again.n_averaged) == 1


@pytest.mark.parametrize("training", [True, False])
def test_statistics_are_means_over_all_batches(training: bool) -> None:
    rng = np.random.default_rng(0)
    batches = [minidl.tensor(rng.standard_normal((6, 4)).astype(np.float32)) for _ in range(3)]
    net = nn.Sequential(nn.BatchNorm1d(4, momentum=0.3), nn.Dropout(0.0)).train(training)
    swa_utils.update_bn([(batch, None) for batch in batches], net)
    norm = net[0]
    np.testing.assert_allclose(norm.running_mean.numpy(), np.mean([b.numpy().mean(0) for b in batches], 0), atol=1e-6)
    variances = [b.numpy().var(0, ddof=1) for b in batches]
    np.testing.assert_allclose(norm.running_var.numpy(), np.mean(variances, 0), rtol=1e-5)
    assert norm.momentum == 0.3
    assert net.training is training
    swa_utils.update_bn([], nn.Linear(1, 1))  # nothing to do


@pytest.mark.parametrize("options", [{}, {"anneal_epochs": 4, "anneal_strategy": "linear"}, {"anneal_epochs": 0}])
def test_rates_are_pytorchs(options: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    histories = []
    for lib in (minidl, torch):
        weights = [lib.nn.Parameter(lib.zeros(1)) for _ in range(2)]
        o = lib.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.2}], lr=0.5)
        first = lib.optim.lr_scheduler.ExponentialLR(o, 0.9)
        second = lib.optim.swa_utils.SWALR(o, [0.05, 0.01], **options)
        history = []
        for epoch in range(25):
            o.step()
            (first if epoch < 8 else second).step()
            history.append([g["lr"] for g in o.param_groups])
        histories.append(history)
    skip = 8 if options.get("anneal_epochs") == 0 else 0  # PyTorch's first schedule goes on from where SWALR put it
    np.testing.assert_allclose(histories[0][skip:], histories[1][skip:], rtol=1e-10)


W = nn.Parameter(minidl.ones(2))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: swa_utils.get_ema_avg_fn(1.5), ArgumentError, r"decay must be from 0 to 1, got 1\.5"),
        (lambda: swa_utils.get_ema_multi_avg_fn(-1), ArgumentError, "decay must be from 0 to 1, got -1"),
        (lambda: swa_utils.AveragedModel(nn.ReLU(), avg_fn=max, multi_avg_fn=max), ArgumentError, "give either avg_fn"),
        (
            lambda: swa_utils.AveragedModel(nn.Linear(2, 2)).update_parameters(nn.Linear(2, 3)),
            ShapeError,
            "the model has other weights than the one that was copied",
        ),
        (lambda: swa_utils.SWALR(optim.SGD([W]), 0.1, anneal_strategy="x"), ArgumentError, "must be 'cos' or 'linear'"),
        (lambda: swa_utils.SWALR(optim.SGD([W]), 0.1, anneal_epochs=-1), ArgumentError, "must be 0 or more, got -1"),
        (lambda: swa_utils.SWALR(optim.SGD([W]), [0.1] * 2), ArgumentError, "swa_lr must be one number or 1"),
        (lambda: swa_utils.SWALR(W, 0.1), ArgumentError, "SWALR: needs an optimizer first, got Parameter"),
    ],
)
def test_what_cannot_be_meant_is_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()
