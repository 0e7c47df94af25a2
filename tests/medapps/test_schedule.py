"""The learning rate follows PyTorch's schedules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medapps.recipe import Recipe
from medapps.schedule import learning_rate

STEPS = 40


def test_one_cycle_follows_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 3e-3, total_steps=STEPS, pct_start=0.25, cycle_momentum=False, final_div_factor=400
    )
    for step in range(STEPS):
        # PyTorch turns one step earlier, at 0.25 * steps - 1: on this grid a tenth of the peak is room for that.
        assert learning_rate(Recipe(), step, STEPS) == pytest.approx(cycle.get_last_lr()[0], abs=3e-4)
        optimizer.step()
        cycle.step()


def test_one_cycle_peaks_after_a_quarter_and_ends_near_zero() -> None:
    rates = [learning_rate(Recipe(lr=1.0), step, STEPS) for step in range(STEPS)]
    assert rates[0] == pytest.approx(1 / 25)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(1e-4)


def test_cosine_follows_pytorch() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    recipe = replace(Recipe(), lr=0.1, schedule="cosine")
    for step in range(STEPS):
        assert learning_rate(recipe, step, STEPS) == pytest.approx(cosine.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        cosine.step()


def test_constant_stays() -> None:
    recipe = replace(Recipe(), lr=0.1, schedule="constant")
    assert {learning_rate(recipe, step, STEPS) for step in range(STEPS)} == {0.1}
