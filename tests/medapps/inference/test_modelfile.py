"""A model file comes back bit for bit, and anything else gives one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

import minidl
from medapps import NOTICE
from medapps.errors import InputError
from medapps.inference import Card, Classifier, load_model, predict_probabilities, save_model
from medapps.models import build_model

ARCHITECTURE = {"name": "residual_cnn", "in_channels": 1, "classes": 2, "widths": [4, 8]}
CARD = Card(ARCHITECTURE, ({"name": "standardise", "mean": [3.0], "sd": [2.0]},), (1, 9, 9), ("a", "b"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    minidl.manual_seed(0)
    return save_model(tmp_path / "model.safetensors", Classifier(build_model(ARCHITECTURE), CARD))


def rewritten(path: Path, *, card: dict[str, Any] | None = None, arrays: dict[str, Any] | None = None) -> Path:
    """The file with fields of its card, or some of its arrays, replaced (None: taken out)."""
    held = load(path.read_bytes()) | (arrays or {})
    held = {name: array for name, array in held.items() if array is not None}
    content = CARD.to_dict() | (card or {})
    metadata = {"medapps_model": json.dumps({k: v for k, v in content.items() if v is not None})}
    path.write_bytes(save(held, metadata=metadata))
    return path


def test_a_model_comes_back_bit_for_bit(saved: Path) -> None:
    minidl.manual_seed(0)
    original, x = build_model(ARCHITECTURE), np.random.default_rng(0).standard_normal((3, 1, 9, 9)).astype(np.float32)
    held = load_model(saved)
    assert np.array_equal(predict_probabilities(held.model, x), predict_probabilities(original, x))
    assert json.loads(json.dumps(held.card.to_dict())) == json.loads(json.dumps(CARD.to_dict()))
    assert not held.model.training


def test_a_run_folder_stands_for_its_model(saved: Path) -> None:
    assert load_model(saved.parent).card.classes == ("a", "b")


def test_the_notice_is_in_the_file(saved: Path) -> None:
    assert NOTICE.encode() in saved.read_bytes()


def test_a_file_cut_short_anywhere_gives_one_sentence(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 40)):
        saved.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"is not a safetensors file, or its beginning is damaged|it was cut off"):
            load_model(saved)


def test_a_missing_file_gives_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such model file"):
        load_model(tmp_path / "model.safetensors")


def test_another_kind_of_file_gives_one_sentence(tmp_path: Path) -> None:
    other = tmp_path / "weights.safetensors"
    other.write_bytes(save({"w": np.zeros(3, np.float32)}))
    with pytest.raises(InputError, match="has no medapps card"):
        load_model(other)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ({"architecture": ARCHITECTURE | {"name": "os.system"}}, "model: 'os.system' is not known"),
        ({"architecture": ARCHITECTURE | {"widths": [4, 10**9]}}, "needs more weights than"),
        ({"architecture": ARCHITECTURE | {"widths": "big"}}, "widths must be a list"),
        ({"architecture": ARCHITECTURE | {"classes": 3}}, "classes must be 2, got 3"),
        ({"architecture": ARCHITECTURE | {"in_channels": 10**9}}, "in_channels must be 1"),
        ({"architecture": ARCHITECTURE | {"extra": 1}}, "cannot be built"),
        ({"architecture": None}, "has no architecture"),
        ({"classes": ["a"]}, "classes must be a list of at least 2 names"),
        ({"input_shape": [1, 9]}, "input_shape must be"),
        ({"input_shape": [1, 9, 10**9]}, "input_shape must be"),
        ({"preparation": "standardise"}, "preparation must be a list of transforms"),
        ({"code": "import os"}, "'code' is not known"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(saved: Path, card: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(rewritten(saved, card=card))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"head.weight": None}, "'head.weight' are missing"),
        ({"more": np.zeros(3, np.float32)}, "'more' belong to another architecture"),
        (
            {"head.weight": np.zeros((2, 9), np.float32)},
            r"'head.weight' must be float32 \(2, 8\), got float32 \(2, 9\)",
        ),
        ({"head.weight": np.zeros((2, 8), np.float64)}, "must be float32"),
        ({"head.bias": np.array([0, np.nan], np.float32)}, "hold values that are not numbers"),
    ],
)
def test_weights_that_do_not_fit_are_refused(saved: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_model(rewritten(saved, arrays=arrays))
