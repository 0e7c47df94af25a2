"""What a search over recipes tries, and for how long: random draws, and halvings that keep the better share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from medapps.recipe import Recipe
from medapps.transforms import transform_from_dict

__all__ = ["Rung", "drawn_recipe", "halvings"]

Rung = tuple[int, int]  # how many trials are on it, and how many epochs each of them has at its end

_RATE = (0.1, 3.0)  # times the recipe's learning rate
_WIDTH = (0.5, 2.0)  # times the recipe's widths
_STRENGTH = (0.5, 2.0)  # times the arguments of augmentations
_DECAY = (1e-3, 0.3)
_DROPOUT = (0.0, 0.5)
_KEPT = 0.8  # chance of each augmentation to stay
_MOST_STAGES = 5  # a picture is halved by each stage but one
_WIDTHS_ARE_MULTIPLES_OF = 4


def halvings(trials: int, epochs: int, eta: int) -> tuple[Rung, ...]:
    """The rungs of successive halving: on each one the best 1 / eta of the trials go on, for eta times as long.

    The last rung has all the epochs; the first one at least one epoch, so that few epochs mean few rungs.

    Source: Jamieson and Talwalkar, "Non-stochastic best arm identification", AISTATS 2016; the rungs are a bracket of
    Li et al., "Hyperband", JMLR 18 (2018), algorithm 1.

    >>> halvings(9, 9, 3)
    ((9, 1), (3, 3), (1, 9))
    >>> halvings(9, 4, 3)
    ((9, 1), (3, 4))
    """
    cuts = 0
    while eta ** (cuts + 1) <= min(trials, epochs):
        cuts += 1
    return tuple((trials // eta**k, epochs // eta ** (cuts - k)) for k in range(cuts + 1))


def drawn_recipe(base: Recipe, seed: int, number: int) -> Recipe:
    """The recipe of trial `number`; it depends on (base, seed, number) alone. Trial 0 is the base itself.

    lr, weight_decay and the scale of the widths are even on a log scale, dropout is even; a stage is taken off, added
    or neither; each augmentation stays with a chance of 0.8, and one factor scales the strength of all. The recipe's
    seed and epochs stay.

    >>> drawn_recipe(Recipe(), 0, 7) == drawn_recipe(Recipe(), 0, 7)
    True
    """
    if number == 0:
        return base
    rng = np.random.default_rng([seed, number])
    lr, decay = base.lr * _log_even(rng, _RATE), _log_even(rng, _DECAY)
    dropout = round(float(rng.uniform(*_DROPOUT)), 4)
    scale, stages = _log_even(rng, _WIDTH), len(base.widths) + int(rng.integers(-1, 2))
    kept, strength = rng.random(len(base.augment)) < _KEPT, _log_even(rng, _STRENGTH)
    stages = min(max(stages, 1), max(_MOST_STAGES, len(base.widths)))
    augment = [_stronger(step, strength) for step, stays in zip(base.augment, kept, strict=True) if stays]
    return replace(
        base,
        lr=_short(lr),
        weight_decay=_short(decay),
        dropout=dropout,
        widths=_widths(base.widths, scale, stages),
        options={name: _per_stage(value, len(base.widths), stages) for name, value in base.options.items()},
        augment=tuple(augment),
    )


def _log_even(rng: np.random.Generator, ends: tuple[float, float]) -> float:
    return float(np.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]))))


def _short(value: float) -> float:
    """Three digits, for people."""
    return float(f"{value:.3g}")


def _widths(widths: tuple[int, ...], scale: float, stages: int) -> tuple[int, ...]:
    """Widths of `stages` stages; a new one grows as the last two did."""
    growth = widths[-1] / widths[-2] if len(widths) > 1 else 1.0
    longer = [*widths, *(widths[-1] * growth ** (i + 1) for i in range(stages - len(widths)))]
    step = _WIDTHS_ARE_MULTIPLES_OF
    return tuple(max(step, round(width * scale / step) * step) for width in longer[:stages])


def _per_stage(value: Any, before: int, stages: int) -> Any:
    """An option that lists something for each stage, as ReSeg's patches do, gets as many entries as stages."""
    if not isinstance(value, list | tuple) or len(value) != before:
        return value
    return [*value, *([value[-1]] * (stages - before))][:stages]


def _stronger(step: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """An augmentation with each number but a probability scaled; a count of pixels stays at least one."""
    full = transform_from_dict(step).to_dict()
    return {name: value if name == "p" else _scaled(value, factor) for name, value in full.items()}


def _scaled(value: Any, factor: float) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if isinstance(value, float):
        return _short(value * factor)
    return max(1, round(value * factor)) if value else 0
