"""Figures of a diagnosis: the operating point, calibration before and after, coverage against accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medapps.inference import Decision
from medapps.metrics import Predictions, coverage_curve, reliability, roc_curve
from medapps.report.figures import Curve, Figure, Theme, corners, draw_figure

__all__ = ["draw_operating_point", "draw_referral", "draw_two_reliabilities"]

_CHANCE = (0, (2, 2))


def draw_operating_point(p: Predictions, decision: Decision, classes: Sequence[str]) -> Figure | None:
    """The ROC curve of disease against healthy, with the threshold in use; None if all cases are of one kind."""
    assert decision.healthy is not None
    assert decision.threshold is not None
    scores, ill = decision.diseased(p.probabilities, classes), p.labels != list(classes).index(decision.healthy)
    if ill.all() or not ill.any():
        return None
    called = scores >= decision.threshold
    at = called[~ill].mean(), called[ill].mean()

    def plot(axes: Axes, theme: Theme) -> None:
        axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle=_CHANCE)
        axes.plot(*corners(*roc_curve(scores, ill)), color=theme.series[0])
        axes.plot(*at, "o", color=theme.series[1], markersize=7)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")

    caption = (
        "Each point of the curve is a threshold; the orange dot is the one in use, chosen on the validation split."
    )
    return draw_figure(plot, "ROC curve of disease against healthy", caption, shape="square")


def draw_two_reliabilities(before: NDArray[np.float64], after: Predictions) -> Figure:
    """How often the calls are right at each level of confidence, without and with the temperature."""
    pair = [reliability(q, after.labels) for q in (after.probabilities, before)]

    def plot(axes: Axes, theme: Theme) -> None:
        low = min(0.5, *(min(b.confidence, b.accuracy) for bins in pair for b in bins)) - 0.02
        axes.plot([low, 1], [low, 1], color=theme.muted, linewidth=1, linestyle=_CHANCE)
        for i, bins in enumerate(pair):
            x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
            axes.plot(x, y, "os"[i] + "-", color=theme.series[i], markersize=4.5, linewidth=1.3, alpha=(1, 0.8)[i])
        axes.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="confidence", ylabel="share of right calls", aspect="equal")

    curves = (Curve("with the temperature", 0), Curve("without", 1))
    caption = (
        "Each mark is a fifteenth of the patients. On the dashed line confidence equals accuracy; below it the model "
        "is too sure of itself."
    )
    return draw_figure(plot, "Reliability before and after the temperature", caption, curves, "square")


def draw_referral(p: Predictions, decision: Decision) -> Figure:
    """Accuracy among the patients who are kept, against the share that is kept."""
    _, coverage, right = coverage_curve(p)
    kept = p.probabilities.max(1) > decision.refer_below

    def plot(axes: Axes, theme: Theme) -> None:
        axes.plot(coverage, right, color=theme.series[0])
        if kept.any():
            axes.plot(kept.mean(), (p.predicted == p.labels)[kept].mean(), "o", color=theme.series[1], markersize=7)
        shown = right[coverage * p.n >= min(10, p.n)]
        low = max(0.0, float(shown.min()) - 0.05)
        axes.set(xlim=(0, 1.02), ylim=(low, 1.01), xlabel="coverage: share not referred", ylabel="accuracy among them")

    caption = (
        "From the right to the left the least certain patients are referred first. The orange dot is the confidence in "
        "use. At the far left few patients are left, and the curve is chance."
    )
    return draw_figure(plot, "Accuracy against coverage", caption)
