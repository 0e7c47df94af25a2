"""Settings of the process that decide how calls run: whoever remembers what followed from them forgets it here."""

from __future__ import annotations

from collections.abc import Callable

_forget: list[Callable[[], object]] = []


def on_change(forget: Callable[[], object]) -> None:
    """Call `forget()` whenever a setting has changed."""
    _forget.append(forget)


def changed() -> None:
    """Tell that a setting has changed."""
    for forget in _forget:
        forget()
