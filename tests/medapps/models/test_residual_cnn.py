"""The residual network maps pictures of any size to logits, and is built by name."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from medapps.errors import InputError
from medapps.models import build_model
from medapps.models.residual_cnn import ResidualBlock, ResidualCNN


@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 17), (1, 5)])
def test_any_size_gives_one_logit_a_class(channels: int, side: int) -> None:
    model = ResidualCNN(channels, 3, widths=(4, 6, 8))
    out = model(minidl.from_numpy(np.ones((2, channels, side, side), np.float32)))
    assert tuple(out.shape) == (2, 3)
    assert np.isfinite(out.detach().numpy()).all()


def test_parameters_are_as_counted_by_hand() -> None:
    # stem 9*4 + 8; block 4: 2 * (9*16 + 8); block 4->8: 9*32 + 16 + 9*64 + 16 + shortcut 32 + 16; head 16 + 2
    expected = (36 + 8) + 2 * (144 + 8) + (288 + 16 + 576 + 16 + 32 + 16) + 18
    assert sum(p.numel() for p in ResidualCNN(1, 2, widths=(4, 8)).parameters()) == expected


def test_a_block_without_its_convolutions_is_the_shortcut() -> None:
    block = ResidualBlock(3, 3)
    block.eval()
    with minidl.no_grad():
        block.bn2.weight.zero_()  # the branch gives nothing
    x = np.abs(np.random.default_rng(0).standard_normal((1, 3, 4, 4))).astype(np.float32)
    assert np.array_equal(block(minidl.from_numpy(x)).detach().numpy(), x)


def test_gradients_reach_every_parameter() -> None:
    minidl.manual_seed(0)
    model = ResidualCNN(1, 2, widths=(4, 8))
    x = np.random.default_rng(0).standard_normal((4, 1, 9, 9)).astype(np.float32)
    model(minidl.from_numpy(x)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ({"name": "resnet"}, "model: 'resnet' is not known; known are residual_cnn"),
        ({}, "model: None is not known"),
        ({"name": "residual_cnn", "depth": 3}, "residual_cnn cannot be built"),
    ],
)
def test_an_unknown_architecture_is_one_sentence(architecture: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_model(architecture)
