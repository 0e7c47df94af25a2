"""The threads that fetch ahead for a DataLoader.

Not those of concurrent.futures: the interpreter waits for them when it ends, so one sample that hangs would keep the
program from ending. These are daemons, and go as soon as they are told to, or their owner is gone.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

THREAD_NAME = "minidl-loader"

Task = tuple[Future[Any], Callable[[], Any]]


class Workers:
    """`count` threads that run what is submitted, in the order in which it was submitted."""

    def __init__(self, count: int) -> None:
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        for i in range(count):
            threading.Thread(target=_work, args=(self._tasks,), name=f"{THREAD_NAME}-{i}", daemon=True).start()
        self._end = weakref.finalize(self, _dismiss, self._tasks, count)

    def submit(self, task: Callable[[], Any]) -> Future[Any]:
        """Run `task` on a thread; the future brings its result or its exception."""
        future: Future[Any] = Future()
        self._tasks.put((future, task))
        return future

    def stop(self) -> None:
        """Let the threads go once each has done what it is doing; waits for none of them."""
        self._end()


def _dismiss(tasks: SimpleQueue[Task | None], count: int) -> None:
    for _ in range(count):
        tasks.put(None)


def _work(tasks: SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        _run(*task)
        del task  # a thread that waits must not keep the last batch alive


def _run(future: Future[Any], task: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = task()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
    del future  # the exception's traceback holds this frame
