"""The learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medapps.recipe import Recipe

__all__ = ["learning_rate"]

_WARM = 0.25  # share of the steps in which one_cycle rises
