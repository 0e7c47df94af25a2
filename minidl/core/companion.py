"""The companion: a second process that compiles kernels of backward passes while this one compiles those of forward.

On a fresh machine nothing of a training step is compiled, and a process compiles one kernel at a time. A forward pass
meets its kernels one by one, but what goes forward on the tape comes back: so the first time that a call has to compile
its kernel, a companion is started and told of the calls of this forward pass, their shapes and not their numbers. It
rehearses each of them on zeros, forward and back (`rehearsal.py`), and leaves the kernels in the cache. Whoever needs
one that is being made waits for it (`device.cache.building`). It ends with this process, or when it has heard nothing
for a while.

The kernels are those that this process would have made, so no bit of a result depends on who was faster. A U-Net's
first step on a fresh machine with two cores: 15.8 s alone, 11.2 s so.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import threading
from ast import literal_eval
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl.core.tape import is_recording
from minidl.device import Array
from minidl.device.background import compiles_alone
from minidl.device.compile import has_compiled
from minidl.device.threads import usable_cores

if TYPE_CHECKING:
    import subprocess

    from minidl.core.op import Op

# The name of an op, (type, shape, strides) of each of its arrays, and its parameters: all that a rehearsal needs.
Scene = tuple[str, tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...], dict[str, Any]]
_LARGEST_BYTES = 1 << 28  # of the arrays of a call: a rehearsal takes as much memory again
_START = "import minidl; from minidl.core.rehearsal import main; main()"
_PLACE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # of the package
_ROLE = "MINIDL_IS_COMPANION"  # stands in the environment of a companion, which has none of its own
_LONGEST_END_S = 1.0


class Companion:
    """A process that is told of calls, and before there is one, the calls it will be told of.

    Attributes:
        before: the latest calls, for as long as nothing had to be compiled.
        process: it; None if it was not started yet.
        is_wanted: whether there is any use in telling it more.
    """

    def __init__(self) -> None:
        self.before: deque[Scene] = deque(maxlen=64)
        self.process: subprocess.Popen[bytes] | None = None
        self.is_wanted = os.name == "posix" and usable_cores() > 1 and _ROLE not in os.environ
        self._lock = threading.Lock()

    def tell(self, scene: Scene) -> None:
        """Let it rehearse this call; start it if it is time to."""
        with self._lock:
            if self.process is not None:
                self._say(self.process, scene)
                return
            self.before.append(scene)
            if has_compiled():
                self._start()

    def end(self) -> None:
        """Let it go: its input ends, and with it the process."""
        self.is_wanted = False
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
            with contextlib.suppress(Exception):  # it does not end in time; nothing depends on it
                self.process.wait(_LONGEST_END_S)

    def _start(self) -> None:
        import multiprocessing
        import subprocess

        from minidl.device import cache

        if multiprocessing.parent_process() is not None or cache.folder().path is None or not sys.executable:
            self.is_wanted = False  # one of many workers, or there is no way to hand kernels over
            return
        # It finds the minidl that runs here, and nothing in the folder that the user happens to be in (-P).
        path = os.pathsep.join([_PLACE, *filter(None, [os.environ.get("PYTHONPATH")])])
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START], env={**os.environ, _ROLE: "1", "PYTHONPATH": path}, bufsize=0,
                start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
        except OSError:
            self.is_wanted = False
            return
        assert process.stdin is not None
        os.set_blocking(process.stdin.fileno(), False)
        atexit.register(self.end)
        self.process = process
        for scene in self.before:
            self._say(process, scene)
        self.before.clear()

    def _say(self, process: subprocess.Popen[bytes], scene: Scene) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(f"{scene!r}\n".encode())
        except (OSError, ValueError):  # it has ended, or does not listen
            self.is_wanted = False


_companion = Companion()


def tell_companion(op: type[Op], arrays: tuple[Array, ...], params: dict[str, Any]) -> None:
    """Say that `op` is about to run for the first time on arrays like these."""
    if not _companion.is_wanted or op.updates or compiles_alone() or not is_recording():
        return
    if all(type(a) is np.ndarray for a in arrays) and sum([a.nbytes for a in arrays]) <= _LARGEST_BYTES:
        with contextlib.suppress(ValueError, SyntaxError):  # a parameter that no text stands for
            if literal_eval(repr(params)) == params:
                _companion.tell((op.name, tuple([(a.dtype.str, a.shape, a.strides) for a in arrays]), params))


if hasattr(os, "register_at_fork"):  # the pipe and the process are the parent's
    os.register_at_fork(after_in_child=lambda: setattr(_companion, "is_wanted", False))
