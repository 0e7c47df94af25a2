"""Losses as one op: values, gradients and second derivatives are PyTorch's, and bits do not depend on threads."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl.core import launching
from minidl.device import get_num_threads, set_num_threads

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

LOSSES = {
    "mse_loss": {}, "l1_loss": {}, "huber_loss": {"delta": 0.7}, "smooth_l1_loss": {"beta": 0.4},
    "binary_cross_entropy": {}, "binary_cross_entropy_with_logits": {}, "kl_div": {}, "kl_div ": {"log_target": True},
    "multilabel_soft_margin_loss": {},
    "binary_cross_entropy_with_logits ": {"pos_weight": 3.5},
    "soft_margin_loss": {}, "hinge_embedding_loss": {"margin": 0.8}, "poisson_nll_loss": {},
    "poisson_nll_loss ": {"log_input": False, "eps": 0.1},
}  # fmt: skip


def draw(name, shape):
    rng = np.random.default_rng(0)
    is_positive = name in ("binary_cross_entropy", "poisson_nll_loss ")
    input = rng.uniform(0.1, 0.9, shape) if is_positive else rng.standard_normal(shape)
    if name in ("soft_margin_loss", "hinge_embedding_loss"):
        return input, np.asarray(rng.integers(0, 2, shape) * 2.0 - 1)
    is_any = name.endswith("1_loss") or name in ("mse_loss", "huber_loss")
    return input, rng.standard_normal(shape) if is_any else rng.random(shape)


def results(lib, name, options, input, target):
    """The loss, its gradient, and that of the squared gradient."""
    x, y = lib.tensor(input, requires_grad=True), lib.tensor(target)
    if "pos_weight" in options:
        options = {**options, "pos_weight": lib.tensor(options["pos_weight"], dtype=x.dtype)}
    loss = getattr(lib.nn.functional, name.strip())(x, y, **options)
    loss.backward(retain_graph=True)
    first = x.grad.numpy().copy()
    (g,) = lib.autograd.grad(loss, [x], create_graph=True)
    if not g.requires_grad:
        return loss.detach().numpy(), first, np.zeros_like(first)
    (second,) = lib.autograd.grad((g * g).sum() + (0 * x).sum(), [x])  # alone, PyTorch's zeros would have no memory
    return loss.detach().numpy(), first, second.numpy()


@pytest.mark.filterwarnings("ignore:reduction.*batchmean:UserWarning")  # PyTorch's advice
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 40, 900)])
def test_values_and_gradients_are_pytorchs(name, reduction, shape) -> None:
    if name == "multilabel_soft_margin_loss":
        shape = shape or (1,)  # PyTorch needs a dimension of classes
    input, target = draw(name, shape)
    options, names = {**LOSSES[name], "reduction": reduction}, []

    def note(call):
        names.append(call.op.name)
        call.run()

    with launching(note):
        ours = results(minidl, name, options, input, target)
    theirs = results(torch, name, options, input, target)
    assert {"total_loss", "total_loss_grad"} <= set(names)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("name", LOSSES)
def test_the_reference_gives_the_same(name) -> None:
    input, target = draw(name, (7, 300))
    found = []
    for compiled in (True, False):
        minidl.use_numba(compiled)
        try:
            found.append(results(minidl, name, LOSSES[name], input, target))
        finally:
            minidl.use_numba(True)
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_the_ends_of_the_range_are_pytorchs() -> None:
    input, target = np.array([0.0, 0.0, 1.0, 1.0, 0.5]), np.array([0.0, 1.0, 0.0, 1.0, 0.5])
    ours, theirs = (results(lib, "binary_cross_entropy", {}, input, target)[:2] for lib in (minidl, torch))
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-8)  # PyTorch's 1e-12 is a float32


def test_bits_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(1)
    x, y = (minidl.tensor(rng.standard_normal((300, 1001), np.float32)) for _ in "xy")
    before, found = get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7, 16):
            set_num_threads(threads)
            found.append(minidl.nn.functional.mse_loss(x, y).item())
    finally:
        set_num_threads(before)
    assert len(set(found)) == 1
    exact = np.square(x.numpy().astype(np.float64) - y.numpy()).mean()
    assert found[0] == pytest.approx(exact, rel=1e-6)  # 1024 float32 numbers are added up pairwise, those in float64


@pytest.mark.parametrize("alpha", [0.25, -1.0])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_focal_loss_and_its_derivatives_are_those_of_its_formula(alpha, reduction) -> None:
    """As torchvision writes it, in PyTorch's ops."""
    input, target = np.random.default_rng(0).standard_normal((3, 4000)), np.random.default_rng(1).random((3, 4000))

    def formula(x, y):
        p = torch.sigmoid(x)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(x, y, reduction="none")
        loss = loss * (1 - (p * y + (1 - p) * (1 - y))) ** 2
        loss = loss if alpha < 0 else (alpha * y + (1 - alpha) * (1 - y)) * loss
        return getattr(loss, reduction)()

    found = []
    for lib, call in [
        (minidl, lambda x, y: minidl.nn.functional.sigmoid_focal_loss(x, y, alpha, reduction=reduction)),
        (torch, formula),
    ]:
        x, y = lib.tensor(input, requires_grad=True), lib.tensor(target)
        loss = call(x, y)
        (g,) = lib.autograd.grad(loss, [x], create_graph=True)
        (second,) = lib.autograd.grad((g * g).sum(), [x])
        loss = call(x, y)
        loss.backward()
        found.append([t.detach().numpy() for t in (loss, g, second, x.grad)])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_ranking_loss_is_pytorchs(reduction) -> None:
    rng = np.random.default_rng(0)
    a, b, y = rng.standard_normal(5000), rng.standard_normal(5000), rng.integers(0, 2, 5000) * 2.0 - 1
    found = []
    for lib in (minidl, torch):
        first, second = lib.tensor(a, requires_grad=True), lib.tensor(b, requires_grad=True)
        loss = lib.nn.functional.margin_ranking_loss(first, second, lib.tensor(y), 0.3, reduction=reduction)
        loss.backward()
        found.append([t.detach().numpy() for t in (loss, first.grad, second.grad)])
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-11)
