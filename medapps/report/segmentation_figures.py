"""Figures of a segmentation: how its cases are spread, since a mean alone hides the bad ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from medapps.report.figures import COLOURS, Curve, Figure, Theme, draw_figure

__all__ = ["draw_spread"]

_GOLDEN = 0.6180339887498949  # its multiples fill a strip evenly, in any number
_CAPTION = "A dot is a case; the bar spans the middle half of them, and the line in it is the median."


def draw_spread(
    values: Sequence[NDArray[np.float64]], names: Sequence[str], label: str, alt: str, note: str = "", most: float = 0.0
) -> Figure | None:
    """One strip of cases for each class, the first on top; None if no case has a value.

    Args:
        values: for each class the figures of its cases, NaN where there is none.
        label: of the axis, with the unit.
        most: the end of the axis; beyond the largest value when 0.
    """
    known = [v[np.isfinite(v)] for v in values]
    if not any(len(v) for v in known):
        return None
    end = most or max(float(v.max()) for v in known if len(v)) or 1.0

    def plot(axes: Axes, theme: Theme) -> None:
        for i, v in enumerate(known):
            if not len(v):
                continue
            colour, row = theme.series[i % COLOURS], len(known) - 1 - i
            scatter = (np.arange(len(v)) * _GOLDEN % 1 - 0.5) * 0.5
            axes.plot(v, row + scatter, "o", color=colour, markersize=3.2, alpha=0.6, markeredgewidth=0)
            low, middle, high = np.percentile(v, [25, 50, 75])
            axes.barh(row, high - low, left=low, height=0.62, color=colour, alpha=0.22)
            axes.plot([middle, middle], [row - 0.31, row + 0.31], color=theme.ink, linewidth=1.8)
        axes.set(xlabel=label, yticks=[], ylim=(-0.6, len(known) - 0.4))
        axes.set_xlim(-0.02 * end, 1.02 * end)
        axes.spines["left"].set_visible(False)

    curves = tuple(Curve(name, i) for i, name in enumerate(names))
    return draw_figure(plot, alt, f"{_CAPTION} {note}".strip(), curves)
