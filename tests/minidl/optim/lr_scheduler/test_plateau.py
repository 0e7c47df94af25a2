from __future__ import annotations

import json
import math

import numpy as np
import pytest

import minidl
from minidl import optim
from minidl.errors import ArgumentError, StateDictError
from minidl.optim.lr_scheduler import ReduceLROnPlateau


def optimizer(lib):
    weights = [lib.nn.Parameter(lib.zeros(1)) for _ in range(2)]
    return lib.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr": 0.2}], lr=0.5)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("threshold_mode", ["rel", "abs"])
@pytest.mark.parametrize("options", [{}, {"factor": 0.5, "patience": 2, "cooldown": 3, "min_lr": [0.01, 0.05]}])
def test_rates_are_pytorchs_on_a_noisy_figure(mode: str, threshold_mode: str, options: dict) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    options = {"mode": mode, "threshold_mode": threshold_mode, "patience": 4, "threshold": 0.01, **options}
    ours, theirs = optimizer(minidl), optimizer(torch)
    schedule = ReduceLROnPlateau(ours, **options)
    their_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng, rates = np.random.default_rng(0), []
    for step in range(100):
        figure = math.nan if step == 30 else 1 + 0.3 * rng.standard_normal() - 0.5 * math.sin(step / 15)
        schedule.step(figure)
        their_schedule.step(figure)
        rates.append(schedule.get_last_lr())
        assert rates[-1] == [g["lr"] for g in theirs.param_groups]
    assert rates[-1] != rates[0]


def test_a_resumed_schedule_goes_on_exactly() -> None:
    one = ReduceLROnPlateau(optimizer(minidl), patience=2)
    for _ in range(3):
        one.step(1.0)
    other = ReduceLROnPlateau(optimizer(minidl))
    other.load_state_dict(json.loads(json.dumps(one.state_dict())))
    one.step(1.0)
    other.step(minidl.tensor(1.0))
    assert one.get_last_lr() == other.get_last_lr() == pytest.approx([0.05, 0.02])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda o: ReduceLROnPlateau(o, factor=1.0), ArgumentError, "factor must be below 1"),
        (lambda o: ReduceLROnPlateau(o, mode="low"), ArgumentError, "mode must be 'min' or 'max'"),
        (lambda o: ReduceLROnPlateau(o, min_lr=[0.1]), ArgumentError, "min_lr must be one number or 2"),
        (lambda o: ReduceLROnPlateau([o]), ArgumentError, "needs an optimizer first, got list"),
        (
            lambda o: ReduceLROnPlateau(o).load_state_dict({"best": 1}),
            StateDictError,
            "the state must have the keys best, .*; got best",
        ),
        (lambda o: optim.lr_scheduler.SequentialLR(o, [ReduceLROnPlateau(o)], []), ArgumentError, "not a function"),
    ],
)
def test_what_cannot_be_meant_is_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call(optimizer(minidl))
