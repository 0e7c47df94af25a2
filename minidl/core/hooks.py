"""Hooks: functions of the user that are called at one place, in order, until they are removed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any


class RemovableHandle:
    """What registering a hook returns: `remove()` takes the hook away, and so does the end of a `with` block."""

    def __init__(self, hooks: dict[int, Any], number: int) -> None:
        self._hooks, self.id = hooks, number

    def remove(self) -> None:
        self._hooks.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one place, in the order in which they were added."""

    def __init__(self) -> None:
        self._functions: dict[int, Any] = {}
        self._numbers = itertools.count()

    def add(self, function: Any, prepend: bool = False) -> RemovableHandle:
        """Call `function` after the others; before them if `prepend`."""
        number = next(self._numbers)
        later = dict(self._functions) if prepend else {}
        if prepend:
            self._functions.clear()
        self._functions[number] = function
        self._functions.update(later)
        return RemovableHandle(self._functions, number)

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(self._functions.values()))

    def __len__(self) -> int:
        return len(self._functions)
