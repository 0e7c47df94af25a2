"""All that this package asks of Numba: compile a function for given types, and turn the result into bytes and back.

Numba (0.3 s) and some of Python's own modules are imported inside the functions, so that minidl starts fast.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Sequence
from types import CellType, FunctionType
from typing import Any, cast

import numpy as np

from minidl.device.fingerprint import Helper, references
from minidl.device.signature import Parameter
from minidl.errors import KernelError

_FORMAT = 1  # to be raised when this file or pipeline.py changes what a kernel is compiled to
# No fastmath: isnan must stay true, and the order of sums is part of the result. Division by zero is as in NumPy.
_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}

Compiled = Callable[..., None]


def compile_kernel(function: FunctionType, parameters: Sequence[Parameter], name: str) -> tuple[Compiled, bytes | None]:
    """`function` compiled for (begin, end, *parameters), and its packed form for `unpack` (None: cannot be kept).

    Raises:
        KernelError: with Numba's reason, if it cannot be compiled.
    """
    import numba

    from minidl.device.pipeline import KernelCompiler

    dispatcher: Any = numba.njit(pipeline_class=KernelCompiler, **_FLAGS)(for_numba(function))
    try:
        dispatcher.compile(_numba_types(parameters))
    except numba.core.errors.NumbaError as error:
        types, reason = ", ".join(map(str, parameters)), re.sub(r"\x1b\[\d*m", "", str(error))  # without colours
        raise KernelError(f"kernel {name}: Numba cannot compile it for ({types}): {reason}") from error
    packed = _pack(dispatcher)
    return _closed(dispatcher, parameters), packed


def unpack(function: FunctionType, packed: bytes, parameters: Sequence[Parameter]) -> Compiled | None:
    """The compiled kernel that `packed` holds; None if this Numba cannot read it.

    `packed` is in Numba's own format, which can run code: it must come from a place that only this user can write.
    """
    import pickle

    import numba
    from numba.core.compiler import CompileResult

    dispatcher: Any = numba.njit(**_FLAGS)(function)
    context = dispatcher.targetctx
    context.refresh()
    try:
        result = cast(Any, CompileResult)._rebuild(context, *pickle.loads(packed))
    except Exception:  # an unreadable copy is worth a new compile, whatever the reason
        return None
    dispatcher.add_overload(result)
    return _closed(dispatcher, parameters)


def callee(function: FunctionType) -> Any:
    """`function` as other kernels see it: typed when they are compiled."""
    import numba

    return numba.njit(**_FLAGS)(for_numba(function))


def inlined(function: FunctionType) -> Any:
    """Like `callee`, but always inlined: a call inside a loop keeps LLVM from vectorising the loop."""
    import numba

    return numba.njit(forceinline=True, **_FLAGS)(for_numba(function))


def by_argument(choose: Callable[[str], Any]) -> Any:
    """A function of one number for which `choose` picks the body, given the name of the number's type."""
    from numba.extending import overload

    def chosen(x: Any) -> Any:
        raise NotImplementedError  # a name for Numba, never called

    def pick(x: Any) -> Any:
        body = choose(str(x))

        def call(x: Any) -> Any:  # Numba wants the signature of `pick`, letter by letter
            return body(x)

        return call

    overload(chosen, jit_options={"forceinline": True, **_FLAGS})(pick)
    return chosen


def emitted(emit: FunctionType) -> Any:
    """The function whose LLVM code `emit` writes."""
    from numba.extending import intrinsic

    return intrinsic(emit)


def for_numba(function: FunctionType) -> FunctionType:
    """A copy of `function` in which every helper it refers to stands in the form that Numba understands."""
    seen = {name: value.build() if isinstance(value, Helper) else value for name, value in references(function).items()}
    scope = {"__name__": function.__module__, "__builtins__": __builtins__, **seen}
    cells = tuple(CellType(seen[name]) for name in function.__code__.co_freevars)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    return cast(FunctionType, functools.update_wrapper(copy, function))


@functools.cache
def toolchain() -> tuple[object, ...]:
    """Everything outside a kernel that decides its machine code: versions, flags, switches, CPU."""
    import platform

    import llvmlite
    import numba
    from numba.core.registry import cpu_target

    switches = ("OPT", "BOUNDSCHECK", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DEBUGINFO_DEFAULT")
    return (
        (_FORMAT, numba.__version__, llvmlite.__version__, np.__version__),
        (platform.python_implementation(), *sys.version_info[:3]),
        tuple(_FLAGS.items()),
        tuple((name, getattr(numba.config, name, None)) for name in switches),
        cpu_target.target_context.codegen().magic_tuple(),  # triple, CPU name, CPU features
    )


@functools.cache  # asking LLVM takes 50 us, and every convolution wants to know the width of a vector
def cpu_features() -> str:
    """The instruction sets that kernels are compiled for, as LLVM writes them: "+avx2,-avx512f,..."."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple()[2])


def _numba_types(parameters: Sequence[Parameter], *, const: bool = True) -> tuple[Any, ...]:
    from numba import types

    def of(parameter: Parameter) -> Any:
        scalar = getattr(types, "boolean" if parameter.type == "bool" else parameter.type)
        if parameter.ndim is None:
            return scalar
        return types.Array(scalar, parameter.ndim, "C", readonly=const and parameter.const)

    return (types.intp, types.intp, *map(of, parameters))


def _closed(dispatcher: Any, parameters: Sequence[Parameter]) -> Compiled:
    """`dispatcher`, ready to be called and closed to further types."""
    if any(parameter.const for parameter in parameters):
        (result,) = dispatcher.overloads.values()
        # The same code once more under writable types: finding that those convert to const costs 6 us at each call.
        writable = [numba_type._code for numba_type in _numba_types(parameters, const=False)]
        dispatcher._insert(writable, result.entry_point, False)
    dispatcher.disable_compile()
    return cast(Compiled, dispatcher)


def _pack(dispatcher: Any) -> bytes | None:
    """The compiled code as bytes; None if it holds addresses of this process and so cannot be kept."""
    from numba.core import serialize

    (result,) = dispatcher.overloads.values()
    if result.library.has_dynamic_globals or result.lifted:
        return None
    return cast(bytes, cast(Any, serialize).dumps(result._reduce()))
