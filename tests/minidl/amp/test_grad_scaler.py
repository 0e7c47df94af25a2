"""GradScaler does what PyTorch's does, step by step."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import Tensor
from minidl.amp import GradScaler
from minidl.errors import ArgumentError, DTypeError, GradError, StateDictError


def made(**settings) -> tuple[Tensor, minidl.optim.Optimizer, GradScaler]:
    weight = minidl.tensor([1.0, -2.0], requires_grad=True)
    return weight, minidl.optim.SGD([weight], lr=0.1), GradScaler("cpu", **settings)


def test_scale_and_weights_follow_pytorch_over_overflows_and_growth() -> None:
    """The factor beside the loss decides which steps overflow; growth comes after two good steps in a row."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    settings = {"init_scale": 2.0**10, "growth_interval": 2, "growth_factor": 4.0, "backoff_factor": 0.25}
    weight, optimizer, scaler = made(**settings)
    their_weight = torch.tensor([1.0, -2.0], requires_grad=True)
    their_optimizer = torch.optim.SGD([their_weight], lr=0.1)
    their_scaler = torch.amp.GradScaler("cpu", **settings)
    seen = []
    for factor in (1.0, 1.0, 5e37, 1.0, float("nan"), float("inf"), 1.0, 1.0, 1.0, 1.0, 1e36, 1.0):
        optimizer.zero_grad()
        with np.errstate(all="ignore"):
            scaler.scale((weight * weight).sum() * minidl.tensor(factor)).backward()
        scaler.step(optimizer)
        scaler.update()
        their_optimizer.zero_grad()
        their_scaler.scale((their_weight * their_weight).sum() * factor).backward()
        their_scaler.step(their_optimizer)
        their_scaler.update()
        np.testing.assert_allclose(weight.detach().array, their_weight.detach().numpy(), rtol=1e-6)
        assert scaler.get_scale() == their_scaler.get_scale()
        assert scaler.state_dict() == their_scaler.state_dict()
        seen.append(scaler.get_scale())
    assert min(seen) < 2.0**10 < max(seen)


def test_a_small_gradient_survives_float16_by_the_scale_alone() -> None:
    x = minidl.ones(1, 1)
    for scaled in (False, True):
        weight = minidl.tensor([[1.0]], requires_grad=True)
        optimizer, scaler = minidl.optim.SGD([weight], lr=1.0), GradScaler("cpu", enabled=scaled)
        with minidl.autocast("cpu", minidl.float16):
            loss = (x @ weight).float().sum() * 1e-8  # below the smallest float16
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert weight.grad.item() == (pytest.approx(1e-8, rel=1e-3) if scaled else 0)


def test_unscaled_gradients_can_be_clipped_before_the_step() -> None:
    weight, optimizer, scaler = made()
    scaler.scale((weight * 30).sum()).backward()
    scaler.unscale_(optimizer)
    np.testing.assert_allclose(weight.grad.array, [30, 30])
    minidl.nn.utils.clip_grad_norm_([weight], 1.0)
    scaler.step(optimizer)
    np.testing.assert_allclose(weight.detach().array, [1 - 0.1 / 2**0.5, -2 - 0.1 / 2**0.5], rtol=1e-6)


def test_what_an_optimizer_returns_comes_back_and_a_skipped_step_changes_nothing() -> None:
    weight, optimizer, scaler = made()
    weight.grad = minidl.tensor([float("inf"), 1.0])
    assert scaler.step(optimizer) is None
    assert weight.tolist() == [1.0, -2.0]
    scaler.update()
    assert scaler.get_scale() == 2.0**15


def test_several_losses_and_optimizers() -> None:
    weight, optimizer, scaler = made()
    other = minidl.tensor([3.0], requires_grad=True)
    second = minidl.optim.SGD([other], lr=0.1)
    first_loss, second_loss = scaler.scale([weight.sum(), other.sum()])
    first_loss.backward()
    second_loss.backward()
    other.grad.fill_(float("nan"))
    scaler.step(optimizer)
    scaler.step(second)
    assert weight.tolist() == pytest.approx([0.9, -2.1])
    assert other.item() == 3.0
    scaler.update()
    assert scaler.get_scale() == 2.0**15


def test_a_loss_of_16_bits_is_scaled_in_float32() -> None:
    loss = minidl.full((), 4.0, dtype=minidl.float16)
    assert GradScaler("cpu").scale(loss).item() == 4.0 * 2**16


def test_not_enabled_it_is_not_there() -> None:
    weight, optimizer, scaler = made(enabled=False)
    loss = weight.sum()
    assert scaler.scale(loss) is loss
    loss.backward()
    scaler.unscale_(optimizer)
    scaler.step(optimizer)
    scaler.update()
    assert weight.tolist() == pytest.approx([0.9, -2.1])
    assert scaler.get_scale() == 1.0
    assert scaler.state_dict() == {}
    assert not scaler.is_enabled()


def test_the_state_travels() -> None:
    _, _, scaler = made(init_scale=8.0, growth_interval=7)
    other = GradScaler("cpu")
    other.load_state_dict(scaler.state_dict())
    assert other.state_dict() == scaler.state_dict()
    other.update(32.0)
    assert other.get_scale() == 32.0
    other.set_growth_factor(3.0)
    other.set_backoff_factor(0.1)
    other.set_growth_interval(5)
    assert (other.get_growth_factor(), other.get_backoff_factor(), other.get_growth_interval()) == (3.0, 0.1, 5)
    with pytest.raises(StateDictError, match="not enabled"):
        other.load_state_dict({})


def test_wrong_orders_are_named() -> None:
    weight, optimizer, scaler = made()
    with pytest.raises(GradError, match="update needs a step"):
        scaler.update()
    with pytest.raises(GradError, match="none of the optimizer's weights has a gradient"):
        scaler.step(optimizer)
    scaler.scale(weight.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(GradError, match="unscale_ was called twice"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(GradError, match="step was called twice"):
        scaler.step(optimizer)
    with pytest.raises(GradError, match="unscale_ was called after step"):
        scaler.unscale_(optimizer)
    scaler.update()
    with pytest.raises(ArgumentError, match="takes no closure"):
        scaler.step(optimizer, closure=lambda: None)
    with pytest.raises(ArgumentError, match="scale needs tensors"):
        scaler.scale(3.0)
    with pytest.raises(ArgumentError, match="growth_factor must be above 1"):
        GradScaler("cpu", growth_factor=1.0)
    half = minidl.ones(2, dtype=minidl.float16, requires_grad=True)
    half.sum().backward()
    with pytest.raises(DTypeError, match="gradients are float16"):
        scaler.step(minidl.optim.SGD([half], lr=0.1))
