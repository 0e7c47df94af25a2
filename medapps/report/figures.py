"""Figures of the report: drawn by matplotlib as SVG, once for light and once for dark pages.

They hold no word from the data: names stand in the page beside them, where they are escaped and can be read aloud.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from medapps.metrics import reliability, roc_curve
from medapps.report.folder import Scores

__all__ = [
    "COLOURS", "THEMES", "Curve", "Figure", "Theme", "corners", "draw_curves", "draw_figure", "draw_history",
    "draw_reliability", "draw_roc",
]  # fmt: skip

COLOURS = 8  # series beyond that repeat the colours with dashes
Line = NDArray[np.float64]
_DASHES = ("-", "--", ":")


@dataclass(frozen=True)
class Theme:
    """Colours of one kind of page; the same ones are variables in its style sheet."""

    ink: str
    muted: str
    grid: str
    series: tuple[str, ...]


THEMES = {
    "light": Theme(
        "#1c2733",
        "#5b6775",
        "#dfe4ea",
        ("#1d5fd1", "#d1490c", "#0b8562", "#8a3ffc", "#b8255f", "#7d6608", "#0b7f9e", "#5d6b7c"),
    ),
    "dark": Theme(
        "#e6ebf2",
        "#9aa7b6",
        "#2c3847",
        ("#74a8ff", "#ff9d66", "#45cfa0", "#c49bff", "#ff8cb4", "#dcc04c", "#57cbe4", "#a6b3c4"),
    ),
}

# Text as outlines: the same on every machine. A fixed salt: the same names of parts, so the same bytes.
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",
    "svg.hashsalt": "medapps",
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.9,
    "lines.solid_capstyle": "round",
}
# Inches: 9-point text is still readable when the picture fills a phone.
_SIZES = {"wide": (4.5, 3.1), "square": (3.6, 3.4)}


@dataclass(frozen=True)
class Curve:
    """A line of a figure, for the legend beside it."""

    name: str
    index: int

    @property
    def style(self) -> str:
        """Classes of the legend's mark in the style sheet."""
        return f"c{self.index % COLOURS} d{self.index // COLOURS % len(_DASHES)}"


@dataclass(frozen=True)
class Figure:
    """A picture as data URIs, what it shows in words, its legend, and its shape: wide or square."""

    light: str
    dark: str
    alt: str
    caption: str
    curves: tuple[Curve, ...] = ()
    shape: str = "wide"


def draw_curves(history: Sequence[Mapping[str, float]], names: Mapping[str, str], best: int | None) -> list[Figure]:
    """The losses, and the validation figures in `names` (key in the history -> words), as far as they were recorded."""
    mark = " Dashed: the epoch that was kept." if best else ""
    losses = {"train_loss": "training", "val_loss": "validation"}
    found = (
        draw_history(history, losses, best, "Loss in each epoch", f"Loss.{mark}"),
        draw_history(history, names, best, "Validation figures in each epoch", f"On the validation split.{mark}"),
    )
    return [figure for figure in found if figure]


def draw_history(
    history: Sequence[Mapping[str, float]], names: Mapping[str, str], best: int | None, alt: str, caption: str
) -> Figure | None:
    """Figures of each epoch as lines; None if none of `names` (key in the history -> words) was recorded."""
    found = [key for key in names if sum(math.isfinite(row.get(key, math.nan)) for row in history) > 0]
    if not found:
        return None
    epochs = [row.get("epoch", i + 1) for i, row in enumerate(history)]

    def plot(axes: Axes, theme: Theme) -> None:
        for i, key in enumerate(found):
            values = [row.get(key, math.nan) for row in history]
            marker = "o" if len(history) < 3 else None
            axes.plot(epochs, values, color=theme.series[i], marker=marker)
        if best is not None:
            axes.axvline(best, color=theme.muted, linewidth=1.2, linestyle=(0, (2, 2)))
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    return draw_figure(plot, alt, caption, tuple(Curve(names[key], i) for i, key in enumerate(found)))


def draw_roc(scores: Scores, classes: Sequence[str], areas: Sequence[str]) -> Figure | None:
    """ROC curves, each class against the rest, or of the second of two; None if no class can be told from the rest."""
    wanted = [1] if len(classes) == 2 else range(len(classes))
    ks = [k for k in wanted if 0 < (scores.labels == k).sum() < len(scores.labels)]
    if not ks:
        return None
    called = scores.probabilities.argmax(1)

    def plot(axes: Axes, theme: Theme) -> None:
        axes.plot([0, 1], [0, 1], color=theme.muted, linewidth=1, linestyle=(0, (2, 2)))
        for i, k in enumerate(ks):
            positive = scores.labels == k
            colour = theme.series[i % COLOURS]
            false, true = corners(*roc_curve(scores.probabilities[:, k], positive))
            axes.plot(false, true, color=colour, linestyle=_DASHES[i // COLOURS % len(_DASHES)])
            at = (called[~positive] == k).mean(), (called[positive] == k).mean()
            axes.plot(*at, "o", color=colour, markersize=6)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")

    curves = tuple(Curve(f"{classes[k]}: AUC {areas[k]}", i) for i, k in enumerate(ks))
    caption = "Each point of a curve is a threshold on one class; a dot is the call in use, the most probable class."
    return draw_figure(plot, "ROC curves: sensitivity against 1 - specificity", caption, curves, "square")


def draw_reliability(scores: Scores) -> Figure:
    """How often the model was right at each level of its own confidence."""
    bins = reliability(scores.probabilities, scores.labels)
    x, y = np.array([b.confidence for b in bins]), np.array([b.accuracy for b in bins])

    def plot(axes: Axes, theme: Theme) -> None:
        low = min(0.5, float(x.min()), float(y.min())) - 0.02
        axes.plot([low, 1], [low, 1], color=theme.muted, linewidth=1, linestyle=(0, (2, 2)))
        axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=theme.series[1], linewidth=2.2, alpha=0.6)
        axes.plot(x, y, "o-", color=theme.series[0], markersize=4.5, linewidth=1.3)
        axes.set(
            xlim=(low, 1.02), ylim=(low, 1.02), xlabel="confidence", ylabel="share of right answers", aspect="equal"
        )

    caption = (
        "Each dot is a fifteenth of the cases. On the dashed line confidence equals accuracy; below it the model is "
        "too sure of itself. Orange: the gap."
    )
    return draw_figure(plot, "Reliability diagram: share of right answers against confidence", caption, shape="square")


def draw_figure(
    plot: Callable[[Axes, Theme], None], alt: str, caption: str, curves: tuple[Curve, ...] = (), shape: str = "wide"
) -> Figure:
    """What `plot` draws, in the colours of light and of dark pages."""
    light, dark = (_svg(plot, THEMES[name], _SIZES[shape]) for name in ("light", "dark"))
    return Figure(light, dark, alt, caption, curves, shape)


def _svg(plot: Callable[[Axes, Theme], None], theme: Theme, size: tuple[float, float]) -> str:
    with matplotlib.rc_context({**_STYLE, **_colours(theme)}):
        canvas = Canvas(figsize=size, layout="constrained")
        plot(canvas.add_subplot(), theme)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    content = buffer.getvalue()
    image = content[content.index(b"<svg") :]  # without the prologue, which names a DTD on the web
    return "data:image/svg+xml;base64," + base64.b64encode(image).decode()


def _colours(theme: Theme) -> dict[Any, Any]:
    return {
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.muted,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "grid.color": theme.grid,
    }


def corners(x: Line, y: Line) -> tuple[Line, Line]:
    """The points where a curve turns; the others lie on straight lines between them."""
    turns = (np.diff(x, 2) != 0) | (np.diff(y, 2) != 0)
    keep = np.concatenate([[True], turns, [True]])
    return x[keep], y[keep]
