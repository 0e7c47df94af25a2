"""Hooks of optimizers: when they are called, with what, and what they may change."""

from __future__ import annotations

import pytest

import minidl
from minidl import optim
from minidl.errors import ArgumentError


def weight():
    w = minidl.nn.Parameter([1.0, 2.0])
    w.grad = minidl.ones(2)
    return w


def quadratic(w):
    def closure():
        w.grad = 2 * w.detach()
        return (w.detach() ** 2).sum()

    return closure


@pytest.mark.parametrize("kind", ["SGD", "LBFGS"])
def test_hooks_around_a_step_see_its_arguments_and_may_replace_them(kind: str) -> None:
    w, seen = weight(), []
    optimizer = getattr(optim, kind)([w], lr=0.1)
    closure = quadratic(w)
    first = optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append((o, args, kwargs, w.tolist())))
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((closure,), {}))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append((o, args, kwargs, w.tolist())))
    optimizer.step()
    assert seen[0] == (optimizer, (), {}, [1.0, 2.0])
    assert seen[1][:3] == (optimizer, (closure,), {})
    assert seen[1][3] != [1.0, 2.0]
    first.remove()
    optimizer.step()
    assert len(seen) == 3


def test_a_step_inside_a_step_runs_no_hooks_of_its_own() -> None:
    class Twice(optim.SGD):
        def step(self, closure=None):
            super().step(closure)
            return super().step(closure)

    calls, optimizer = [], Twice([weight()], lr=0.1)
    optimizer.register_step_post_hook(lambda *args: calls.append(args))
    optimizer.step()
    assert len(calls) == 1


def test_hooks_around_states_may_replace_them() -> None:
    w, seen = weight(), []
    optimizer = optim.SGD([w], lr=0.1, momentum=0.9)
    optimizer.step()
    optimizer.register_state_dict_pre_hook(lambda o: seen.append("before"))
    optimizer.register_state_dict_post_hook(lambda o, state: {**state, "epoch": 3})
    optimizer.register_state_dict_post_hook(lambda o, state: seen.append(sorted(state)), prepend=True)
    state = optimizer.state_dict()
    assert (seen, state["epoch"]) == (["before", ["param_groups", "state"]], 3)
    other = optim.SGD([weight()], lr=0.5, momentum=0.9)
    other.register_load_state_dict_pre_hook(lambda o, given: {key: given[key] for key in ("state", "param_groups")})
    other.register_load_state_dict_post_hook(lambda o: seen.append(o.param_groups[0]["lr"]))
    other.load_state_dict(state)
    assert seen[-1] == 0.1


def test_what_a_hook_before_a_step_may_not_return_is_named() -> None:
    optimizer = optim.SGD([weight()], lr=0.1)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: 3)
    with pytest.raises(ArgumentError, match=r"SGD: a hook before a step must return None or \(args, kwargs\), got 3"):
        optimizer.step()
