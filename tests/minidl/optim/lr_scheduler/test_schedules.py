"""100 steps of each schedule beside PyTorch's, whose recursive formulas gather some roundings on the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

import minidl
from minidl import optim
from minidl.errors import ArgumentError, StateDictError
from minidl.optim import lr_scheduler

STEPS = 100
Make = Callable[[Any, Any], Any]  # (module of schedulers, optimizer) -> scheduler


def sequential(s: Any, o: Any) -> Any:
    return s.SequentialLR(o, [s.LinearLR(o, 0.1, total_iters=9), s.CosineAnnealingLR(o, 50), s.StepLR(o, 7)], [9, 60])


ROWS: dict[str, Make] = {
    "lambda": lambda s, o: s.LambdaLR(o, lambda epoch: 0.9**epoch),
    "lambdas": lambda s, o: s.LambdaLR(o, [lambda epoch: 1 / (epoch + 1), lambda epoch: 0.5]),
    "step": lambda s, o: s.StepLR(o, 30, gamma=0.5),
    "multistep": lambda s, o: s.MultiStepLR(o, [60, 20, 20, 90], gamma=0.3),
    "exponential": lambda s, o: s.ExponentialLR(o, 0.97),
    "cosine": lambda s, o: s.CosineAnnealingLR(o, 40, eta_min=1e-3),
    "cosine to the end": lambda s, o: s.CosineAnnealingLR(o, STEPS),
    "linear": lambda s, o: s.LinearLR(o, 0.2, 0.7, total_iters=33),
    "linear by default": lambda s, o: s.LinearLR(o),
    "one cycle": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=STEPS),
    "one cycle, linear": lambda s, o: s.OneCycleLR(
        o, [1.0, 0.3], epochs=11, steps_per_epoch=10, anneal_strategy="linear", pct_start=0.4, div_factor=10
    ),
    "one cycle, three phases": lambda s, o: s.OneCycleLR(
        o, 1.0, total_steps=110, three_phase=True, final_div_factor=100, max_momentum=0.99, base_momentum=[0.7, 0.8]
    ),
    "one cycle, momentum left alone": lambda s, o: s.OneCycleLR(o, 1.0, total_steps=110, cycle_momentum=False),
    "sequential": sequential,
    "multiplicative": lambda s, o: s.MultiplicativeLR(o, [lambda epoch: 0.95, lambda epoch: 1 - 0.2 / epoch**2]),
    "constant": lambda s, o: s.ConstantLR(o, 0.3, total_iters=7),
    "constant by default": lambda s, o: s.ConstantLR(o),
    "polynomial": lambda s, o: s.PolynomialLR(o, 60, power=0.9),
    "polynomial by default": lambda s, o: s.PolynomialLR(o),
    "warm restarts": lambda s, o: s.CosineAnnealingWarmRestarts(o, 7, eta_min=1e-3),
    "warm restarts that grow": lambda s, o: s.CosineAnnealingWarmRestarts(o, 5, T_mult=3),
    "cyclic": lambda s, o: s.CyclicLR(o, 0.1, [1.0, 0.5], 9),
    "cyclic, halved": lambda s, o: s.CyclicLR(o, [0.1, 0.2], 1.0, 8, 13, "triangular2", base_momentum=[0.5, 0.6]),
    "cyclic, falling": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 6, mode="exp_range", gamma=0.97, cycle_momentum=False),
    "cyclic, scaled": lambda s, o: s.CyclicLR(o, 0.1, 1.0, 6, 2, scale_fn=lambda x: 1 / (x + 1)),
    "cyclic, scaled by step": lambda s, o: s.CyclicLR(
        o, 0.1, 1.0, 6, scale_fn=lambda x: 0.9**x, scale_mode="iterations"
    ),
    "chained": lambda s, o: s.ChainedScheduler(
        [s.LinearLR(o, 0.2, total_iters=9), s.StepLR(o, 20), s.ExponentialLR(o, 0.99)]
    ),
    "chained to the cosine": lambda s, o: s.ChainedScheduler(
        [s.ConstantLR(o, 0.1), s.CosineAnnealingLR(o, STEPS + 1)], o
    ),
    "chained products": lambda s, o: s.ChainedScheduler(
        [s.PolynomialLR(o, 200), s.MultiplicativeLR(o, lambda e: 0.98), s.MultiStepLR(o, [5, 50])]
    ),
}


def optimizer(lib: Any, kind: str = "SGD") -> Any:
    weights = [lib.nn.Parameter(lib.zeros(1)) for _ in range(2)]
    options = {"momentum": 0.9} if kind == "SGD" else {}
    groups = [{"params": weights[:1]}, {"params": weights[1:], "lr": 0.2}]
    return getattr(lib.optim, kind)(groups, lr=0.5, **options)


def settings(o: Any) -> list[float]:
    return [v for g in o.param_groups for v in (g["lr"], g["betas"][0] if "betas" in g else g["momentum"])]


@pytest.mark.parametrize("kind", ["SGD", "Adam"])
@pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
def test_rates_and_momenta_are_pytorchs_step_by_step(make: Make, kind: str) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = optimizer(minidl, kind), optimizer(torch, kind)
    schedule, their_schedule = make(lr_scheduler, ours), make(torch.optim.lr_scheduler, theirs)
    for step in range(STEPS + 1):
        assert settings(ours) == pytest.approx(settings(theirs), rel=1e-10, abs=1e-15), step
        assert schedule.get_last_lr() == [g["lr"] for g in ours.param_groups]
        if step < STEPS:
            theirs.step()
            schedule.step()
            their_schedule.step()


@pytest.mark.parametrize("make", ROWS.values(), ids=ROWS)
def test_a_resumed_schedule_goes_on_exactly(make: Make) -> None:
    whole, resumed = optimizer(minidl), optimizer(minidl)
    first, second = make(lr_scheduler, whole), make(lr_scheduler, resumed)
    for _ in range(37):
        first.step()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for _ in range(40):
        first.step()
        second.step()
        assert settings(whole) == settings(resumed)


def test_warm_restarts_take_fractions_of_epochs() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    ours, theirs = optimizer(minidl), optimizer(torch)
    schedule = lr_scheduler.CosineAnnealingWarmRestarts(ours, 3, 2)
    their_schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(theirs, 3, 2)
    for batch in range(100):
        schedule.step(batch / 7)
        their_schedule.step(batch / 7)
        assert settings(ours) == pytest.approx(settings(theirs), rel=1e-10)


def test_a_schedule_can_go_on_by_number_alone() -> None:
    o = optimizer(minidl)
    schedule = lr_scheduler.ExponentialLR(o, 0.9)
    for _ in range(10):
        schedule.step()
    again = lr_scheduler.ExponentialLR(o, 0.9, last_epoch=10)
    assert again.get_last_lr()[0] == 0.5 * 0.9**11
    with pytest.raises(ArgumentError, match="base rates are unknown"):
        lr_scheduler.ExponentialLR(optimizer(minidl), 0.9, last_epoch=10)


def test_own_schedules_give_get_lr() -> None:
    class Halving(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            return [lr / 2**self.last_epoch for lr in self.base_lrs]

    schedule = Halving(optimizer(minidl))
    schedule.step()
    assert schedule.get_last_lr() == [0.25, 0.1]


OPT = optimizer(minidl)
S = lr_scheduler


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: S.StepLR(minidl.zeros(1), 3), ArgumentError, "StepLR: needs an optimizer first, got Tensor"),
        (lambda: S.StepLR(OPT, 0), ArgumentError, "step_size must be 1 or more, got 0"),
        (lambda: S.LambdaLR(OPT, [lambda e: 1.0]), ArgumentError, "a function for each of 2 groups, got 1"),
        (lambda: S.LinearLR(OPT, 0.0), ArgumentError, "start_factor must be above 0"),
        (lambda: S.LinearLR(OPT, 0.5, 2.0), ArgumentError, "end_factor must be from 0 to 1"),
        (lambda: S.CosineAnnealingLR(OPT, 0), ArgumentError, "T_max must be 1 or more"),
        (lambda: S.OneCycleLR(OPT, 1.0), ArgumentError, "give total_steps, or epochs and steps_per_epoch"),
        (lambda: S.OneCycleLR(OPT, [1.0] * 3, total_steps=9), ArgumentError, "max_lr must be one number or 2"),
        (lambda: S.OneCycleLR(OPT, 1.0, total_steps=9, anneal_strategy="sine"), ArgumentError, "'cos' or 'linear'"),
        (lambda: S.SequentialLR(OPT, [S.StepLR(OPT, 2)], [3]), ArgumentError, "1 schedulers need 0 milestones"),
        (lambda: S.SequentialLR(OPT, [S.StepLR(optimizer(minidl), 2)], []), ArgumentError, "another optimizer"),
        (lambda: S.StepLR(OPT, 2).load_state_dict(S.ExponentialLR(OPT, 0.9).state_dict()), StateDictError, "step_size"),
        (lambda: sequential(S, OPT).load_state_dict({}), StateDictError, "has 0 parts, this one 3"),
        (
            lambda: S.MultiplicativeLR(OPT, [abs]),
            ArgumentError,
            "MultiplicativeLR: needs a function for each of 2 groups",
        ),
        (lambda: S.ConstantLR(OPT, 2.0), ArgumentError, "ConstantLR: factor must be from 0 to 1, got 2.0"),
        (lambda: S.PolynomialLR(OPT, 0), ArgumentError, "PolynomialLR: total_iters must be 1 or more, got 0"),
        (lambda: S.CosineAnnealingWarmRestarts(OPT, 0), ArgumentError, "T_0 must be 1 or more, got 0"),
        (lambda: S.CosineAnnealingWarmRestarts(OPT, 2).step(-1), ArgumentError, "epoch must be 0 or more, got -1"),
        (
            lambda: S.CyclicLR(OPT, 0.1, 1.0, mode="square"),
            ArgumentError,
            "mode must be one of triangular, triangular2",
        ),
        (lambda: S.CyclicLR(OPT, 0.1, 1.0, scale_mode="epoch"), ArgumentError, "scale_mode must be 'cycle' or"),
        (lambda: S.CyclicLR(OPT, [0.1] * 3, 1.0), ArgumentError, "base_lr must be one number or 2, one a group; got 3"),
        (lambda: S.CyclicLR(OPT, 0.1, 1.0, 0), ArgumentError, "step_size_up must be 1 or more, got 0"),
        (lambda: S.ChainedScheduler([]), ArgumentError, "ChainedScheduler: needs at least one scheduler"),
        (
            lambda: S.ChainedScheduler([S.StepLR(OPT, 2)], optimizer(minidl)),
            ArgumentError,
            "0 belongs to another optimizer",
        ),
        (lambda: S.ChainedScheduler([S.StepLR(OPT, 2)]).load_state_dict({}), StateDictError, "has 0 parts, this one 1"),
    ],
)
def test_what_cannot_be_meant_is_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_a_cycle_ends() -> None:
    o = optim.SGD([minidl.zeros(1)], momentum=0.9)
    schedule = lr_scheduler.OneCycleLR(o, 1.0, total_steps=3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ArgumentError, match=r"the cycle has 3 steps, and step\(\) was called 4 times"):
        schedule.step()


def test_momentum_that_is_not_there_cannot_cycle() -> None:
    class Plain(optim.Optimizer):
        pass

    with pytest.raises(ArgumentError, match="no momentum; pass cycle_momentum=False"):
        lr_scheduler.OneCycleLR(Plain([minidl.zeros(1)], {"lr": 0.1}), 1.0, total_steps=3)
