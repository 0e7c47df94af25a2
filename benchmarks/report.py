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
    """The page: machine, agreement, networks, start-up, ops."""
    m = result["machine"]
    lines = [
        "# Benchmarks", "",
        f"Measured {result['date']} on {m['cores']} cores of {m['processor']}, Python {m['python']}, "
        f"NumPy {m['numpy']}, PyTorch {m['torch']} (CPU), Numba {m['numba']}. Printed by `python -m benchmarks`.", "",
        "Ratios are PyTorch's time over ours, in its better layout: above 1, ours is faster. In brackets the lowest "
        "and the highest round. The machine is shared, so read ratios, not milliseconds.", "",
    ]  # fmt: skip
    if result["networks"]:
        lines += ["## Networks", "", *_table(result["networks"]), "", *_means(result["networks"]), ""]
    if result["agreement"]:
        columns = list(dict.fromkeys(key for found in result["agreement"].values() for key in found))
        lines += ["## Agreement", "", "Largest relative differences from the same weights, losses over 20 Adam steps, "]
        lines[-1] += "with PyTorch in float64 as the judge. The last column is the drift of PyTorch's own float32."
        lines += ["", f"| network | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for name, found in result["agreement"].items():
            lines.append(f"| {name} | " + " | ".join(f"{found[c]:.1e}" if c in found else "" for c in columns) + " |")
        lines.append("")
    if result["startup"]:
        lines += [
            "## Start-up",
            "",
            "Whole processes, median of several, seconds.",
            "",
            "| | minidl | PyTorch |",
            "|---|---|---|",
        ]
        lines += [f"| {what} | {s['minidl']:.2f} | {s['torch']:.2f} |" for what, s in result["startup"].items()]
        lines.append("")
    if result["ops"]:
        lines += ["## Ops", "", *_table(result["ops"]), ""]
    return "\n".join(lines)


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = ["| | | threads | ours, ms | PyTorch, ms | layout | ratio |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        ratio = f"**{r['ratio']:.2f}** ({r['ratio_low']:.2f}–{r['ratio_high']:.2f})"
        times = f"{r['ours_ms']:.3g} | {r['rival_ms']:.3g}"
        lines.append(f"| {r['title']} | {r['what']} | {r['threads']} | {times} | {r['rival_layout']} | {ratio} |")
    return lines


def _means(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Geometric means over the networks."""
    lines = []
    for threads in sorted({r["threads"] for r in rows}):
        for what in dict.fromkeys(r["what"] for r in rows):
            ratios = [r["ratio"] for r in rows if r["threads"] == threads and r["what"] == what]
            mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
            lines.append(f"- {what}, threads: {threads}: geometric mean {mean:.2f} over {len(ratios)} networks")
    return lines
