"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medapps.recipe import Recipe

__all__ = ["learning_rate"]

_WARM = 0.25  # share of the steps in which one_cycle rises


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of step `step` (from 0) of `steps`.

    "one_cycle" rises from lr / 25 over the first quarter and falls to lr / 10 000; "cosine" falls from lr to zero; both
    along half a cosine.

    Source: Smith and Topin, "Super-convergence", 2019 (one cycle); Loshchilov and Hutter, "SGDR", ICLR 2017, eq. 5.
    """
    if recipe.schedule == "constant":
        return recipe.lr
    if recipe.schedule == "cosine":
        return _glide(recipe.lr, 0.0, step / steps)
    rise = _WARM * steps
    if step < rise:
        return _glide(recipe.lr / 25, recipe.lr, step / rise)
    return _glide(recipe.lr, recipe.lr / 1e4, (step - rise) / max(steps - 1 - rise, 1.0))


def _glide(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine; `done` is the share of the way, 0 to 1."""
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
