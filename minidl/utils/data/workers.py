"""The threads that fetch ahead for a DataLoader; each may have a process that does the work (see `processes.py`).

Not those of concurrent.futures: the interpreter waits for them when it ends, so one sample that hangs would keep the
program from ending. These are daemons, and go as soon as they are told to, or their owner is gone.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Protocol

THREAD_NAME = "minidl-loader"


class Assistant(Protocol):
    """What a thread hands its tasks to."""

    def is_alive(self) -> bool: ...
    def interrupt(self) -> None: ...
    def end(self) -> None: ...


Task = tuple[Future[Any], Callable[[Any], Any]]


class Workers:
    """Threads that run what is submitted, in the order in which it was submitted.

    Args:
        assistants: one for each thread: what its tasks are called with; None for a thread that works itself.
        start: what a thread that works itself calls first, with its number.
    """

    def __init__(self, assistants: Sequence[Assistant | None], start: Callable[[int], None]) -> None:
        self.assistants = [assistant for assistant in assistants if assistant is not None]
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        for i, assistant in enumerate(assistants):
            arguments = (self._tasks, assistant, functools.partial(start, i))
            threading.Thread(target=_work, args=arguments, name=f"{THREAD_NAME}-{i}", daemon=True).start()
        self._end = weakref.finalize(self, _dismiss, self._tasks, len(assistants), self.assistants)

    def submit(self, task: Callable[[Any], Any]) -> Future[Any]:
        """Run `task` on a thread, with the thread's assistant; the future brings its result or its exception."""
        future: Future[Any] = Future()
        self._tasks.put((future, task))
        return future

    def are_whole(self) -> bool:
        """Whether all can go on working."""
        return all(assistant.is_alive() for assistant in self.assistants)

    def stop(self) -> None:
        """Let the threads go once each has done what it is doing, and interrupt processes; waits for none of them."""
        self._end()


def _dismiss(tasks: SimpleQueue[Task | None], count: int, assistants: Sequence[Assistant]) -> None:
    for _ in range(count):
        tasks.put(None)
    for assistant in assistants:
        assistant.interrupt()


def _work(tasks: SimpleQueue[Task | None], assistant: Assistant | None, start: Callable[[], None]) -> None:
    try:
        if assistant is None:
            start()
        while (task := tasks.get()) is not None:
            _run(*task, assistant)
            del task  # a thread that waits must not keep the last batch alive
    finally:
        if assistant is not None:
            assistant.end()


def _run(future: Future[Any], task: Callable[[Any], Any], assistant: Assistant | None) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = task(assistant)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
    del future  # the exception's traceback holds this frame
