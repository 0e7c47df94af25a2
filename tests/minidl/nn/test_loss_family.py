"""Losses that PyTorch's samples do not settle: CTC's gradient behind log_softmax, and what PyTorch does not have."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.device.numba_status import use_numba
from minidl.errors import ShapeError
from minidl.nn import functional as F
from minidl.testing import check_gradient


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_ctc_behind_log_softmax_has_pytorchs_gradient() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    logits, targets = random(9, 2, 5), np.array([[1, 2, 2], [4, 1, 0]])
    ours = minidl.tensor(logits).requires_grad_()
    F.ctc_loss(F.log_softmax(ours, 2), minidl.tensor(targets), [9, 7], [3, 2]).backward()
    theirs = torch.tensor(logits, requires_grad=True)
    torch.nn.functional.ctc_loss(theirs.log_softmax(2), torch.tensor(targets), [9, 7], [3, 2]).backward()
    np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


def test_ctc_of_a_target_that_does_not_fit_is_infinite_or_zero() -> None:
    log_probs = F.log_softmax(minidl.tensor(random(2, 1, 3)), 2)
    target = minidl.tensor([[1, 1]])  # needs a blank between, three steps
    assert F.ctc_loss(log_probs, target, [2], [2]).item() == np.inf
    assert F.ctc_loss(log_probs, target, [2], [2], zero_infinity=True).item() == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ctc_by_the_kernel_is_that_of_the_reference_and_of_ops(dtype) -> None:
    rng = np.random.default_rng(0)
    lengths, steps = np.array([0, 3, 5, 1, 4, 0]), np.array([6, 12, 9, 3, 0, 0])
    targets = minidl.tensor(rng.integers(1, 4, (6, 5)))  # of three classes, so that many stand twice in a row
    log_probs = minidl.tensor(rng.standard_normal((12, 6, 4)).astype(dtype))

    def loss(x):
        return F.ctc_loss(F.log_softmax(x, 2), targets, steps, lengths, reduction="none", zero_infinity=True)

    fast, slow = log_probs.clone().requires_grad_(), log_probs.clone().requires_grad_()
    found = loss(fast)
    found.sum().backward()
    with use_numba(False):
        wanted = loss(slow)
        wanted.sum().backward()
    close = {"rtol": 1e-5 if dtype == np.float32 else 1e-11, "atol": 1e-5 if dtype == np.float32 else 1e-12}
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), **close)
    np.testing.assert_allclose(fast.grad.numpy(), slow.grad.numpy(), **close)
    if dtype == np.float64:
        check_gradient(lambda x: loss(x)[:4], log_probs, order=2)


def test_ctc_says_which_targets_are_no_classes() -> None:
    with pytest.raises(ShapeError, match="ctc_loss: targets must be classes from 0 to 2, got 0 to 7"):
        F.ctc_loss(minidl.zeros(3, 1, 3), minidl.tensor([[7]]), [3], [1])


def test_tversky_with_equal_prices_is_dice() -> None:
    p = minidl.tensor(1 / (1 + np.exp(-random(2, 3, 5))))
    t = minidl.tensor((random(2, 3, 5, seed=1) > 0) * 1.0)
    half = nn.TverskyLoss(alpha=0.5, beta=0.5, smooth=0.5)(p, t)  # numerator and denominator halved
    assert half.item() == pytest.approx(nn.DiceLoss(smooth=1.0)(p, t).item(), rel=1e-12)


def test_generalized_dice_weighs_a_region_by_the_inverse_square_of_its_size() -> None:
    t = np.zeros((1, 2, 10))
    t[0, 0, :8], t[0, 1, 8:] = 1, 1
    p = np.full((1, 2, 10), 0.5)
    w = np.array([1 / 64, 1 / 4])
    overlap, total = (w * (p * t).sum((0, 2))).sum(), (w * (p + t).sum((0, 2))).sum()
    given = F.generalized_dice_loss(minidl.tensor(p), minidl.tensor(t), smooth=0.0)
    assert given.item() == pytest.approx(1 - 2 * overlap / total, rel=1e-12)


def test_focal_loss_without_focus_and_balance_is_binary_cross_entropy() -> None:
    x, t = minidl.tensor(random(20)), minidl.tensor((random(20, seed=1) > 0) * 1.0)
    plain = F.sigmoid_focal_loss(x, t, alpha=-1, gamma=0, reduction="mean")
    assert plain.item() == pytest.approx(F.binary_cross_entropy_with_logits(x, t).item(), rel=1e-12)
    focused = F.sigmoid_focal_loss(x, t, alpha=0.25, gamma=2).array
    p = 1 / (1 + np.exp(-x.array))
    wanted = np.where(t.array == 1, -0.25 * (1 - p) ** 2 * np.log(p), -0.75 * p**2 * np.log(1 - p))
    np.testing.assert_allclose(focused, wanted, rtol=1e-10)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 4, 40, 50), (2, 3, 2000), (2, 2, 3, 4, 5)])
@pytest.mark.parametrize("is_last", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_classes_as_the_target_are_memberships_of_one(shape, is_last, batch) -> None:
    """The losses of overlap, their gradients and second derivatives, against those of one-hot memberships."""
    rng = np.random.default_rng(0)
    p, t = rng.random(shape), rng.integers(0, shape[1], (shape[0], *shape[2:]))
    if is_last:
        p = np.moveaxis(np.ascontiguousarray(np.moveaxis(p, 1, -1)), -1, 1)
    whole = np.moveaxis(np.eye(shape[1])[t], -1, 1)
    for loss in (F.soft_dice_loss, F.tversky_loss, F.generalized_dice_loss):
        found = []
        for target in (t, whole):
            x = minidl.Tensor.of(p.copy("K")).requires_grad_()
            value = loss(x, minidl.tensor(target), batch=batch, reduction="sum")
            value.backward(retain_graph=True)
            (g,) = minidl.autograd.grad(value, [x], create_graph=True)
            (second,) = minidl.autograd.grad((g * g).sum(), [x])
            found.append([a.detach().numpy() for a in (value, x.grad, g, second)])
        for mine, other in zip(*found, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-12)


def test_a_class_out_of_range_is_told() -> None:
    with pytest.raises(minidl.errors.ShapeError, match="classes must lie from 0 to 1, got 0 to 2"):
        F.soft_dice_loss(minidl.ones(1, 2, 3), minidl.tensor([[0, 2, 1]]))
