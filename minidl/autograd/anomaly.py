"""Anomaly mode: the first NaN or infinity, where it was born.

Every result of an op is looked at, and every gradient of the backward pass. A number that is not finite and does not
come from one that was not finite before raises an error that names the op, the place in its result, its inputs, and, in
the backward pass, the line of the program that recorded the step.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from typing import Any

import numpy as np

from minidl.core import Array, Call, Grads, Node
from minidl.core.tape import launcher, launching, noting
from minidl.core.walk import Step, Waiting, around_steps
from minidl.device import device_of
from minidl.device.dtypes import is_floating
from minidl.errors import AnomalyError

__all__ = ["detect_anomaly", "is_anomaly_enabled", "set_detect_anomaly"]

_mode: ContextVar[detect_anomaly | None] = ContextVar("anomaly", default=None)


class detect_anomaly:
    """Look for the first NaN or infinity, in the forward and the backward pass of the block. It costs time.

    Args:
        check_nan: False only notes where steps were recorded, for errors of other kinds in the backward pass.

    Raises:
        AnomalyError: in the block, naming op, place, inputs and line.

    >>> from minidl import tensor
    >>> with detect_anomaly():  # doctest: +ELLIPSIS
    ...     tensor([1.0, 0.0]).log()
    Traceback (most recent call last):
    minidl.errors.AnomalyError: log: its result is -inf at (1,), ...
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.check_nan = check_nan
        self._lines: weakref.WeakKeyDictionary[Node, str] = weakref.WeakKeyDictionary()
        self._in_backward = False
        self._run: Callable[[Call], None] = Call.run
        self._blocks = ExitStack()
        self._before: list[detect_anomaly | None] = []

    def __enter__(self) -> detect_anomaly:
        self._before.append(_mode.get())
        _switch(self)
        return self

    def __exit__(self, *error: object) -> None:
        _switch(self._before.pop())

    def _start(self) -> None:
        self._blocks.enter_context(noting(self._note_line))
        self._blocks.enter_context(around_steps(self._watched))
        if self.check_nan:
            self._run = launcher()
            self._blocks.enter_context(launching(self._check_call))

    def _stop(self) -> None:
        self._blocks.close()

    def _note_line(self, node: Node) -> None:
        self._lines[node] = _line_of_user()

    def _check_call(self, call: Call) -> None:
        """Run a kernel and look at what it wrote; inside a backward pass only whole gradients are looked at."""
        self._run(call)
        if self._in_backward:
            return
        found = _first_bad(call.out if isinstance(call.out, tuple) else (call.out,), call.inputs)
        if found is not None:
            raise AnomalyError(f"{call.op.name}: its result {found}, the first place that is not finite; "
                               f"inputs: {_described(call.inputs)}")  # fmt: skip

    def _watched(self, step: Step) -> Step:
        def watched(node: Node, grads: Waiting) -> Grads:
            line = self._lines.get(node, "before anomaly mode was on")
            outer, self._in_backward = self._in_backward, True
            try:
                found = step(node, grads)
            except Exception as error:
                error.add_note(f"in the backward pass of {node.op.name}, recorded at {line}")
                raise
            finally:
                self._in_backward = outer
            if self.check_nan:
                _check_gradients(node, found, grads, line)
            return found

        return watched


def _check_gradients(node: Node, found: Grads, grads: Waiting, line: str) -> None:
    before = [g.array for g in grads if g is not None]
    for position, gradient in enumerate(found):
        bad = None if gradient is None else _first_bad((gradient.array,), before)
        if bad is not None:
            inputs = ", ".join(f"{spec.shape} {spec.dtype}" for spec in node.specs)
            raise AnomalyError(f"backward of {node.op.name}: the gradient of its input {position} {bad}, the first "
                               f"place that is not finite; inputs: {inputs}; recorded at {line}")  # fmt: skip


def _first_bad(results: tuple[Array, ...], inputs: Any) -> str | None:
    """ "is nan at (0, 1)" for the first number that is not finite in results of inputs that are; else None.

    If inputs hold an infinity, only a NaN counts, and nothing if they hold a NaN: those were born elsewhere.
    """
    for array in results:
        if not is_floating(array.dtype):
            continue
        xp = device_of(array).xp
        bad = ~xp.isfinite(array)
        if not bad.any():
            continue
        given = [a for a in inputs if is_floating(a.dtype)]
        if any(xp.isnan(a).any() for a in given):
            return None
        if any(xp.isinf(a).any() for a in given):
            bad = xp.isnan(array)
            if not bad.any():
                continue
        place = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), array.shape))
        return f"is {float(array[place])} at {place}"
    return None


def _described(arrays: tuple[Array, ...]) -> str:
    return ", ".join(f"{a.shape} {a.dtype}" for a in arrays)


def _line_of_user() -> str:
    """File and line of the innermost frame outside of the engine."""
    import traceback  # only a mode for debugging needs it

    for frame in reversed(traceback.extract_stack()):
        if "/minidl/" not in frame.filename.replace("\\", "/") or "/tests/" in frame.filename:
            return f"{frame.filename}:{frame.lineno} ({frame.line})"
    return "the engine itself"


class set_detect_anomaly:
    """Switch anomaly mode on or off, from here on or, in a `with` statement, for the block."""

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self._before = _mode.get()
        _switch(detect_anomaly(check_nan) if mode else None)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        _switch(self._before)


def _switch(mode: detect_anomaly | None) -> None:
    current = _mode.get()
    if current is not None:
        current._stop()
    _mode.set(mode)
    if mode is not None:
        mode._start()


def is_anomaly_enabled() -> bool:
    """Whether anomaly mode is on."""
    return _mode.get() is not None
