"""Kernels: plain Python functions that are compiled by Numba when they are first called, and kept in the user's cache.

Declaring a kernel costs nothing and imports nothing. The compiled copy is found by a key over all that it was made of:
its code and that of all it calls, the constants, the types, the flags, the versions, and this machine's CPU.
What only compiling needs is imported inside the functions (the cache with pathlib and hashlib takes 13 ms).
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import FunctionType
from typing import Any, Literal, cast

from minidl.device import numba_backend
from minidl.device.background import compile_later
from minidl.device.fingerprint import Helper, fingerprint
from minidl.device.numba_status import numba_status
from minidl.device.signature import Choice, Parameter, mismatch, parse
from minidl.errors import KernelError

Outcome = Literal["compiled", "loaded"]
_SLOW_S = 1.0  # a compile that takes longer is announced
_compiling = threading.RLock()
_kernels: list[Kernel] = []
_compiled_here: list[str] = []


class Kernel(Helper):
    """A function (begin, end, *args) over a range of work, compiled for each choice of its type variables.

    `py_func` is the plain Python function: slow, and open to a debugger.
    """

    def __init__(self, function: FunctionType, text: str, variables: dict[str, Sequence[str]]) -> None:
        self.py_func = function
        self.name = function.__qualname__.replace("<locals>.", "")
        self.signature = parse(text, variables, self.name)
        # The one array that tells the types; None if it takes more, or less.
        self._only = self.signature.positions[0] if len(self.signature.positions) == 1 else None
        self._argument_names = tuple(inspect.signature(function).parameters)
        self._compiled: dict[Choice, Callable[..., Any]] = {}
        # By dtype.char, of one array or of several: 20 times faster to ask than the name.
        self._by_codes: dict[str | tuple[str, ...], Callable[..., Any]] = {}
        self.seconds_per_byte = (
            math.inf
        )  # what one thread took when it last ran, for ranges that are new (`threads.py`)
        if len(self._argument_names) != 2 + len(self.signature.parameters):
            raise KernelError(
                f"kernel {self.name}: it takes {len(self._argument_names)} arguments, "
                f"but (begin, end) and {text!r} are {2 + len(self.signature.parameters)}"
            )
        functools.update_wrapper(self, function)
        _kernels.append(self)

    def __call__(self, begin: int, end: int, *args: Any) -> None:
        """Run the compiled kernel over range(begin, end), in this thread."""
        self.run(0, 0, 0, 0, 0, begin, end, *args)

    def run(self, share: int, board: int, helpers: int, block: int, apart: int, begin: int, end: int,
            *args: Any) -> None:  # fmt: skip
        """Run the compiled kernel over range(begin, end), in blocks that a crew shares out (`crew.py`).

        Args:
            share: the address of `crew.share`; 0 to run it at once, in one piece, by this thread.
            board: the address of a board.
            helpers: how many workers may help.
            block: length of a block.
            apart: each thread gets the last array of `args` from so many numbers behind that of the thread before it.

        Raises:
            KernelError: if the arguments do not fit.
            Exception: what the kernel raised; of several blocks that raised, the first one's.
        """
        try:
            compiled = self._by_codes[self._codes_of(args) if self._only is None else args[self._only].dtype.char]
        except (KeyError, AttributeError, IndexError):
            compiled = self.compiled_for(args)
        try:
            failed = compiled(share, board, helpers, block, apart, begin, end, *args)
        except TypeError as error:
            raise self.explained(error, args) from error
        if failed:
            self._fail(begin, end, block or end - begin, args)

    def _fail(self, begin: int, end: int, block: int, args: tuple[Any, ...]) -> None:
        """Raise what the kernel has raised: compiled code tells only that it did, so Python runs it once more."""
        for at in range(begin, end, block):
            self.py_func(at, min(at + block, end), *args)
        raise KernelError(f"kernel {self.name}: it raised an exception that its Python function does not raise")

    def compiled_for(self, args: Sequence[Any]) -> Callable[..., Any]:
        """What runs the kernel for the types of `args`; compiles or loads it if that is still to be done."""
        try:
            choice = self.signature.choice_of(args)
        except (AttributeError, IndexError) as error:
            raise self.explained(TypeError(str(error)), args) from error
        allowed = self.signature.variables.items()
        for (variable, types), given in zip(allowed, choice, strict=True):
            if given not in types:
                raise KernelError(f"kernel {self.name}: {variable} must be {' or '.join(types)}, got {given}")
        compile_later(self, choice)
        self.prepare(choice)
        codes = self._codes_of(args)
        self._by_codes[codes if self._only is None else codes[0]] = self._compiled[choice]
        return self._compiled[choice]

    def _codes_of(self, args: Sequence[Any]) -> tuple[str, ...]:
        return tuple([args[position].dtype.char for position in self.signature.positions])

    def prepare(self, choice: Choice) -> Outcome:
        """Make the kernel ready for `choice`, from the cache if it is there.

        Raises:
            KernelError: if Numba cannot be used, or cannot compile the kernel.
        """
        if not (status := numba_status()):
            raise KernelError(f"kernel {self.name}: {status}")
        with _compiling:
            if choice in self._compiled:
                return "loaded"
            compiled, outcome = self._load_or_compile(choice)
            self._compiled[choice] = compiled
            return outcome

    def is_cached(self, choice: Choice) -> bool:
        """Whether `prepare` would find a compiled copy for `choice`."""
        from minidl.device import cache

        return cache.contains(self._file_name, self.key(choice))

    def key(self, choice: Choice) -> bytes:
        """32 bytes over everything that decides what the compiled code is."""
        import hashlib

        types = ", ".join(map(str, self.signature.with_types(choice)))
        code = fingerprint(self.py_func).hex()
        parts = (code, self.py_func.__module__, self.name, types, numba_backend.toolchain())
        return hashlib.sha256(repr(parts).encode()).digest()

    def explained(self, error: TypeError, args: Sequence[Any]) -> Exception:
        """The KernelError that names the wrong argument, or `error` itself if all arguments fit."""
        choice: Choice | None = None
        with contextlib.suppress(AttributeError, IndexError):
            choice = self.signature.choice_of(args)
        parameters = self.signature.parameters if choice is None else self.signature.with_types(choice)
        problem = mismatch(parameters, args, self._argument_names[2:])
        return error if problem is None else KernelError(f"kernel {self.name}: {problem}")

    @property
    def functions(self) -> tuple[FunctionType, ...]:
        return (self.py_func,)

    def build(self) -> Any:
        return self._callee

    @functools.cached_property
    def _callee(self) -> Any:
        return numba_backend.callee(self.py_func)

    @property
    def _file_name(self) -> str:
        return re.sub(r"\W+", "_", self.name)[-64:]

    def _load_or_compile(self, choice: Choice) -> tuple[Callable[..., Any], Outcome]:
        from minidl.device import cache

        key = self.key(choice)
        parameters = self.signature.with_types(choice)
        if (result := self._stored(key)) is not None:
            return self._entry(result, parameters), "loaded"
        with _announced(self.name), cache.building(self._file_name, key):
            if (result := self._stored(key)) is not None:  # another process was faster
                return self._entry(result, parameters), "loaded"
            result = self._compile(parameters)
            if (packed := numba_backend.pack(result)) is not None:
                cache.store(self._file_name, key, packed)
        _compiled_here.append(self.name)
        return self._entry(result, parameters), "compiled"

    def _stored(self, key: bytes) -> Any:
        """What the cache has under `key`, ready to run; None if there is nothing."""
        from minidl.device import cache

        stored = cache.load(self._file_name, key)
        return None if stored is None else numba_backend.unpack(stored)

    def _compile(self, parameters: Sequence[Parameter]) -> Any:
        return numba_backend.compile_kernel(self.py_func, parameters, self.name)

    def _entry(self, result: Any, parameters: Sequence[Parameter]) -> Callable[..., Any]:
        return numba_backend.entry(result, parameters)


class Routine(Kernel):
    """A compiled function of whole numbers, which gives one; Python may call it, and so may compiled code."""

    address = 0  # where its code lies in memory, once it is ready

    def __call__(self, *args: int) -> int:  # type: ignore[override]
        return int(self.ready()(*args))

    def ready(self) -> Callable[..., Any]:
        """Compile or load it, if that is still to be done; nothing can stand in for it meanwhile."""
        if () not in self._compiled:
            self.prepare(())
        return self._compiled[()]

    def _compile(self, parameters: Sequence[Parameter]) -> Any:
        return numba_backend.compile_routine(self.py_func, parameters, self.name)

    def _entry(self, result: Any, parameters: Sequence[Parameter]) -> Callable[..., Any]:
        self.address = numba_backend.address(result)
        return cast("Callable[..., Any]", result.entry_point)


def kernel(signature: str, **variables: Sequence[str]) -> Callable[[Callable[..., None]], Kernel]:
    """Declare a kernel: a function of (begin, end, *args), run in pieces of its range by `parallel`.

    Args:
        signature: the types of `args`, see `minidl.device.signature`.
        variables: type variables of the signature and the types they stand for.

    Raises:
        KernelError: if the signature cannot be read or does not fit the function.

    >>> @kernel("T[::1], const T[::1]", T=("float32", "float64"))
    ... def double(begin, end, out, x):
    ...     for i in range(begin, end):
    ...         out[i] = 2 * x[i]
    >>> import numpy as np
    >>> out = np.zeros(3)
    >>> double.py_func(0, 3, out, np.arange(3.0))
    >>> out
    array([0., 2., 4.])
    """
    return lambda function: Kernel(cast(FunctionType, function), signature, variables)


def routine(signature: str) -> Callable[[Callable[..., int]], Routine]:
    """Declare a function of whole numbers, the first two of which `signature` leaves out, as for a kernel."""
    return lambda function: Routine(cast(FunctionType, function), signature, {})


def kernels() -> tuple[Kernel, ...]:
    """Every kernel declared so far, in the order of declaration."""
    return tuple(_kernels)


def has_compiled() -> bool:
    """Whether this process had to compile a kernel."""
    return bool(_compiled_here)


def _tell_terminal(message: str) -> None:
    if sys.stderr.isatty():
        print(message, file=sys.stderr, flush=True)


# Who hears that a kernel takes more than a second to compile: by default a person at a terminal.
compile_notice: ContextVar[Callable[[str], None]] = ContextVar("compile_notice", default=_tell_terminal)


@contextlib.contextmanager
def _announced(name: str) -> Iterator[None]:
    from minidl.device import cache

    place = cache.folder()
    where = f"cached in {place.path}" if place.path else f"not cached: {place.reason}"
    timer = threading.Timer(_SLOW_S, compile_notice.get(), (f"minidl: compiling {name} (once; {where})",))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
