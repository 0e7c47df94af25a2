"""Hooks of an optimizer: functions of the user around its steps, and around giving and taking its state."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from minidl.core.hooks import Hooks, RemovableHandle
from minidl.errors import ArgumentError

__all__ = ["HookedOptimizer"]

Hook = Callable[..., Any]


class HookedOptimizer:
    """The side of an optimizer that has to do with hooks; whatever a subclass calls `step` runs them."""

    _hooks: defaultdict[str, Hooks] | None = None  # by place; made with the first one

    def __init_subclass__(cls) -> None:
        if "step" in vars(cls):
            cls.step = _with_hooks(vars(cls)["step"])  # type: ignore[attr-defined]

    def _add(self, place: str, hook: Hook, prepend: bool = False) -> RemovableHandle:
        if self._hooks is None:
            self._hooks = defaultdict(Hooks)
        return self._hooks[place].add(hook, prepend)

    def _hooks_at(self, place: str) -> Hooks | tuple[()]:
        return () if self._hooks is None else self._hooks[place]

    def _through_hooks(self, place: str, value: Any) -> Any:
        """`value` as the hooks of a place leave it: each gives another one, or None."""
        for hook in self._hooks_at(place):
            changed = hook(self, value)
            value = value if changed is None else changed
        return value

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it gives None, or other (args, kwargs)."""
        return self._add("before step", hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return self._add("after step", hook)

    def register_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before `state_dict` looks at anything; `prepend`: before the hooks that are there."""
        return self._add("before state_dict", hook, prepend)

    def register_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` after `state_dict`; what it returns, unless None, is given."""
        return self._add("after state_dict", hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before a state is loaded; what it returns, unless None, is loaded."""
        return self._add("before load_state_dict", hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after a state was loaded."""
        return self._add("after load_state_dict", hook, prepend)


def _with_hooks(step: Hook) -> Hook:
    @functools.wraps(step)
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._hooks is None or type(self).step is not run:  # a subclass calls it in its own, which has run them
            return step(self, *args, **kwargs)
        for hook in self._hooks_at("before step"):
            changed = hook(self, args, kwargs)
            if changed is not None:
                args, kwargs = _pair(self, changed)
        result = step(self, *args, **kwargs)
        for hook in self._hooks_at("after step"):
            hook(self, args, kwargs)
        return result

    return run


def _pair(optimizer: Any, changed: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not (isinstance(changed, tuple) and len(changed) == 2):
        raise ArgumentError(f"{type(optimizer).__name__}: a hook before a step must return None or (args, kwargs), got "
                            f"{changed!r}")  # fmt: skip
    return changed
