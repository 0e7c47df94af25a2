"""Switches for recording, as context managers and as decorators."""

from __future__ import annotations

from contextlib import AbstractContextManager, ContextDecorator
from types import TracebackType

from minidl.core.tape import is_recording, recording


class set_grad_enabled(ContextDecorator):
    """Record the steps of a block, or of a decorated function, or leave them off the tape."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._blocks: list[AbstractContextManager[None]] = []

    def __enter__(self) -> None:
        self._blocks.append(recording(self.mode))
        self._blocks[-1].__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._blocks.pop().__exit__(kind, error, trace)


class no_grad(set_grad_enabled):
    """Compute without recording: `with no_grad():` or `@no_grad()`."""

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Record again inside a `no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether steps are recorded now."""
    return is_recording()
