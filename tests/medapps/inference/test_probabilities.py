"""Probabilities are softmax of the logits, whatever the batch size."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import minidl
from medapps.errors import InputError
from medapps.inference import predict_probabilities
from medapps.inference.probabilities import softmax
from medapps.models import build_model

ARCHITECTURE = {"name": "residual_cnn", "in_channels": 1, "classes": 3, "widths": [4], "dropout": 0.5}


def test_batch_size_does_not_matter_and_rows_sum_to_one() -> None:
    minidl.manual_seed(0)
    model = build_model(ARCHITECTURE)
    images = np.random.default_rng(0).standard_normal((7, 1, 8, 8)).astype(np.float32)
    whole = predict_probabilities(model, images)
    # BLAS sums a batch of another size in another order: float32 rounding is all that may differ.
    assert predict_probabilities(model, images, batch_size=2) == pytest.approx(whole, abs=1e-6)
    assert whole.sum(1) == pytest.approx(np.ones(7), abs=1e-12)
    assert whole.dtype == np.float64


def test_the_model_keeps_its_mode_and_its_statistics() -> None:
    model = build_model(ARCHITECTURE)
    before = {name: t.numpy().copy() for name, t in model.state_dict().items()}
    predict_probabilities(model, np.ones((2, 1, 8, 8), np.float32))
    assert model.training
    assert all(np.array_equal(before[name], t.numpy()) for name, t in model.state_dict().items())


def test_softmax_matches_scipy_and_does_not_overflow() -> None:
    logits = np.array([[1000.0, 0.0, -1000.0], [1.0, 2.0, 3.0]])
    assert softmax(logits) == pytest.approx(special.softmax(logits, axis=1), rel=1e-14)


def test_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        predict_probabilities(build_model(ARCHITECTURE), np.ones((0, 1, 8, 8), np.float32))


def test_views_are_averaged() -> None:
    minidl.manual_seed(0)
    model = build_model(ARCHITECTURE)
    images = np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)
    flipped = predict_probabilities(model, np.ascontiguousarray(images[..., ::-1]))
    both = predict_probabilities(model, images, views=[{"name": "flip", "params": {"x": True}}])
    assert both == pytest.approx((predict_probabilities(model, images) + flipped) / 2, abs=1e-7)


@pytest.mark.parametrize("view", [{"name": "blur", "params": {}}, {"name": "rotate", "params": {}}, {"name": "flip"}])
def test_a_view_that_cannot_be_is_named(view: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"no transform is called 'blur'|does not suit"):
        predict_probabilities(build_model(ARCHITECTURE), np.ones((1, 1, 8, 8), np.float32), views=[view])
