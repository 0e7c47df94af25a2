"""The result as JSON and as a Markdown page."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write(folder: Path, result: dict[str, Any]) -> list[Path]:
    """Write results.json and index.md into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {"results.json": json.dumps(result, indent=1) + "\n", "index.md": markdown(result)}
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]


def markdown(result: dict[str, Any]) -> str:
    """The page: machine, networks, memory, start-up, agreement, ops."""
    titles = {row["name"]: row["title"] for row in result["networks"]}
    parts = {
        "": _machine(result),
        "Networks": [*_table(result["networks"]), "", *_means(result["networks"])] if result["networks"] else [],
        "Memory": _pairs(
            "Peak memory of a training step over model and data, MiB; PyTorch's in the layout that takes less.",
            {titles.get(name, name): sizes for name, sizes in result["memory"].items()}, "{:.0f}",
        ),
        "Start-up": _pairs("Whole processes, median of several, seconds.", result["startup"], "{:.2f}"),
        "Agreement": _agreement(result["agreement"]),
        "Ops": _table(result["ops"]) if result["ops"] else [],
    }  # fmt: skip
    lines: list[str] = []
    for title, part in parts.items():
        if part:
            lines += [f"## {title}", ""] if title else ["# Benchmarks", ""]
            lines += [*part, ""]
    return "\n".join(lines)


def _machine(result: dict[str, Any]) -> list[str]:
    m = result["machine"]
    return [
        f"Measured {result['date']} on {m['cores']} cores of {m['processor']}, Python {m['python']}, "
        f"NumPy {m['numpy']}, PyTorch {m['torch']} (CPU), Numba {m['numba']}. Printed by `python -m benchmarks`.", "",
        "Ratios are PyTorch's time over ours, in its better layout: above 1, ours is faster. In brackets the lowest "
        "and the highest round. The machine is shared, so read ratios, not milliseconds.",
    ]  # fmt: skip


def _agreement(found: dict[str, dict[str, float]]) -> list[str]:
    if not found:
        return []
    columns = list(dict.fromkeys(key for row in found.values() for key in row))
    rows = [
        f"| {name} | " + " | ".join(f"{row[c]:.1e}" if c in row else "" for c in columns) + " |"
        for name, row in found.items()
    ]
    return [
        "Largest relative differences from the same weights, losses over 20 Adam steps, with PyTorch in float64 as the "
        "judge. The last column is the drift of PyTorch's own float32.", "",
        f"| network | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|", *rows,
    ]  # fmt: skip


def _pairs(words: str, rows: dict[str, dict[str, float]], form: str) -> list[str]:
    """A table of both libraries' figures, and their ratio: ours over PyTorch's."""
    if not rows:
        return []
    lines = [words, "", "| | minidl | PyTorch | ours / PyTorch's |", "|---|---|---|---|"]
    for what, sides in rows.items():
        ours, theirs = sides["minidl"], sides["torch"]
        lines.append(f"| {what} | {form.format(ours)} | {form.format(theirs)} | {ours / theirs:.2f} |")
    return lines


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    others = list(dict.fromkeys(other for r in rows for other in r["others"]))
    columns = ["", "", "threads", "ours, ms", "PyTorch, ms", "layout", "ratio", *(f"{o} / ours" for o in others)]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for r in rows:
        ratios = [f"**{r['ratio']['median']:.2f}** ({r['ratio']['low']:.2f}–{r['ratio']['high']:.2f})"]
        ratios += [f"{r['others'][o]['median']:.2f}" if o in r["others"] else "" for o in others]
        cells = [
            r["title"],
            r["what"],
            r["threads"],
            f"{r['ours_ms']:.3g}",
            f"{r['rival_ms']:.3g}",
            r["rival"],
            *ratios,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _means(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Geometric means over the networks, against each rival."""
    lines = []
    for threads in sorted({r["threads"] for r in rows}):
        for what in dict.fromkeys(r["what"] for r in rows):
            chosen = [r for r in rows if r["threads"] == threads and r["what"] == what]
            means = {"PyTorch": [r["ratio"]["median"] for r in chosen]}
            for row in chosen:
                for other, ratio in row["others"].items():
                    means.setdefault(other, []).append(ratio["median"])
            told = [f"{_mean(found):.2f} against {rival} ({len(found)} networks)" for rival, found in means.items()]
            lines.append(f"- {what}, threads: {threads}: geometric mean {', '.join(told)}")
    return lines


def _mean(ratios: list[float]) -> float:
    return math.exp(sum(map(math.log, ratios)) / len(ratios))
