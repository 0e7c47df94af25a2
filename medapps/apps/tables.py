"""Tables as text: aligned columns for people, CSV for programs."""

from __future__ import annotations

from collections.abc import Sequence

from medapps.files import csv_text

__all__ = ["columns", "csv_text", "printable"]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as aligned text, two spaces between columns.

    >>> print(columns([["a", "1"], ["long", "2"]]))
    a     1
    long  2
    """
    clean = [[printable(cell) for cell in row] for row in rows]
    widths = [
        max((len(row[i]) for row in clean if i < len(row)), default=0) for i in range(max(map(len, clean), default=0))
    ]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=False)).rstrip() for row in clean)


def printable(text: str) -> str:
    """One line without control characters: what a file calls itself cannot steer the terminal.

    >>> printable("a\\x1b[2Jb\\n c")
    'a?[2Jb? c'
    """
    return "".join(c if c.isprintable() else "?" for c in text)
