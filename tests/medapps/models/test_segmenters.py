"""The segmentation networks: any size in, the same size out, and a reach that fits what they are."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from medapps.errors import InputError
from medapps.models import MODELS, build_model

RESEG = {"name": "reseg", "in_channels": 1, "classes": 3, "widths": [4, 4], "patches": [2, 2], "stem": 4}
UNET = {"name": "unet", "in_channels": 1, "classes": 3, "widths": [4, 8, 8]}
LSTM = {**RESEG, "cell": "lstm", "stem": 0}


def picture(height: int, width: int, seed: int = 0) -> minidl.Tensor:
    return minidl.from_numpy(np.random.default_rng(seed).standard_normal((1, 1, height, width)).astype(np.float32))


@pytest.mark.parametrize("architecture", [RESEG, UNET, LSTM], ids=["reseg", "unet", "lstm"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (7, 13), (1, 5)])
def test_any_size_gives_logits_of_that_size(architecture: dict[str, object], height: int, width: int) -> None:
    model = build_model(architecture).eval()
    assert model(picture(height, width)).shape == (1, 3, height, width)


@pytest.mark.parametrize("architecture", [RESEG, UNET, LSTM], ids=["reseg", "unet", "lstm"])
def test_every_weight_learns(architecture: dict[str, object]) -> None:
    model = build_model(architecture)
    (model(picture(16, 16)) ** 2).mean().backward()
    for name, weight in model.named_parameters():
        assert weight.grad is not None, name
        assert np.abs(weight.grad.numpy()).max() > 0, name


def reach(model: minidl.nn.Module, side: int = 64) -> int:
    """How far from the middle the input still changes the output there, in pixels."""
    x = picture(side, side)
    x.requires_grad_(True)
    model(x)[0, 0, side // 2, side // 2].backward()
    touched = np.argwhere(np.abs(x.grad.numpy()[0, 0]) > 0)
    return int(np.abs(touched - side // 2).max())


def test_a_sweep_sees_the_whole_picture_and_a_small_unet_does_not() -> None:
    minidl.manual_seed(0)
    assert reach(build_model(RESEG).eval()) == 32
    assert reach(build_model({**UNET, "widths": [4, 4]}).eval()) < 16


def test_row_sweeps_go_along_rows() -> None:
    """With the column net silenced after one layer, what changes in a row changes that row alone."""
    from medapps.models.reseg import SweepLayer

    minidl.manual_seed(0)
    layer = SweepLayer(1, 3, 1, "gru").eval()
    x = picture(5, 6)
    y = minidl.from_numpy(x.numpy().copy())
    y.numpy()[0, 0, 2, 0] += 1.0
    rows = [layer.along_rows(t.reshape(5, 6, 1).permute(1, 0, 2))[0].detach().numpy() for t in (x, y)]
    changed = np.abs(rows[0] - rows[1]).max(axis=(0, 2)) > 0
    assert changed.tolist() == [False, False, True, False, False]
    whole = np.abs(layer(x).detach().numpy() - layer(y).detach().numpy()).max(axis=1)[0] > 0
    assert whole[:, 5].all()  # the row's far end, and from there its whole column


def test_an_unknown_cell_is_named() -> None:
    with pytest.raises(InputError, match=r"cell must be one of gru, lstm, got 'rnn'"):
        build_model({**RESEG, "cell": "rnn"})
    with pytest.raises(InputError, match=r"as many patches as widths"):
        build_model({**RESEG, "patches": [2]})


def test_all_models_are_registered() -> None:
    assert set(MODELS) >= {"residual_cnn", "reseg", "unet"}
