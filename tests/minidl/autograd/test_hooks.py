"""Hooks on tensors and steps."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.autograd import grad
from minidl.errors import GradError


def test_a_hook_sees_the_whole_gradient_once_and_may_replace_it() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for m in (minidl, torch):
        seen = []

        def double(g, seen=seen):
            seen.append(g.tolist())
            return g * 2

        x = m.tensor([1.0, 2.0], requires_grad=True)
        hidden = x * 3
        hidden.register_hook(double)
        hidden.register_hook(lambda g, seen=seen: seen.append(g.tolist()))
        x.register_hook(double)
        (hidden + hidden * hidden + x).sum().backward()
        found.append((seen, x.grad.tolist()))
    assert found[0] == found[1]
    assert len(found[0][0]) == 3


def test_a_removed_hook_is_not_called() -> None:
    x = minidl.ones(1, requires_grad=True)
    handle = x.register_hook(lambda g: g * 10)
    with (x * 1).register_hook(lambda g: g * 100):
        pass
    handle.remove()
    handle.remove()
    (x * 2).backward()
    assert x.grad.item() == 2.0


def test_hooks_work_for_grad_and_in_graphs_of_gradients() -> None:
    x = minidl.tensor(np.array(2.0), requires_grad=True)
    y = x * x
    y.register_hook(lambda g: g * x)
    (first,) = grad(y * 1, x, create_graph=True)  # 2 x * x
    (second,) = grad(first, x)
    assert (first.item(), second.item()) == (8.0, 8.0)


def test_retained_gradients_add_up_and_leaves_keep_theirs_anyway() -> None:
    x = minidl.ones(2, requires_grad=True)
    y = x * 2
    assert not y.retains_grad
    y.retain_grad()
    x.retain_grad()
    for _ in range(2):
        (y * y).sum().backward(retain_graph=True)
    assert y.retains_grad
    assert not x.retains_grad
    assert y.grad.tolist() == [8.0, 8.0]


def test_after_a_leaf_got_its_gradient_a_hook_may_use_it_up() -> None:
    """An optimiser step per weight, inside backward: no two gradients are held at once."""
    weights = [minidl.ones(2, requires_grad=True) for _ in range(3)]

    def step(w) -> None:
        with minidl.no_grad():
            w.sub_(w.grad * 0.5)
        w.grad = None

    for w in weights:
        w.register_post_accumulate_grad_hook(step)
    sum(w.sum() for w in weights).backward()
    assert [w.tolist() for w in weights] == [[0.5, 0.5]] * 3
    assert all(w.grad is None for w in weights)


def test_hooks_of_a_step_see_all_its_gradients() -> None:
    x, y = minidl.tensor(2.0, requires_grad=True), minidl.tensor(3.0, requires_grad=True)
    product = x * y
    seen = []
    product.grad_fn.register_prehook(lambda grads: (grads[0] * 10,))
    product.grad_fn.register_hook(lambda found, grads: seen.append([g.item() for g in (*found, *grads)]))
    product.grad_fn.register_hook(lambda found, grads: (found[0], None))
    product.backward()
    assert seen == [[30.0, 20.0, 10.0]]
    assert (x.grad.item(), y.grad) == (30.0, None)


@pytest.mark.parametrize(
    ("register", "message"),
    [
        (lambda t: t.detach().register_hook(print), "register_hook: the tensor does not require a gradient"),
        (lambda t: t.detach().retain_grad(), "retain_grad: the tensor does not require a gradient"),
        (
            lambda t: (t * 2).register_post_accumulate_grad_hook(print),
            "only leaves gather gradients; use register_hook",
        ),
    ],
)
def test_hooks_that_would_never_run_are_refused(register, message: str) -> None:
    with pytest.raises(GradError, match=message):
        register(minidl.ones(2, requires_grad=True))


def test_gradients_of_another_shape_are_refused() -> None:
    x = minidl.ones(2, requires_grad=True)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(GradError, match=r"the hook must give a gradient of shape \(2,\), .* it gave shape \(\)"):
        (x * 2).sum().backward()
    y = x * 2
    y.grad_fn.register_hook(lambda found, grads: (None, None, None))
    with pytest.raises(GradError, match="register_hook of mul: the hook must give 2 gradients, or None; it gave 3"):
        y.sum().backward()
