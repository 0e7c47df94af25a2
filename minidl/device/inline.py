"""Functions that kernels may call.

Plain ones are compiled into the kernel (`inline`) or beside it (`separate`), some are chosen by type (`by_dtype`), and
some write LLVM code (`intrinsic`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, cast

import numpy as np

from minidl.device import numba_backend
from minidl.device.fingerprint import Helper


class Inline(Helper):
    """A Python function that kernels may call; called from Python, it is just that function."""

    def __init__(self, function: FunctionType) -> None:
        self.py_func = function
        functools.update_wrapper(self, function)

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        return (self.py_func,)

    @functools.cached_property
    def _built(self) -> Any:
        return numba_backend.inlined(self.py_func)

    def build(self) -> Any:
        return self._built

    def __call__(self, *args: Any) -> Any:
        return self.py_func(*args)


class Separate(Inline):
    """A Python function that kernels call: compiled on its own, with all registers to itself."""

    @functools.cached_property
    def _built(self) -> Any:
        return numba_backend.callee(self.py_func)


class ByDtype(Helper):
    """A function of one number with a body for each floating type; the type of the argument chooses."""

    def __init__(self, float32: Inline, float64: Inline) -> None:
        self.bodies = {"float32": float32, "float64": float64}
        self.py_func = float64.py_func
        functools.update_wrapper(self, float64.py_func)

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        return tuple(body.py_func for body in self.bodies.values())

    @functools.cached_property
    def _built(self) -> Any:
        return numba_backend.by_argument(lambda kind: self.bodies.get(kind, self.bodies["float64"]).build())

    def build(self) -> Any:
        return self._built

    def __call__(self, x: Any) -> Any:
        narrow = isinstance(x, np.float32)
        with np.errstate(all="ignore"):
            return self.bodies["float32" if narrow else "float64"](x if narrow else np.float64(x))


class Intrinsic(Helper):
    """A function that writes LLVM code, with a Python function that says what the code does."""

    def __init__(self, emit: FunctionType, python: FunctionType) -> None:
        self.emit = emit
        self.py_func = python
        functools.update_wrapper(self, python)

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        return (self.emit,)

    @property
    def emits_code(self) -> bool:
        return True

    @functools.cached_property
    def _built(self) -> Any:
        return numba_backend.emitted(self.emit)

    def build(self) -> Any:
        return self._built

    def __call__(self, *args: Any) -> Any:
        return self.py_func(*args)


def inline(function: Callable[..., Any]) -> Inline:
    """Let kernels call `function`: it is compiled into each of them.

    >>> @inline
    ... def halved(x):
    ...     return x / 2
    >>> halved(3.0)
    1.5
    """
    return Inline(cast(FunctionType, function))


def separate(function: Callable[..., Any]) -> Separate:
    """Let kernels call `function`, which stays a function of its own: for a long loop that needs all registers.

    In a kernel of several such loops LLVM keeps values of one in registers during another, and the inner loop of a
    matrix product that goes to the stack for one vector takes twice as long. A call costs some nanoseconds.

    >>> @separate
    ... def doubled(x):
    ...     return x * 2
    >>> doubled(3.0)
    6.0
    """
    return Separate(cast(FunctionType, function))


def by_dtype(*, float32: Inline, float64: Inline) -> ByDtype:
    """One name for two inline functions of one number: the type of the argument chooses (integers take float64)."""
    return ByDtype(float32, float64)


def intrinsic(emit: Callable[..., Any]) -> Callable[[Callable[..., Any]], Intrinsic]:
    """Let kernels call LLVM code: `emit` is what `numba.extending.intrinsic` takes, the decorated function the meaning.

    `emit(typing_context, *types)` returns a signature and a code generator; it imports numba and llvmlite inside, and
    runs only while a kernel that calls it is compiled. What it calls counts for the kernel's key.

        @intrinsic(_emit_fma)
        def fma(a, b, c):
            return a * b + c
    """
    return lambda python: Intrinsic(cast(FunctionType, emit), cast(FunctionType, python))
