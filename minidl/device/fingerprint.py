"""A digest of all the code and constants that a kernel is made of, so that a cached kernel is never an outdated one.

Numba's own cache looks at the date of one file and misses a helper that changed in another. Here every name that a
kernel reads is followed to what it stands for; what cannot be followed is refused, with the way out.
"""

from __future__ import annotations

import dis
import functools
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np

from minidl.errors import KernelError

# Their versions are in the key of every kernel, and so is Python's.
_VERSIONED = sys.stdlib_module_names | {"llvmlite", "numba", "numpy"}
_LOAD_GLOBAL, _IMPORT_NAME = dis.opmap["LOAD_GLOBAL"], dis.opmap["IMPORT_NAME"]


class Helper(ABC):
    """Something that a kernel may call: it knows its Python functions, and how to build itself for Numba."""

    py_func: Any  # a FunctionType; declared as one, it would look like a method to mypy

    @property
    @abstractmethod
    def functions(self) -> tuple[FunctionType, ...]:
        """The functions whose code decides what this helper does."""

    @property
    def emits_code(self) -> bool:
        """Whether the functions run in Python while a kernel is compiled; then they may call plain functions."""
        return False

    @abstractmethod
    def build(self) -> Any:
        """The object that Numba understands, made once."""


def references(function: FunctionType) -> dict[str, object]:
    """What `function` reads from its module and from the functions around it, by name; builtins left out."""
    module = function.__globals__
    names = {name for code in _codes(function.__code__) for name in _named_in(code)[0]}
    found = {name: module[name] for name in names if name in module}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        found[name] = cell.cell_contents
    return found


def fingerprint(function: FunctionType) -> bytes:
    """32 bytes that change when the code of `function`, or of anything it refers to, changes.

    Comments, line numbers and file names do not count, so a moved kernel keeps its compiled copy.

    Raises:
        KernelError: if `function` refers to something whose code cannot be followed.
    """
    import hashlib

    digest = hashlib.sha256()
    for part in _function_parts(function, {}, emits_code=False):
        digest.update(part.encode() + b"\0")
    return digest.digest()


def _function_parts(function: FunctionType, seen: dict[int, int], *, emits_code: bool) -> Iterator[str]:
    if id(function) in seen:  # recursion: the first visit has told all
        yield f"again {seen[id(function)]}"
        return
    seen[id(function)] = len(seen)
    for code in _codes(function.__code__):
        yield from _code_parts(code)
        _refuse_unversioned_imports(code, function)
    defaults = {"defaults": function.__defaults__, **(function.__kwdefaults__ or {})}
    for name, value in sorted({**references(function), **defaults}.items()):
        yield name
        yield from _value_parts(value, name, function, seen, emits_code=emits_code)


def _value_parts(
    value: object, name: str, function: FunctionType, seen: dict[int, int], *, emits_code: bool
) -> Iterator[str]:
    if isinstance(value, Helper):
        yield type(value).__name__
        for inner in value.functions:
            yield from _function_parts(inner, seen, emits_code=value.emits_code)
    elif isinstance(value, (np.ndarray, np.generic)):
        yield f"{value.dtype.str} {value.shape} {value.tobytes().hex()}"
    elif value is None or isinstance(value, (bool, int, float, complex, str, bytes, np.dtype)):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, tuple):
        yield f"tuple of {len(value)}"
        for item in value:
            yield from _value_parts(item, name, function, seen, emits_code=emits_code)
    elif (origin := _versioned_name(value)) is not None:
        yield origin
    elif isinstance(value, functools._lru_cache_wrapper) and emits_code:
        yield from _value_parts(value.__wrapped__, name, function, seen, emits_code=True)
    elif isinstance(value, FunctionType) and emits_code:
        yield from _function_parts(value, seen, emits_code=True)
    elif isinstance(value, type) and emits_code:
        for method, body in [item for base in value.__mro__[:-1] for item in vars(base).items()]:
            yield method
            body = getattr(body, "__func__", body)  # of a static method
            if isinstance(body, FunctionType):
                yield from _function_parts(body, seen, emits_code=True)
    else:
        raise KernelError(_refusal(value, name, function))


def _refusal(value: object, name: str, function: FunctionType) -> str:
    what = f"kernel {function.__qualname__}: {name!r} is a {type(value).__name__}, whose code cannot be followed"
    if isinstance(value, FunctionType):
        return f"{what}; put @inline on it"
    if isinstance(value, ModuleType):
        return f"{what}; import what is needed from it by name"
    return f"{what}; kernels may use numbers, tuples, arrays, NumPy, math, @inline functions and other kernels"


def _versioned_name(value: object) -> str | None:
    """The full name of a module, or of a class or function of a module, whose version every key has."""
    if isinstance(value, ModuleType):
        name = value.__name__
    elif isinstance(value, (type, FunctionType, BuiltinFunctionType, np.ufunc)):
        name = f"{getattr(value, '__module__', None) or 'numpy'}.{value.__name__}"
    else:
        return None
    return name if name.partition(".")[0] in _VERSIONED else None


def _codes(code: CodeType) -> Iterator[CodeType]:
    """`code` and the code of the functions written inside it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


@functools.cache  # many kernels call the same helpers, and reading their instructions is most of the work
def _named_in(code: CodeType) -> tuple[frozenset[str], frozenset[str]]:
    """The globals that `code` reads, and the modules that it imports.

    Read from the pairs (instruction, number) that the code is made of: `dis` takes ten times as long to say more.
    """
    read, imported, number = set(), set(), 0
    for instruction, byte in zip(code.co_code[::2], code.co_code[1::2], strict=True):
        number = number << 8 | byte
        if instruction == dis.EXTENDED_ARG:  # the next one's number begins with this one
            continue
        if instruction == _LOAD_GLOBAL:
            read.add(code.co_names[number >> 1])  # the last bit says whether it is to be called
        elif instruction == _IMPORT_NAME:
            imported.add(code.co_names[number])
        number = 0
    return frozenset(read), frozenset(imported)


def _refuse_unversioned_imports(code: CodeType, function: FunctionType) -> None:
    for module in sorted(_named_in(code)[1]):
        if module.partition(".")[0] not in _VERSIONED:
            raise KernelError(
                f"kernel {function.__qualname__}: it imports {module!r} inside, "
                "whose code cannot be followed; import it at the top of the module"
            )


def _code_parts(code: CodeType) -> Iterator[str]:
    yield code.co_code.hex()
    yield code.co_exceptiontable.hex()
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars))
    yield repr((code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags))
    for constant in code.co_consts:
        if isinstance(constant, frozenset):  # `x in {...}`: its order differs from run to run
            yield repr(sorted(map(repr, constant)))
        elif not isinstance(constant, CodeType):
            yield repr(constant)
