"""The gallery: cases a reader wants to see with his own eyes, with what the model thought of them."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medapps.report.folder import Examples, Scores

__all__ = ["Bar", "Card", "Wall", "case_rows", "hang_pictures", "make_card", "picture_uri"]

_SHOWN = 6  # pictures of each kind: one row on a desk, two or three on a phone
_BARS = 4  # classes shown under a picture
_SIDE = 224  # pixels; larger pictures are reduced
_REASONS = (
    ("Wrong, and sure of it", "Mistakes the model was most certain of.", "There is no mistake among the kept cases."),
    ("Least sure", "Cases where no class stood out.", "There are no kept cases."),
    ("Right, and sure of it", "The most certain right answers.", "There is no right answer among the kept cases."),
)


@dataclass(frozen=True)
class Bar:
    """One class under a picture: its probability, and whether it is the true one or the call."""

    name: str
    probability: float
    is_truth: bool
    is_call: bool


@dataclass(frozen=True)
class Card:
    """A picture as a data URI, truth and call, and where the case stands in predictions.csv (None: not known)."""

    image: str
    truth: str
    call: str
    bars: tuple[Bar, ...]
    row: int | None
    is_right: bool


@dataclass(frozen=True)
class Wall:
    """Pictures of one kind, or the sentence that says why there are none."""

    title: str
    reason: str
    cards: tuple[Card, ...]
    empty: str


def hang_pictures(examples: Examples, classes: Sequence[str], scores: Scores | None) -> tuple[Wall, ...]:
    """The three walls. Names of cases may hold names of people, so a case is told by its row in predictions.csv."""
    top, right = examples.probabilities.max(1), examples.probabilities.argmax(1) == examples.labels
    by_certainty = np.argsort(-top, kind="stable")
    picked = (
        [i for i in by_certainty if not right[i]],
        list(by_certainty[::-1]),
        [i for i in by_certainty if right[i]],
    )
    rows = case_rows(scores)
    return tuple(
        Wall(title, reason, tuple(make_card(examples, int(i), classes, rows) for i in chosen[:_SHOWN]), empty)
        for (title, reason, empty), chosen in zip(_REASONS, picked, strict=True)
    )


def case_rows(scores: Scores | None) -> dict[str, int]:
    """The line of each name in predictions.csv (the head is line 1); names that occur twice tell nothing."""
    names = scores.names if scores else ()
    lines = {name: i + 2 for i, name in enumerate(names)}
    return lines if len(lines) == len(names) else {}


def make_card(examples: Examples, i: int, classes: Sequence[str], rows: dict[str, int]) -> Card:
    """Example `i` with its probabilities; `rows` from `case_rows`."""
    p, truth = examples.probabilities[i], int(examples.labels[i])
    call = int(p.argmax())
    shown = sorted({truth, *np.argsort(-p, kind="stable")[: _BARS - 1].tolist()}, key=lambda k: (-p[k], k))
    bars = tuple(Bar(classes[k], float(p[k]), k == truth, k == call) for k in shown)
    name = examples.names[i]
    row = rows.get(name, rows.get(f"'{name}"))
    return Card(picture_uri(examples.images[i]), classes[truth], classes[call], bars, row, call == truth)


def picture_uri(image: NDArray[np.uint8], side: int = _SIDE) -> str:
    """A data URI of a picture (C, H, W), at most `side` pixels wide and high."""
    picture = Image.fromarray(image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0)))
    picture.thumbnail((side, side))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
