"""The loss is weighted cross-entropy, and the weights balance the classes."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from medapps.losses import class_weights, classification_loss


def test_loss_matches_the_formula_by_hand() -> None:
    logits = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]], np.float32)
    target, weight, smooth = np.array([0, 1, 1]), np.array([2.0, 0.5], np.float32), 0.2
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.full((3, 2), smooth / 2)
    wanted[np.arange(3), target] += 1 - smooth
    expected = -(wanted * weight * log_p).sum() / weight[target].sum()
    loss = classification_loss(minidl.from_numpy(logits), minidl.from_numpy(target), minidl.from_numpy(weight), smooth)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_every_class_has_the_same_total_weight() -> None:
    labels = np.repeat([0, 1, 2], [3, 50, 7])
    weights = class_weights(labels, 3)
    assert np.bincount(labels, weights=weights[labels]) == pytest.approx([20, 20, 20])


def test_a_class_without_images_has_no_weight() -> None:
    assert class_weights(np.array([0, 0, 2]), 3).tolist() == [0.75, 0.0, 1.5]
