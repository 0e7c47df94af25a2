"""Colours of classes: one table for every writer."""

from __future__ import annotations

__all__ = ["colour"]

# Red, green, blue. Okabe and Ito, "Color Universal Design", 2008: they stay apart for most colour-blind readers.
_COLOURS = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def colour(label: int) -> tuple[int, int, int]:
    """Red, green and blue of a label from 1 up; they repeat after seven.

    >>> colour(1)
    (230, 159, 0)
    """
    return _COLOURS[(label - 1) % len(_COLOURS)]
