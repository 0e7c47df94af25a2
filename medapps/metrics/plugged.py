"""Figures of plug-ins: any function of probabilities and labels, with the bootstrap's interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.metrics.bootstrap import DEFAULT, Resampling, estimate_from_draws
from medapps.metrics.estimate import Estimate, not_defined
from medapps.metrics.predictions import Predictions
from medapps.plugins import WAY_OUT, find_plugin

__all__ = ["OWN_FIGURES", "Figure", "figure_estimate", "named_figures"]

# (probabilities (N, K), labels (N,)) to one number; ValueError or NaN where the cases define none.
Figure: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.int64]], float]

# What `evaluate_classifier` always measures.
OWN_FIGURES = (
    "auc", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "brier", "calibration_error",
)  # fmt: skip


def named_figures(names: Sequence[str]) -> dict[str, Figure]:
    """The functions behind the names in `Recipe.metrics`; those that are always measured are left out.

    Raises:
        InputError: for a name that no installed plug-in brings.
    """
    return {name: _figure(name) for name in names if name not in OWN_FIGURES}


def _figure(name: str) -> Figure:
    plugin = find_plugin("metric", name)
    if plugin is None:
        raise InputError(f"metric: {name!r} is not known; always measured are {', '.join(OWN_FIGURES)}; {WAY_OUT}")
    function = plugin.load()
    if not callable(function):
        raise plugin.refused("must be a function of probabilities and labels")
    return cast(Figure, function)


def figure_estimate(name: str, figure: Figure, p: Predictions, resampling: Resampling = DEFAULT) -> Estimate:
    """The figure of `p`, and the percentile interval over draws of whole groups.

    A draw for which the figure is not defined counts as missing. An error of a plug-in makes its own figure undefined,
    with the reason, and leaves the others alone.
    """
    try:
        value = float(figure(p.probabilities, p.labels))
        draws = np.array([_drawn(figure, p, w) for rows in resampling.group_weights(p.group_count) for w in rows])
    except Exception as error:  # the code is not ours
        return not_defined(f"{name} failed: {type(error).__name__}: {error}", n=p.n)
    if not math.isfinite(value):
        return not_defined(f"{name} gives no number for these cases", n=p.n)
    return estimate_from_draws(value, draws, p.n, resampling.name(p))


def _drawn(figure: Figure, p: Predictions, weights: NDArray[np.float64]) -> float:
    """The figure of the cases whose groups were drawn, each as often as drawn."""
    rows = np.repeat(np.arange(p.n), weights[p.group_index].astype(np.int64))
    try:
        return float(figure(p.probabilities[rows], p.labels[rows]))
    except ValueError:  # a class that was not drawn
        return math.nan
