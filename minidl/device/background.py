"""Compiling in the background: the reference stands in for a kernel that is not compiled yet, if the user asks for it.

By default a call waits for its kernel, because the bits of a result must not depend on how fast a compiler was.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING

from minidl.device.settings import changed
from minidl.errors import ArgumentError

if TYPE_CHECKING:
    from minidl.device.compile import Kernel
    from minidl.device.signature import Choice

MODES = ("wait", "alone", "background")
_chosen = {"mode": "wait"}
_has_stand_in: ContextVar[bool] = ContextVar("has_stand_in", default=False)
_under_way: dict[tuple[Kernel, Choice], threading.Thread] = {}


class NotCompiledYet(Exception):
    """A kernel that is being compiled was called where something else can take its place."""


def set_compile(mode: str) -> None:
    """Say what a call does whose kernel is not compiled yet.

    Args:
        mode: "wait" for it (the default): meanwhile a second process compiles what the backward pass will need
            (`minidl/core/companion.py`); "alone": wait, without that process. In the "background": NumPy's reference
            stands in while it is compiled, and results may differ in their last digits from one run to the next.

    Raises:
        ArgumentError: if it is none of these.
    """
    if mode not in MODES:
        raise ArgumentError(f"set_compile: mode must be 'wait', 'alone' or 'background', got {mode!r}")
    _chosen["mode"] = mode
    changed()


def compiles_in_background() -> bool:
    return _chosen["mode"] == "background"


def compiles_alone() -> bool:
    """Whether no second process may compile for this one."""
    return _chosen["mode"] != "wait"


def run_or(run: Callable[[], None], stand_in: Callable[[], None]) -> None:
    """Call `run`, or `stand_in` if that finds a kernel that is not compiled yet."""
    token = _has_stand_in.set(True)
    try:
        run()
    except NotCompiledYet:
        stand_in()
    finally:
        _has_stand_in.reset(token)


def compile_later(kernel: Kernel, choice: Choice) -> None:
    """Compile in another thread, if something can stand in meanwhile.

    Raises:
        NotCompiledYet: if so.
    """
    if not (compiles_in_background() and _has_stand_in.get()) or kernel.is_cached(choice):
        return
    if (kernel, choice) not in _under_way:
        thread = threading.Thread(target=kernel.prepare, args=(choice,), name=f"compile {kernel.name}", daemon=True)
        _under_way[kernel, choice] = thread
        thread.start()
    if _under_way[kernel, choice].is_alive():
        raise NotCompiledYet


def wait_for_compiles() -> None:
    """Return when nothing is being compiled in the background any more."""
    for thread in tuple(_under_way.values()):
        thread.join()
