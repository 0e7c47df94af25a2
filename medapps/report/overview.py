"""write_overview: one page about several runs, each with its headline, a few pictures, its price and its own report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medapps import NOTICE
from medapps.errors import InputError
from medapps.files import write_text
from medapps.report import page, segmentation_page
from medapps.report.diagnosis import Look, pick_looks
from medapps.report.figures import THEMES
from medapps.report.folder import Examples, RunFiles, SegmentationFiles, read_run
from medapps.report.gallery import Card, case_rows, make_card
from medapps.report.overlays import COLOURS, Overlay, hang_overlays
from medapps.report.template import render
from medapps.report.words import Shown, duration

__all__ = ["Part", "write_overview"]

_FIGURES = 3  # headline figures of a part


@dataclass(frozen=True)
class Part:
    """A run, and what a reader should know about it before its figures.

    folder: of the run, inside the folder of the overview, judged and with its own report.html.
    title, task: its name, and in a sentence what the model was asked to do.
    cpu_seconds: what it cost in all, from making the data to the report.
    """

    folder: Path
    title: str
    task: str
    cpu_seconds: float


@dataclass(frozen=True)
class Chapter:
    """What the template shows of a part; of the three kinds of pictures one is there."""

    title: str
    task: str
    verdict: str
    classes: tuple[str, ...]
    headline: list[tuple[str, str, Shown]]
    cost: list[tuple[str, str]]
    anchor: str
    link: str
    cards: tuple[Card, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    looks: tuple[Look, ...] = ()


def write_overview(folder: str | Path, parts: Sequence[Part], *, title: str) -> Path:
    """Write report.html into `folder`, about the runs inside it. The same files and costs give the same page.

    Returns:
        Where the page is.

    Raises:
        InputError: if a part is no run inside the folder, was not judged, or one of its files is damaged.
        OutputError: if the page could not be written; an older one is then still there.
    """
    place = Path(folder)
    runs = [read_run(part.folder) for part in parts]
    chapters = [_chapter(place, part, run) for part, run in zip(parts, runs, strict=True)]
    values = {
        "title": title,
        "notice": NOTICE,
        "themes": THEMES,
        "synthetic": any(run.data.get("synthetic") is True for run in runs),
        "chapters": chapters,
        "colours": COLOURS,
        "total": duration(sum(part.cpu_seconds for part in parts)),
    }
    return write_text(place / "report.html", render("overview.html.jinja", values))


def _chapter(place: Path, part: Part, run: RunFiles | SegmentationFiles) -> Chapter:
    if run.evaluation is None:
        raise InputError(f"{part.folder}: was not judged yet; run `medapps evaluate` on it")
    if not part.folder.is_relative_to(place):
        raise InputError(f"{part.folder}: does not lie in {place}, so that a link to it would break; move it there")
    inside = part.folder.relative_to(place).as_posix()
    cost = run.evaluation.cost
    rows = [("CPU time, all in all", duration(part.cpu_seconds))]
    if cost:
        rows += [("time to train, on the clock", duration(cost.seconds)), ("parameters", f"{cost.parameters:,}")]
    shown = _segmented(run) if isinstance(run, SegmentationFiles) else _classified(run)
    return Chapter(title=part.title, task=part.task, cost=rows, anchor=inside, link=f"{inside}/report.html", **shown)


def _segmented(run: SegmentationFiles) -> dict[str, Any]:
    """The middle case, which tells what to expect, and the worst."""
    found = run.evaluation
    assert found is not None
    walls = hang_overlays(run.examples, found) if run.examples else ()
    return {
        "verdict": segmentation_page.verdict(found),
        "classes": found.classes[1:],
        "headline": segmentation_page.headline(found)[:_FIGURES],
        "overlays": tuple(wall.cards[0] for wall in walls),
    }


def _classified(run: RunFiles) -> dict[str, Any]:
    found = run.evaluation
    assert found is not None
    shown: dict[str, Any] = {}
    if run.examples and run.diagnosis:
        chosen = _one_of_each(run.examples, len(found.classes))
        shown["looks"] = pick_looks(run.examples, chosen, run.diagnosis, run.scores)
    elif run.examples:
        rows = case_rows(run.scores)
        chosen = _one_of_each(run.examples, len(found.classes))
        shown["cards"] = tuple(make_card(run.examples, i, found.classes, rows) for i in chosen)
    return {
        "verdict": page.verdict(found, page.unit(run)),
        "classes": found.classes,
        "headline": page.headline(found)[:_FIGURES],
        **shown,
    }


def _one_of_each(examples: Examples, classes: int) -> list[int]:
    """Of each true class the kept example in the middle, by the probability that the model gave that class."""
    chosen = []
    for label in range(classes):
        mine = np.flatnonzero(examples.labels == label)
        order = mine[np.argsort(examples.probabilities[mine, label], kind="stable")]
        chosen += [int(i) for i in order[len(order) // 2 :][:1]]
    return chosen
