"""What every page says, whatever the task, in words: an estimate, the cost, the recipe and the proof."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medapps import NOTICE
from medapps.evaluate import Cost
from medapps.metrics import Estimate
from medapps.report.figures import THEMES
from medapps.report.folder import RunFolder

__all__ = ["Shown", "as_table", "best_epoch", "count", "duration", "frame", "show"]

_SHA = 64  # characters of a SHA-256


@dataclass(frozen=True)
class Shown:
    """An estimate as text: "0.944", "0.921 to 0.962", and where its interval lies from 0 to 100 %."""

    value: str
    interval: str
    n: str
    method: str
    left: float
    width: float
    at: float
    has_interval: bool
    has_bar: bool


def frame(run: RunFolder, title: str | None, cost: Cost | None) -> dict[str, Any]:
    """What base.html.jinja shows of every run, but its limits and curves."""
    name = str(run.data.get("name") or "Run")
    return {
        "title": title or name,
        "data_name": name,
        "notice": NOTICE,
        "synthetic": run.data.get("synthetic") is True,
        "themes": THEMES,
        "best": best_epoch(run),
        "cost": _cost(cost) if cost else [],
        "recipe": [(key.replace("_", " "), _words(value)) for key, value in run.recipe.items()],
        "proof": _proof(run),
    }


def show(estimate: Estimate, *, digits: int = 3, unit: str = "", signed: bool = False) -> Shown:
    """An estimate as the template wants it; a figure with a unit or a sign has no bar, which runs from 0 to 1."""
    known, has_interval = estimate.is_defined, estimate.has_interval
    low, high = (min(max(v, 0.0), 1.0) for v in (estimate.low, estimate.high)) if has_interval else (0.0, 0.0)
    value, first, last = (
        f"{v:{'+' if signed else ''}.{digits}f}" for v in (estimate.value, estimate.low, estimate.high)
    )
    return Shown(
        value=f"{value} {unit}".strip() if known else "not defined",
        interval=f"{first} to {last}" if has_interval else ("" if known else estimate.method),
        n=f"{estimate.n:,}",
        method=estimate.method,
        left=100 * low,
        width=100 * (high - low),
        at=100 * min(max(estimate.value, 0.0), 1.0) if known else 0.0,
        has_interval=has_interval,
        has_bar=has_interval and estimate.value <= 1 and not unit and not signed,
    )


def best_epoch(run: RunFolder) -> int | None:
    """The epoch that was kept, as the model file tells."""
    epoch = as_table(run.card.get("validation")).get("epoch")
    return int(epoch) if isinstance(epoch, int | float) and math.isfinite(epoch) else None


def as_table(value: Any) -> Mapping[str, Any]:
    """`value` if it is a table, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def count(value: Any) -> str:
    """A whole number with commas; a dash for anything else."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "-"


def _cost(cost: Cost) -> list[tuple[str, str]]:
    return [
        ("time to train", duration(cost.seconds)),
        (
            "images predicted per second",
            f"{cost.images_per_second:,.0f} " if math.isfinite(cost.images_per_second) else "not known",
        ),
        ("peak memory", f"{cost.peak_memory_mb:,.0f} MB" if math.isfinite(cost.peak_memory_mb) else "not known"),
        ("parameters", f"{cost.parameters:,}"),
        ("model file", f"{cost.model_bytes / 1e6:,.2f} MB"),
        ("threads", f"{cost.threads}"),
    ]


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(192.4)
    '3 min 12 s'
    """
    if not math.isfinite(seconds):
        return "not known"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def _proof(run: RunFolder) -> list[tuple[str, str]]:
    """What is needed to get the same figures again, and to see that these files are the ones."""
    rows = [("seed", _words(run.recipe["seed"]))] if "seed" in run.recipe else []
    if best := best_epoch(run):
        rows.append(("epoch kept", f"{best} of {len(run.history) or '?'}"))
    rows += [(f"{name} version", _words(version)) for name, version in run.versions.items()]
    if digest := run.data.get("digest"):
        rows.append(("data, SHA-256", str(digest)[:_SHA]))
    return rows + [(f"{name}, SHA-256", digest) for name, digest in run.digests.items()]


def _words(value: Any) -> str:
    """A recipe's value as people write it.

    >>> _words([{"name": "rotate", "degrees": 10.0}, {"name": "flip"}])
    'rotate (degrees 10.0), flip'
    """
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key} {_words(v)}" for key, v in value.items() if key != "name")
        head = str(value.get("name", ""))
        return f"{head} ({rest})" if head and rest else head or rest
    if isinstance(value, list | tuple):
        return ", ".join(_words(v) for v in value) or "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not set"}[value]
    return value if isinstance(value, str) else json.dumps(value, default=str)
