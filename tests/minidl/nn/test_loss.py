"""Each loss beside PyTorch's, value and gradient, in float64."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ArgumentError, ShapeError

WEIGHT = [0.2, 1.0, 3.0]
CLASS_ROWS = [
    ("CrossEntropyLoss", {}),
    ("CrossEntropyLoss", {"weight": WEIGHT}),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": 1}),
    ("CrossEntropyLoss", {"label_smoothing": 0.2}),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": 0}),
]
ELEMENT_ROWS = [
    ("BCELoss", {}),
    ("BCEWithLogitsLoss", {}),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": [2.0, 0.5, 1.0]}),
    ("MSELoss", {}),
    ("L1Loss", {}),
    ("SmoothL1Loss", {"beta": 0.5}),
    ("HuberLoss", {"delta": 0.3}),
]


def agree(name: str, options: dict, reduction: str, values: np.ndarray, target: np.ndarray) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    made = []
    for lib in (minidl, torch):
        tensors = {k: lib.tensor(np.array(v)) if isinstance(v, list) else v for k, v in options.items()}
        x = lib.tensor(values, requires_grad=True)
        loss = getattr(lib.nn, name)(reduction=reduction, **tensors)(x, lib.tensor(target))
        loss.sum().backward()
        made.append((loss.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*made, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options"), CLASS_ROWS)
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4, 2)])
def test_class_losses_are_pytorchs(name: str, options: dict, reduction: str, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    agree(name, options, reduction, rng.standard_normal(shape), rng.integers(0, 3, shape[:1] + shape[2:]))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("name", "options"), ELEMENT_ROWS)
def test_element_losses_are_pytorchs(name: str, options: dict, reduction: str) -> None:
    rng = np.random.default_rng(0)
    agree(name, options, reduction, rng.uniform(0.05, 0.95, (4, 3)), rng.uniform(0, 1, (4, 3)))


def test_class_probabilities_may_be_the_target() -> None:
    rng = np.random.default_rng(0)
    agree("CrossEntropyLoss", {"label_smoothing": 0.1}, "mean", rng.standard_normal((4, 3)), rng.dirichlet([1] * 3, 4))


def test_dice_by_hand() -> None:
    """Class 0: 2 * 1.5 / (2.5 + 2), class 1: 2 * 1 / (1.5 + 2), without smoothing."""
    p = minidl.tensor([[[1.0, 0.5, 1.0, 0.0], [0.0, 0.5, 0.0, 1.0]]])
    loss = nn.DiceLoss(smooth=0.0, reduction="none")(p, minidl.tensor([[0, 0, 1, 1]]))
    np.testing.assert_allclose(loss.numpy(), [1 - 3 / 4.5, 1 - 3 / 3.5 + 1 / 3.5], rtol=1e-6)


def test_class_weights_move_with_the_module_and_are_saved_as_in_pytorch() -> None:
    loss = nn.CrossEntropyLoss(minidl.tensor(WEIGHT)).double()
    assert loss.weight.dtype == np.float64
    assert list(loss.state_dict()) == ["weight"]
    assert not list(loss.parameters())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: nn.MSELoss(reduction="average"), ArgumentError, "reduction must be 'mean', 'sum' or 'none'"),
        (lambda: nn.CrossEntropyLoss(label_smoothing=2), ArgumentError, "label_smoothing must be from 0 to 1"),
        (lambda: nn.MSELoss()(minidl.zeros(3), minidl.zeros(3, 1)), ShapeError, "target must have the shape of input"),
        (lambda: nn.CrossEntropyLoss()(minidl.zeros(2, 3), minidl.tensor([0, 3])), ShapeError, "target 3 is no class"),
    ],
)
def test_bad_arguments_are_named(call, error, message: str) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_a_small_cross_entropy_keeps_its_digits(classes: int) -> None:
    """Logits of 50 and losses of 1e-4: log(sum(exp)) minus a logit would keep one digit of the loss in float32."""
    logits = np.random.default_rng(0).uniform(40, 41, (64, classes))
    target = np.arange(64) % classes
    logits[np.arange(64), target] += 9 + np.log(classes)
    logits = logits.astype(np.float32)
    x = minidl.tensor(logits).requires_grad_()
    loss = nn.functional.cross_entropy(x, minidl.tensor(target), reduction="none")
    loss.sum().backward()
    wide = logits.astype(np.float64)
    off = wide - wide[np.arange(64), target][:, None]
    off[np.arange(64), target] = -np.inf
    rest = np.exp(off).sum(1)  # of all other classes, over that of the target
    # Some eight additions to totals near 1 are rounded, by 6e-8 each; one of a number near 50 would be, by 2e-6.
    bound = {"rtol": 0, "atol": 5e-7}
    np.testing.assert_allclose(loss.detach().numpy(), np.log1p(rest), **bound)
    np.testing.assert_allclose(x.grad.numpy()[np.arange(64), target], -rest / (1 + rest), **bound)


@pytest.mark.parametrize("ignored", [-100, 2])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_of_many_places_are_their_formula(weighted, ignored) -> None:
    """More places than one piece of work has, some of them ignored, in float64."""
    rng = np.random.default_rng(9)
    x, target = rng.standard_normal((2, 5, 100, 97)), rng.integers(0, 5, (2, 100, 97))
    target[0, :50] = ignored
    weight = rng.random(5) if weighted else np.ones(5)
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    of_place = np.where(target == ignored, 0, weight[np.maximum(target, 0)])
    hit = (np.arange(5)[:, None, None] == target[:, None]) * of_place[:, None] / of_place.sum()
    given = minidl.tensor(weight) if weighted else None
    for function, values, slope in [
        (nn.functional.nll_loss, log_p, -hit),
        (nn.functional.cross_entropy, x, np.exp(log_p) * hit.sum(1, keepdims=True) - hit),
    ]:
        leaf = minidl.tensor(values).requires_grad_()
        loss = function(leaf, minidl.tensor(target), given, ignore_index=ignored)
        loss.backward()
        np.testing.assert_allclose(loss.item(), -(hit * log_p).sum(), rtol=1e-12)
        np.testing.assert_allclose(leaf.grad.numpy(), slope, atol=1e-15)
    target[1, 99, 96] = 5
    with pytest.raises(ShapeError, match="target 5 is no class; input has 5"):
        nn.functional.nll_loss(minidl.tensor(x), minidl.tensor(target), given, ignore_index=ignored)
