"""minidl.autograd.grad and backward, against PyTorch and formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

import minidl
from minidl.autograd import backward, grad
from minidl.errors import ArgumentError, GradError


def leaf(*values: float):
    return minidl.tensor(np.array(values, float), requires_grad=True)


def test_derivatives_of_sine_up_to_order_eight() -> None:
    """sin has the derivatives cos, -sin, -cos, sin, ...; each step multiplies rounding by a few, so 1e-12."""
    x = leaf(0.7)
    y = x.sin()
    for order in range(1, 9):
        (y,) = grad(y.sum(), x, create_graph=True)
        assert y.item() == pytest.approx(math.sin(0.7 + order * math.pi / 2), abs=1e-12)


def test_gradients_of_a_polynomial_by_hand() -> None:
    x, y = leaf(2.0), leaf(3.0)
    f = x**3 * y**2
    gx, gy = grad(f, [x, y], create_graph=True)
    assert (gx.item(), gy.item()) == (3 * 4 * 9, 2 * 8 * 3)
    (gxy,) = grad(gx, y)
    assert gxy.item() == 6 * 4 * 3


def test_grad_touches_no_leaf_and_stops_at_the_inputs() -> None:
    x = leaf(1.0, 2.0)
    hidden = x * x
    seen = []
    hidden.grad_fn.register_hook(lambda *_: seen.append(1))
    (g,) = grad((hidden * 3).sum(), hidden)
    assert g.tolist() == [3.0, 3.0]
    assert x.grad is None
    assert seen == []


def test_gradients_of_a_tensor_and_of_what_it_was_made_from() -> None:
    x = leaf(2.0)
    hidden = x * x
    out = hidden * x
    gh, gx, gout = grad(out, [hidden, x, out])
    assert (gh.item(), gx.item(), gout.item()) == (2.0, 12.0, 1.0)


def test_several_outputs_equal_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    found = []
    for m in (minidl, torch):
        x = m.tensor(np.linspace(0.5, 2, 6).reshape(2, 3), requires_grad=True)
        y = m.tensor(np.linspace(1, 2, 3), requires_grad=True)
        outputs = [(x * y).exp(), x.sum(0) @ y, (x * y).exp() * 2]
        weights = [m.ones(2, 3, dtype=m.float64), None, m.tensor(np.arange(6.0).reshape(2, 3))]
        grads = m.autograd.grad(outputs, [x, y], weights, retain_graph=True)
        m.autograd.backward(outputs, weights)
        found.append([*(g.numpy() for g in grads), x.grad.numpy(), y.grad.numpy()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


def test_an_output_that_another_output_is_made_from() -> None:
    x = leaf(3.0)
    y = x * x
    z = y * y
    (g,) = grad([y, z], x)
    assert g.item() == 2 * 3 + 4 * 27


def test_unused_inputs() -> None:
    x, y = leaf(1.0), leaf(1.0, 2.0)
    with pytest.raises(GradError, match=r"inputs\[1\], of shape \(2,\), has no part in the outputs; allow_unused=True"):
        grad(x * 2, [x, y])
    assert grad(x * 2, [x, y], allow_unused=True)[1] is None
    assert grad(x * 2, [x, y], materialize_grads=True)[1].tolist() == [0.0, 0.0]
    with pytest.raises(ArgumentError, match="allow_unused must not be False"):
        grad(x * 2, [x, y], allow_unused=False, materialize_grads=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: grad(x * 2, minidl.ones(2)), r"grad: inputs\[0\] does not require a gradient"),
        (lambda x: grad(minidl.ones(2).sum(), x), "grad: the tensor does not require a gradient"),
        (lambda x: grad(x * 2, x), r"grad: a tensor of shape \(2,\) needs the argument grad_outputs; or use .sum\(\)"),
        (lambda x: grad(x * 2, x, minidl.ones(3)), r"grad: gradient must have shape \(2,\), got \(3,\)"),
        (lambda x: grad([x * 2, x], x, [minidl.ones(2)]), "grad: 2 tensors need as many grad_outputs, got 1"),
        (lambda x: backward(x * 2), r"backward: a tensor of shape \(2,\) needs the argument gradient"),
        (lambda x: backward([x.sum()], []), "backward: 1 tensors need as many grad_tensors, got 0"),
    ],
)
def test_wrong_calls_are_named(call, message: str) -> None:
    with pytest.raises(GradError, match=message):
        call(leaf(1.0, 2.0))


def test_batched_gradients_are_refused() -> None:
    with pytest.raises(ArgumentError, match="is_grads_batched is not supported; call grad for each row"):
        grad(leaf(1.0) * 2, leaf(1.0), is_grads_batched=True)


def test_walks_in_many_threads_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    def slope(value: float) -> float:
        x = leaf(value)
        y = x
        for _ in range(50):
            y = y * 1.0 + x
        return grad(y.sum(), x)[0].item()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(slope, range(64))) == [51.0] * 64
