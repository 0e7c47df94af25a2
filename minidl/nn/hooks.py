"""Hooks: functions of the user around a module's forward."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from minidl.nn.module import Module


class HookHandle:
    """What registering a hook returns: `remove()` takes the hook away, and so does the end of a `with` block."""

    def __init__(self, functions: dict[int, Callable[..., Any]], number: int) -> None:
        self._functions, self._number = functions, number

    def remove(self) -> None:
        self._functions.pop(self._number, None)

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(self, *error: object) -> None:
        self.remove()


class Hooks:
    """The hooks of one module at one place, in the order in which they were added."""

    def __init__(self) -> None:
        self.functions: dict[int, Callable[..., Any]] = {}
        self._numbers = itertools.count()

    def add(self, function: Callable[..., Any]) -> HookHandle:
        number = next(self._numbers)
        self.functions[number] = function
        return HookHandle(self.functions, number)

    def before(self, module: Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, as the hooks leave them."""
        for function in tuple(self.functions.values()):
            changed = function(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
        return args

    def after(self, module: Module, args: tuple[Any, ...], result: Any) -> Any:
        """The result, as the hooks leave it."""
        for function in tuple(self.functions.values()):
            changed = function(module, args, result)
            result = result if changed is None else changed
        return result
