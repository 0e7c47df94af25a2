"""Tables as text: aligned columns for people, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

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


def csv_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A CSV table. A cell that a spreadsheet would run as a formula gets an apostrophe in front."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell for cell in row] for row in rows)
    return buffer.getvalue()


def printable(text: str) -> str:
    """One line without control characters: what a file calls itself cannot steer the terminal.

    >>> printable("a\\x1b[2Jb\\n c")
    'a?[2Jb? c'
    """
    return "".join(c if c.isprintable() else "?" for c in text)
