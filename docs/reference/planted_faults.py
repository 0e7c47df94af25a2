"""Write the page of planted faults from the gallery in the tests. `python -m docs.reference.planted_faults`."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent / "planted-faults.md"
_HEAD = """# Planted faults

A check that cannot fail proves nothing. Here are {count} ways to be wrong, each a few lines that look right, each with
its lesson in one sentence and the check of [`minidl.testing`](minidl.md) that finds it. Our checks find all of them,
and nothing in what is right: a test holds both. `python -m tests.minidl.gallery` tries every check on every fault and
prints who finds what. Made by `python -m docs.reference.planted_faults`.

What people get wrong is one thing. To know that no op is left unwatched, the same command also makes faults by machine:
each gradient that an op gives an input is made 0.1 % too long, turned round, forgotten and shifted, more than 600
changes, and the last number of each result of each compiled kernel is changed. The table of op tests finds every one.

The line above a function says what it should be and the shapes on which it is tried. Do you see what is wrong before
you read the sentence below it?

| check | asks | named below |
| --- | --- | --- |
"""
_ASKS = {
    "values": "does float64 equal NumPy's result to 1e-12?",
    "float32": "does float32 stay float32, and agree with float64 to PyTorch's bounds?",
    "special values": "what do NaN, infinities, zeros of both signs, the smallest and the largest numbers give?",
    "purity": "are the inputs, the gradient that comes in, and what was saved as they were?",
    "memory": "does it matter whether fresh memory holds NaN, zeros or ones?",
    "layouts": "does it matter how the same numbers lie: transposed, channels last, reversed, spread, expanded?",
    "size 0": "does an empty batch give an empty result, or an error that says what is needed?",
    "whole numbers": "do all kernels give the same bits where there is nothing to round?",
    "threads": "are the bits the same on 1, 2, 3, 7 and 16 threads?",
    "saved values": "is a change in place between forward and backward noticed?",
    "gradient": "does backward agree with differences along random directions?",
    "jacobian": "does it agree for each result by each input?",
    "second order": "does the gradient of the gradient, element by element?",
    "forward mode": "are u · (J v) and (uᵀ J) · v one number?",
}


def page() -> str:
    """The page as Markdown."""
    from tests.minidl.gallery import FAULTS

    named = Counter(fault.found_by for fault in FAULTS)
    lines = [_HEAD.format(count=len(FAULTS)).rstrip()]
    lines += [f"| {check} | {asks} | {named[check] or ''} |" for check, asks in _ASKS.items()]
    for chapter, faults in groupby(FAULTS, lambda fault: inspect.getmodule(fault.code)):
        title, _, text = inspect.getdoc(chapter).partition("\n\n")  # type: ignore[arg-type, union-attr]
        lines += ["", f"## {title.rstrip('.')}", "", text]
        for fault in faults:
            lines += _entry(fault)
    return "\n".join(lines) + "\n"


def _entry(fault: Any) -> Iterator[str]:
    yield from ("", f"### {fault.name.replace('_', ' ').capitalize()}", "", "```py", fault.source, "```", "")
    yield f"{fault.lesson} *Found by: {fault.found_by}.*"


def main() -> None:
    """Write the page beside this file."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
