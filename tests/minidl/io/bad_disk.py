"""A disk that fails, fills up or dies: stands in for the functions of `os` that touch a folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CALLS = ("open", "write", "fsync", "close", "replace", "unlink", "mkdir", "listdir", "stat")


class Died(BaseException):
    """Raised from the moment of death on, so that nothing else is done: what `kill -9` leaves."""


class BadDisk:
    """Counts the calls that touch `folder`; the call number `fail_at`, counted from 1, goes wrong.

    Args:
        code: the error it raises; None: all calls from it on do nothing, as after a death.
        short: a write that goes wrong writes its first half before.
        room: bytes that can be written before the disk is full.
    """

    def __init__(
        self,
        folder: Path,
        fail_at: int | None = None,
        code: int | None = errno.EIO,
        *,
        short: bool = False,
        room: int | None = None,
    ) -> None:
        self.folder, self.fail_at, self.code, self.short, self.room = str(folder), fail_at, code, short, room
        self.calls: list[str] = []
        self.mine: set[int] = set()

    @contextmanager
    def mounted(self) -> Iterator[BadDisk]:
        with pytest.MonkeyPatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, self._bad(name, getattr(os, name)))
            yield self

    def _bad(self, name: str, real: Any) -> Any:
        def call(target: Any, *args: Any, **options: Any) -> Any:
            touches = target in self.mine if isinstance(target, int) else os.fspath(target).startswith(self.folder)
            if not touches:
                return real(target, *args, **options)
            self.calls.append(name)
            if name == "write" and self.room is not None:
                return self._fill(real, target, *args)
            if self.fail_at is not None and len(self.calls) >= self.fail_at:
                self._fail(name, real, target, args)
            result = real(target, *args, **options)
            if name == "open":
                self.mine.add(result)
            if name == "close":
                self.mine.discard(target)
            return result

        return call

    def _fail(self, name: str, real: Any, target: Any, args: Any) -> None:
        is_first = len(self.calls) == self.fail_at
        if name == "write" and self.short and is_first:
            real(target, args[0][: len(args[0]) // 2])
        if name == "close":  # descriptors are returned whatever close says
            self.mine.discard(target)
            real(target)
        if self.code is None:
            raise Died
        if is_first:
            raise OSError(self.code, os.strerror(self.code))

    def _fill(self, real: Any, target: Any, data: Any) -> int:
        assert self.room is not None
        part = data[: self.room]
        if not part:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = int(real(target, part))
        self.room -= written
        return written
