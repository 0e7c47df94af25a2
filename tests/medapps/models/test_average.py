"""The average of the weights is the exponential mean it says it is."""

from __future__ import annotations

import numpy as np
import pytest

import minidl
from medapps.models import WeightAverage
from minidl import nn


def moved(model: nn.Module, value: float) -> None:
    with minidl.no_grad():
        for parameter in model.parameters():
            parameter.fill_(value)


def test_the_average_follows_the_recurrence() -> None:
    model = nn.Linear(2, 1)
    moved(model, 1.0)
    average, expected = WeightAverage(model, 0.5), 1.0
    for step, value in enumerate([2.0, -1.0, 4.0, 0.5, 3.0, 1.0, 2.0, 8.0, 9.0, 5.0], start=1):
        moved(model, value)
        average.update(model)
        keep = min(0.5, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
        assert average.arrays["weight"] == pytest.approx(np.full((1, 2), expected), rel=1e-6)


def test_without_decay_the_average_is_the_last_weight() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.0)
    moved(model, 7.0)
    average.update(model)
    assert average.arrays["weight"].tolist() == [[7.0, 7.0]]


def test_the_average_does_not_share_memory_with_the_model() -> None:
    model = nn.Linear(2, 1)
    average = WeightAverage(model, 0.9)
    before = average.arrays["weight"].copy()
    moved(model, 3.0)
    assert np.array_equal(average.arrays["weight"], before)


def test_counters_are_copied() -> None:
    model = nn.BatchNorm2d(1)
    average = WeightAverage(model, 0.9)
    model(minidl.from_numpy(np.ones((2, 1, 2, 2), np.float32)))
    average.update(model)
    assert int(average.arrays["num_batches_tracked"]) == 1
