"""Checkpointing gives the same gradients, holds less, and notices when the second run differs from the first."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import functional, grad
from minidl.errors import ArgumentError, GradError
from minidl.utils.checkpoint import checkpoint, checkpoint_sequential


def network() -> nn.Sequential:
    minidl.manual_seed(3)
    parts = [[nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5)]]
    parts += [[nn.Conv2d(6, 6, 3, padding=1), nn.GroupNorm(2, 6), nn.GELU()] for _ in range(2)]
    return nn.Sequential(*(layer for part in parts for layer in part)).double()


def gradients(net, run) -> list[np.ndarray]:
    minidl.manual_seed(11)
    x = minidl.tensor(np.random.default_rng(0).standard_normal((2, 2, 5, 5)), requires_grad=True)
    (run(net, x) ** 2).sum().backward()
    after = minidl.rand(3).tolist()  # where the generator stands must not depend on the checkpoint
    return [x.grad.numpy(), *(p.grad.numpy() for p in net.parameters()), np.array(after)]


@pytest.mark.parametrize(
    "run",
    [
        checkpoint,
        lambda net, x: checkpoint_sequential(net, 2, x),  # 3 would part a norm from its GELU
        lambda net, x: checkpoint(lambda x: checkpoint_sequential(net, 4, x * 1), x),
        lambda net, x: checkpoint(nn.Sequential(*list(net)[4:]), nn.Sequential(*list(net)[:4])(x)),
    ],
    ids=["whole", "segments", "nested", "second half"],
)
def test_gradients_are_the_same_to_the_last_bit(run) -> None:
    for ours, plain in zip(gradients(network(), run), gradients(network(), lambda net, x: net(x)), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_segments_that_part_what_runs_as_one_have_the_bits_of_their_parts() -> None:
    """Three segments end between a norm and its GELU."""

    def in_parts(net, x):
        layers = list(net)
        for part in (layers[:3], layers[3:6], layers[6:]):
            x = nn.Sequential(*part)(x)
        return x

    parted = gradients(network(), lambda net, x: checkpoint_sequential(net, 3, x))
    for ours, plain in zip(parted, gradients(network(), in_parts), strict=True):
        np.testing.assert_array_equal(ours, plain)


class Residual(nn.Module):
    """Checkpoints inside of a module, where cheap ops wait for the ones behind them."""

    def __init__(self, how) -> None:
        self.conv, self.norm, self.how = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), how

    def body(self, x):
        return self.norm(self.conv(x))

    def forward(self, x):
        return (self.how(self.body, self.norm(x)) + x).relu()


def test_checkpoints_inside_of_a_module() -> None:
    found = []
    for how in (checkpoint, lambda f, x: f(x)):
        minidl.manual_seed(0)
        found.append(gradients(Residual(how).double(), lambda net, x: net(x)))
    for ours, plain in zip(*found, strict=True):
        np.testing.assert_allclose(ours, plain, rtol=1e-12, atol=1e-12)  # fused passes round otherwise


def test_derivatives_of_any_order() -> None:
    x = minidl.tensor(np.array([0.5, 1.5]), requires_grad=True)
    plain = functional.hessian(lambda x: (x.sin() * x[0] * x[1]).sum(), x)
    again = functional.hessian(lambda x: checkpoint(lambda x: (x.sin() * x[0] * x[1]).sum(), x), x)
    np.testing.assert_allclose(again.numpy(), plain.numpy(), rtol=1e-13)


def test_weights_that_are_no_arguments_get_their_gradients() -> None:
    w = minidl.tensor(np.array(3.0), requires_grad=True)
    y = checkpoint(lambda x: (x * w).exp(), minidl.tensor(np.array(0.5)))
    assert grad(y, w)[0].item() == pytest.approx(0.5 * np.exp(1.5), rel=1e-14)


def test_nothing_inside_is_held_and_all_is_freed_without_the_garbage_collector() -> None:
    inside = []

    def function(x):
        hidden = x.exp()
        inside.append(weakref.ref(hidden.array))
        return (hidden * hidden).sum()

    gc.collect()
    gc.disable()
    try:
        x = minidl.ones(1000, requires_grad=True)
        y = checkpoint(function, x)
        assert inside[0]() is None
        node = weakref.ref(y.grad_fn)
        y.backward()
        assert len(inside) == 2
        del y
        assert node() is None
        assert inside[1]() is None
    finally:
        gc.enable()


def test_a_graph_kept_runs_again_each_time() -> None:
    runs = []
    x = minidl.tensor(2.0, requires_grad=True)

    def cube(x):
        runs.append(1)
        return x * x * x

    y = checkpoint(cube, x)
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 24.0
    assert len(runs) == 3
    with pytest.raises(GradError, match="freed"):
        y.backward()


def test_without_the_random_state_other_numbers_are_dropped() -> None:
    x = minidl.ones(1000, requires_grad=True)
    for preserve in (True, False):
        x.grad = None
        y = checkpoint(lambda x: nn.functional.dropout(x * 1.0, 0.5), x, preserve_rng_state=preserve)
        y.sum().backward()
        assert bool(((x.grad > 0) == (y > 0)).all()) is preserve


def test_a_second_run_that_differs_is_noticed() -> None:
    calls = []

    def fickle(x):
        calls.append(1)
        return x.exp() if len(calls) == 1 else x.exp().exp()

    with pytest.raises(GradError, match="checkpoint: the function took 1 steps in the forward pass, but 2, or others,"):
        checkpoint(fickle, minidl.ones(2, requires_grad=True)).sum().backward()


def test_inputs_changed_in_between_are_noticed_and_changes_inside_are_fine() -> None:
    def function(x, w):
        y = x * w
        y.add_(1)
        return y * y

    x, w = minidl.ones(2, requires_grad=True), minidl.ones(2) * 2
    checkpoint(function, x, w).sum().backward()
    assert x.grad.tolist() == [12.0, 12.0]
    y = checkpoint(function, x, w)
    w.add_(1)
    with pytest.raises(GradError, match=r"its input of shape \(2,\) must be as it was .* add_ has changed it"):
        y.sum().backward()


def test_a_changed_value_from_outside_is_noticed_though_it_is_no_argument() -> None:
    x, w = minidl.ones(2, requires_grad=True), minidl.ones(2) * 2
    y = checkpoint(lambda x: x * w, x)
    w.add_(1)
    with pytest.raises(GradError, match=r"mul still needs a value from outside of the checkpoint, .* add_ has changed"):
        y.sum().backward()


def test_a_changed_input_is_noticed_where_no_step_keeps_it() -> None:
    """exp keeps its result, which the second run would make anew from another input."""
    x = minidl.ones(2, requires_grad=True) * 1
    y = checkpoint(minidl.exp, x)
    x.add_(1)
    with pytest.raises(GradError, match="its input of shape"):
        y.sum().backward()


def test_without_recording_it_is_a_plain_call() -> None:
    with minidl.no_grad():
        assert checkpoint(lambda x: x * 2, minidl.ones(1, requires_grad=True)).grad_fn is None


def test_segments_must_fit() -> None:
    with pytest.raises(ArgumentError, match="segments must be from 1 to 3, the number of layers, got 4"):
        checkpoint_sequential([nn.ReLU()] * 3, 4, minidl.ones(1))
