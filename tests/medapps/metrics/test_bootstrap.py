"""Draws are seeded, whole, and the same whatever the size of the chunks."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.metrics import Resampling
from medapps.metrics import bootstrap as module
from medapps.metrics.bootstrap import estimate_from_draws


def test_each_draw_takes_as_many_groups_as_there_are():
    weights = np.concatenate(list(Resampling(50).group_weights(7)))
    assert weights.shape == (50, 7)
    assert (weights.sum(1) == 7).all()
    assert weights.mean() == 1.0


def test_draws_do_not_depend_on_the_chunks(monkeypatch):
    whole = np.concatenate(list(Resampling(50).group_weights(7)))
    monkeypatch.setattr(module, "_CHUNK", 20)
    np.testing.assert_array_equal(np.concatenate(list(Resampling(50).group_weights(7))), whole)


def test_totals_are_sums_over_the_drawn_groups():
    of_group = np.arange(12.0).reshape(3, 2, 2)
    weights = np.concatenate(list(Resampling(5).group_weights(3)))
    wanted = np.einsum("dg,gij->dij", weights, of_group)
    np.testing.assert_allclose(Resampling(5).totals(of_group), wanted)


def test_few_undefined_draws_are_left_out_and_many_are_told():
    draws = np.linspace(0.4, 0.6, 100)
    draws[:3] = np.nan
    assert estimate_from_draws(0.5, draws, 9, "b").has_interval
    draws[:30] = np.nan
    found = estimate_from_draws(0.5, draws, 9, "b")
    assert not found.has_interval
    assert found.method == "no interval: 30 of 100 draws miss a class"


def test_the_interval_is_the_middle_95_percent():
    found = estimate_from_draws(0.5, np.linspace(0, 1, 2001), 9, "b")
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
