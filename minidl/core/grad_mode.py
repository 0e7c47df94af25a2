"""Switches for recording, as context managers, as decorators, and as plain calls."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from contextvars import ContextVar
from typing import Any, Self

from minidl.core.tape import is_recording, set_recording

_inference: ContextVar[bool] = ContextVar("inference", default=False)


class _Switch:
    """Sets recording for a block, or for each call of a decorated function or step of a decorated generator."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before.append(is_recording())
        set_recording(self.mode and not _inference.get())
        return self

    def __exit__(self, *error: object) -> None:
        set_recording(self._before.pop())

    def _again(self) -> _Switch:
        """A switch for one call: calls in several threads must not share the memory of what was before."""
        return _Switch(self.mode)

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, run in this mode."""
        if inspect.isgeneratorfunction(function):
            return self._around_steps(function)

        @functools.wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Any:
            with self._again():
                return function(*args, **kwargs)

        return switched

    def _around_steps(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """A generator runs in the mode; whoever takes its values does not."""

        @functools.wraps(function)
        def switched(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            steps, sent = function(*args, **kwargs), None
            while True:
                try:
                    with self._again():
                        value = steps.send(sent)
                except StopIteration as stop:
                    return stop.value
                sent = yield value

        return switched


class set_grad_enabled(_Switch):
    """Record what follows, or leave it off the tape: a plain call, a `with` block or a decorator."""

    def __init__(self, mode: bool) -> None:
        super().__init__(mode)
        self._called_in = is_recording()
        set_recording(mode and not _inference.get())

    def __enter__(self) -> Self:
        super().__enter__()
        self._before[-1] = self._called_in  # the call itself had switched already
        return self

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        set_recording(self._called_in)
        return _Switch(self.mode)(function)


class no_grad(_Switch):
    """Compute without recording: `with no_grad():`, `@no_grad()` or `@no_grad`.

    >>> from minidl import tensor
    >>> x = tensor(1.0, requires_grad=True)
    >>> with no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__(False)


class enable_grad(_Switch):
    """Record again inside a `no_grad` block."""

    def __new__(cls, function: Callable[..., Any] | None = None) -> Any:
        return super().__new__(cls) if function is None else cls()(function)

    def __init__(self, function: Callable[..., Any] | None = None) -> None:
        super().__init__(True)


class inference_mode(_Switch):
    """Compute without recording, and let nobody inside switch recording on again.

    Args:
        mode: False for a block in which steps are recorded after all.
    """

    def __new__(cls, mode: bool | Callable[..., Any] = True) -> Any:
        return cls()(mode) if callable(mode) else super().__new__(cls)

    def __init__(self, mode: bool | Callable[..., Any] = True) -> None:
        super().__init__(not mode)
        self._tokens: list[Any] = []

    def _again(self) -> Self:
        return type(self)(not self.mode)

    def __enter__(self) -> Self:
        self._tokens.append(_inference.set(not self.mode))
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        _inference.reset(self._tokens.pop())


def is_grad_enabled() -> bool:
    """Whether steps are recorded now."""
    return is_recording()


def is_inference_mode_enabled() -> bool:
    """Whether this is inside `inference_mode`."""
    return _inference.get()
