from __future__ import annotations

import copy
import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import ArgumentError, StateDictError


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(minidl.ones(2, 3)), nn.Parameter(minidl.ones(3))]


def trained(params: list[nn.Parameter], steps: int = 3, **options) -> optim.Adam:
    optimizer = optim.Adam(params, lr=0.1, **options)
    step(optimizer, steps)
    return optimizer


def step(optimizer: optim.Optimizer, steps: int) -> None:
    for i in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = minidl.full(p.shape, float(i + 1))
        optimizer.step()


def test_a_run_that_is_resumed_takes_the_same_bits() -> None:
    whole = weights()
    trained(whole, 6)
    first = weights()
    half = trained(first, 3)
    saved = copy.deepcopy(half.state_dict())
    second = [nn.Parameter(p.detach().clone()) for p in first]
    resumed = optim.Adam(second, lr=99.0)
    resumed.load_state_dict(saved)
    for optimizer in (half, resumed):
        for i in range(3, 6):
            for p in optimizer.param_groups[0]["params"]:
                p.grad = minidl.full(p.shape, float(i + 1))
            optimizer.step()
    for p, q, r in zip(whole, first, second, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), q.detach().numpy())
        np.testing.assert_array_equal(p.detach().numpy(), r.detach().numpy())


def test_a_loaded_state_is_the_optimizers_own() -> None:
    source = trained(weights())
    target = optim.Adam(weights())
    target.load_state_dict(source.state_dict())
    before = target.state_dict()["state"][0]["exp_avg"].numpy().copy()
    step(source, 1)
    np.testing.assert_array_equal(target.state_dict()["state"][0]["exp_avg"].numpy(), before)


def test_plain_arrays_and_numbers_will_do_as_state() -> None:
    state = trained(weights()).state_dict()
    plain = {
        "state": {n: {k: v.numpy() for k, v in s.items()} for n, s in state["state"].items()},
        "param_groups": state["param_groups"],
    }
    for values in plain["state"].values():
        values["step"] = 3
    target = optim.Adam(weights())
    target.load_state_dict(plain)
    step(target, 1)
    assert target.state_dict()["state"][0]["step"].item() == 4


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.bfloat16, minidl.float64])
def test_adafactor_remembers_rows_and_columns_in_the_type_of_the_weight(dtype) -> None:
    weight = minidl.nn.Parameter(minidl.ones(2, 4, 3, dtype=dtype))
    weight.grad = minidl.ones(2, 4, 3, dtype=dtype)
    optimizer = optim.Adafactor([weight], lr=0.1)
    optimizer.step()
    state = optimizer.state_dict()
    found = {key: (value.shape, value.dtype) for key, value in state["state"][0].items() if key != "step"}
    assert found == {"row_var": ((2, 4, 1), dtype), "col_var": ((2, 1, 3), dtype)}
    np.testing.assert_allclose(weight.detach().numpy().astype(float), 0.9, rtol=5e-3)
    state["state"][0]["row_var"] = minidl.ones(2, 4, 3)
    with pytest.raises(StateDictError, match=r"row_var of weight 0 has shape \(2, 4, 3\), but must have \(2, 4, 1\)"):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("state"), "needs the keys 'state' and 'param_groups'"),
        (lambda s: s["param_groups"].append({"params": []}), r"groups of \[2, 0\] weights, this optimizer has \[2\]"),
        (lambda s: s["state"].update({7: {}}), "remembers weight 7"),
        (lambda s: s["state"][0].update(exp_avg=minidl.zeros(5)), r"exp_avg of weight 0 has shape \(5,\)"),
        (lambda s: s["param_groups"][0].update(betas=(2.0, 0.9)), "betas must be two numbers"),
    ],
)
def test_a_state_that_does_not_fit_is_named_and_changes_nothing(change, message: str) -> None:
    state = copy.deepcopy(trained(weights()).state_dict())
    change(state)
    target = trained(weights(), 1)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises((StateDictError, ArgumentError), match=message):
        target.load_state_dict(state)
    after = target.state_dict()
    assert after["param_groups"] == before["param_groups"]
    np.testing.assert_array_equal(after["state"][0]["exp_avg"].numpy(), before["state"][0]["exp_avg"].numpy())


def test_groups_have_settings_of_their_own() -> None:
    a, b = weights()
    optimizer = optim.SGD([{"params": a, "lr": 1.0}, {"params": [b]}], lr=0.1)
    step(optimizer, 1)
    assert a.detach().numpy().flat[0] == 0.0
    assert b.detach().numpy()[0] == pytest.approx(0.9)
    c = nn.Parameter(minidl.ones(1))
    optimizer.add_param_group({"params": [c], "lr": 0.5})
    assert [g["lr"] for g in optimizer.param_groups] == [1.0, 0.1, 0.5]


def test_names_are_kept_beside_the_weights() -> None:
    layer = nn.Linear(2, 2)
    optimizer = optim.Adam(layer.named_parameters())
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["params"][1] is layer.bias


def test_weights_that_did_not_step_together_keep_their_own_counts() -> None:
    a, b = weights()
    optimizer = optim.Adam([a, b], lr=0.1)
    for i in range(4):
        a.grad = minidl.ones(2, 3)
        b.grad = minidl.ones(3) if i % 2 else None
        optimizer.step()
    assert [int(optimizer.state[w]["step"]) for w in (a, b)] == [4, 2]
    alone = nn.Parameter(minidl.ones(3))
    other = optim.Adam([alone], lr=0.1)
    for _ in range(2):
        alone.grad = minidl.ones(3)
        other.step()
    np.testing.assert_array_equal(alone.detach().numpy(), b.detach().numpy())


def test_a_closure_is_run_with_the_tape_on_and_its_loss_returned() -> None:
    w = nn.Parameter([3.0])
    optimizer = optim.SGD([w], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    with minidl.no_grad():
        assert optimizer.step(closure).item() == 9.0
    assert w.item() == 0.0


@pytest.mark.parametrize("to_none", [True, False])
def test_zero_grad_forgets_or_zeroes(to_none: bool) -> None:
    params = weights()
    optimizer = trained(params)
    optimizer.zero_grad(set_to_none=to_none)
    assert all(p.grad is None if to_none else not p.grad.numpy().any() for p in params)


def test_text_lists_the_settings() -> None:
    assert repr(optim.SGD(weights(), lr=0.5)).splitlines()[:3] == ["SGD (", "Parameter Group 0", "    dampening: 0"]


def test_weights_that_are_not_contiguous_are_changed() -> None:
    base = minidl.ones(3, 4)
    w = nn.Parameter(base.transpose(0, 1))
    step(optim.Adam([w], lr=0.1), 1)
    np.testing.assert_allclose(base.numpy(), 0.9, rtol=1e-5)  # Adam's first step has length lr; float32


W = nn.Parameter(minidl.ones(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD([]), "SGD: got no parameters"),
        (lambda: optim.SGD(nn.ReLU().parameters()), "got no parameters; either the model has none"),
        (lambda: optim.Adam(nn.Linear(2, 2)), r"Adam: got a Linear; give its weights: model.parameters\(\)"),
        (lambda: optim.Adam(W), "needs a list of weights or of groups, got Parameter"),
        (lambda: optim.Adam([W, W]), r"parameter 1 \(2,\) was given twice"),
        (lambda: optim.Adam([{"params": [W]}, {"params": [W]}]), r"parameter 0 \(2,\) was given twice"),
        (lambda: optim.Adam([(W, "w")]), "parameter 0 must be a Tensor, got tuple"),
        (lambda: optim.Adam([("w", W), nn.Parameter(minidl.ones(1))]), "parameter 1 has no name, and others have"),
        (
            lambda: optim.Adam([{"params": [("w", W)]}, {"params": [nn.Parameter(minidl.ones(1))]}]),
            "some groups have names and some have none",
        ),
        (lambda: optim.SGD([W], lr=minidl.ones(2)), r"lr must be one number, got a tensor of shape \(2,\)"),
        (lambda: optim.Adam([W], betas=(0.9, minidl.tensor(0.9))), "betas must be two numbers"),
        (lambda: optim.Adam([W], differentiable=True), "differentiable must be False; steps are not recorded here"),
        (lambda: optim.Adadelta([W], rho=1.5), r"Adadelta: rho must be from 0 to 1, got 1\.5"),
        (lambda: optim.Rprop([W], etas=(1.5, 0.5)), "etas must be a number between 0 and 1, and one above 1"),
        (lambda: optim.RMSprop([W], alpha=-1), "RMSprop: alpha must be 0 or more, got -1"),
        (lambda: optim.NAdam([W], momentum_decay=-1), "NAdam: momentum_decay must be 0 or more, got -1"),
        (lambda: optim.Adagrad([W], lr_decay=-1), "Adagrad: lr_decay must be 0 or more, got -1"),
        (lambda: optim.Adamax([W], betas=(0.9,)), "Adamax: betas must be two numbers"),
        (lambda: optim.LAMB([W], eps=math.nan), "LAMB: eps must be 0 or more, got nan"),
        (lambda: optim.Adam([W * 2]), "was computed; only leaves can be changed"),
        (lambda: optim.SGD([W], lr=-1), "SGD: lr must be 0 or more, got -1"),
        (lambda: optim.SGD([W], nesterov=True), "nesterov must be used with momentum above 0"),
        (lambda: optim.Adam([W], betas=(0.9, 1.0)), "betas must be two numbers from 0 up to, not including, 1"),
        (lambda: optim.AdamW([{"params": [W], "eps": -1}]), "AdamW: eps must be 0 or more, got -1"),
    ],
)
def test_what_cannot_be_meant_is_named(make, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        make()
