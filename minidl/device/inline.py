"""Functions that kernels may call: plain ones (`inline`), chosen by element type (`by_dtype`), or emitting LLVM (`intrinsic`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any, cast

import numpy as np

from minidl.device.fingerprint import Helper, references

# No fastmath: isnan must stay true, and the order of sums is part of the result. Division by zero gives inf, as in NumPy.
FLAGS = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}


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
        import numba

        # Inlined by force, because a call inside a loop keeps LLVM from vectorising the loop.
        return numba.njit(forceinline=True, **FLAGS)(for_numba(self.py_func))

    def build(self) -> Any:
        return self._built

    def __call__(self, *args: Any) -> Any:
        return self.py_func(*args)


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
        from numba.extending import overload

        def chosen(x: Any) -> Any:
            raise NotImplementedError  # a name for Numba, never called

        @overload(chosen, jit_options={"forceinline": True, **FLAGS})  # type: ignore[misc, unused-ignore]
        def choose(x: Any) -> Any:
            body = self.bodies.get(str(x), self.bodies["float64"]).build()

            def call(x: Any) -> Any:
                return body(x)

            return call

        return chosen

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
        from numba.extending import intrinsic as numba_intrinsic

        return numba_intrinsic(self.emit)

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


def for_numba(function: FunctionType) -> FunctionType:
    """A copy of `function` in which every helper it refers to stands in the form that Numba understands."""
    seen = {name: value.build() if isinstance(value, Helper) else value for name, value in references(function).items()}
    scope = {"__name__": function.__module__, "__builtins__": __builtins__, **seen}
    cells = tuple(CellType(seen[name]) for name in function.__code__.co_freevars)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    return functools.update_wrapper(copy, function)
