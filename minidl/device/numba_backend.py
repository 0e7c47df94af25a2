"""All that this package asks of Numba: compile a function for given types, and turn the result into bytes and back.

Numba (0.3 s) and some of Python's own modules are imported inside the functions, so that minidl starts fast.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import CellType, FunctionType
from typing import Any, cast

import numpy as np

from minidl.device.fingerprint import Helper, fingerprint, references
from minidl.device.signature import Parameter
from minidl.errors import KernelError

_FORMAT = 5  # to be raised when this file or pipeline.py changes what a kernel is compiled to
# No fastmath: isnan must stay true, and the order of sums is part of the result. Division by zero is as in NumPy.
_FLAGS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}

Compiled = Callable[..., None]


def compile_kernel(function: FunctionType, parameters: Sequence[Parameter], name: str) -> Any:
    """What Numba makes of a kernel (begin, end, *parameters): `run` of `pipeline.py`.

    Raises:
        KernelError: with Numba's reason, if it cannot be compiled.
    """
    from minidl.device.pipeline import KernelCompiler

    return _compiled(function, parameters, name, pipeline_class=KernelCompiler)


def compile_routine(function: FunctionType, parameters: Sequence[Parameter], name: str) -> Any:
    """What Numba makes of a function of whole numbers.

    Raises:
        KernelError: with Numba's reason, if it cannot be compiled.
    """
    return _compiled(function, parameters, name)


def address(result: Any) -> int:
    """Where the code of a compiled function lies, for callers that follow C's rules."""
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name))


def unpack(packed: bytes) -> Any | None:
    """What was compiled, from its packed form; None if this Numba cannot read it.

    `packed` is in Numba's own format, which can run code: it must come from a place that only this user can write.
    """
    import pickle

    from numba.core.compiler import CompileResult
    from numba.core.registry import cpu_target
    from numba.core.runtime import rtsys

    context = cpu_target.target_context
    rtsys.initialize(context)  # compiled code calls it; all that only compiling needs (0.25 s) is left out
    try:
        return cast(Any, CompileResult)._rebuild(context, *pickle.loads(packed))
    except Exception:  # an unreadable copy is worth a new compile, whatever the reason
        return None


def callee(function: FunctionType) -> Any:
    """`function` as other kernels see it: typed when they are compiled."""
    return _callee(function)


def inlined(function: FunctionType) -> Any:
    """Like `callee`, but always inlined: a call inside a loop keeps LLVM from vectorising the loop."""
    return _callee(function, forceinline=True)


def _callee(function: FunctionType, **how: Any) -> Any:
    import numba

    from minidl.device.pipeline import CalleeCompiler

    dispatcher: Any = numba.njit(pipeline_class=CalleeCompiler, **how, **_FLAGS)(for_numba(function))
    fold = dispatcher._compiler.fold_argument_types

    def widened(args: Any, names: Any) -> Any:
        signature, folded = fold(args, names)
        return signature, tuple(map(numba.types.unliteral, folded))

    # Numba would compile a function anew for each constant that it is called with; LLVM sees constants anyway.
    dispatcher._compiler.fold_argument_types = widened
    return dispatcher


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
    """A copy of `function` in which every helper it refers to stands in the form that Numba understands.

    Functions that one function makes have one name, and Numba tells them apart by a number that it counts up in each
    process. Copies that were compiled in two processes may have the same number, and the linker would take the code of
    one for the other. So such a function bears a digest of its code in its name.
    """
    seen = {name: value.build() if isinstance(value, Helper) else value for name, value in references(function).items()}
    scope = {"__name__": function.__module__, "__builtins__": __builtins__, **seen}
    cells = tuple(CellType(seen[name]) for name in function.__code__.co_freevars)
    copy = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, cells)
    functools.update_wrapper(copy, function)
    if cells:
        copy.__qualname__ += f"_{fingerprint(function).hex()[:16]}"
    return copy


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


@functools.cache
def converts_half() -> bool:
    """Whether this processor converts float16; without, LLVM would call a function that is not there."""
    import platform

    return platform.machine().lower() in ("aarch64", "arm64") or "+f16c" in cpu_features()


def _numba_types(parameters: Sequence[Parameter], *, const: bool = True) -> tuple[Any, ...]:
    from numba import types

    def of(parameter: Parameter) -> Any:
        scalar = getattr(types, "boolean" if parameter.type == "bool" else parameter.type)
        if parameter.ndim is None:
            return scalar
        return types.Array(scalar, parameter.ndim, "C", readonly=const and parameter.const)

    return (types.intp, types.intp, *map(of, parameters))


def _compiled(function: FunctionType, parameters: Sequence[Parameter], name: str, **how: Any) -> Any:
    import numba

    dispatcher: Any = numba.njit(**how, **_FLAGS)(for_numba(function))
    try:
        with _no_collecting():
            return dispatcher._compiler.compile(_numba_types(parameters), None)
    except numba.core.errors.NumbaError as error:
        types, reason = ", ".join(map(str, parameters)), re.sub(r"\x1b\[\d*m", "", str(error))  # without colours
        raise KernelError(f"kernel {name}: Numba cannot compile it for ({types}): {reason}") from error


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Leave cyclic garbage for later: a compile makes many small objects that live to its end, and Python would look
    through all of them again and again (15 per cent of the time)."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def entry(result: Any, parameters: Sequence[Parameter]) -> Compiled:
    """What calls a compiled kernel, after a look at the types of the arguments, and nothing else."""
    import numba

    names = tuple(f"a{i}" for i in range(len(result.signature.args)))
    code = _nothing.__code__.replace(co_argcount=len(names), co_nlocals=len(names), co_varnames=names)
    dispatcher: Any = numba.njit(**_FLAGS)(FunctionType(code, {}, result.fndesc.qualname))
    dispatcher.add_overload(result)
    if any(parameter.const for parameter in parameters):
        # The same code once more under writable types: finding that those convert to const costs 6 us at each call.
        fixed = len(names) - len(parameters)
        writable = (*result.signature.args[:fixed], *_numba_types(parameters, const=False)[2:])
        dispatcher._insert([numba_type._code for numba_type in writable], result.entry_point, False)
    dispatcher.disable_compile()
    return cast(Compiled, dispatcher)


def _nothing() -> None:
    """The body of a function that is never compiled: it lends its form to those that are."""


def pack(result: Any) -> bytes | None:
    """The compiled code as bytes; None if it holds addresses of this process and so cannot be kept."""
    from numba.core import serialize

    library = result.library
    if library.has_dynamic_globals or result.lifted:
        return None
    (name, kind, (machine_code, _)), *rest = result._reduce()
    state = (name, kind, (machine_code, _names_alone(library)))
    return cast(bytes, cast(Any, serialize).dumps((state, *rest)))


def _names_alone(library: Any) -> bytes:
    """A module in LLVM's bitcode in which all that `library` defines is empty.

    Numba keeps the code once more as bitcode, from which others may inline it. Nobody does here: kernels call helpers,
    which are compiled with them. Reading it took a quarter of the time in which a kernel is loaded.
    """
    from llvmlite import binding

    module = library._final_module
    functions = [f'define void @"{f.name}"() {{ ret void }}' for f in module.functions if not f.is_declaration]
    variables = [f'@"{v.name}" = global i8 0' for v in module.global_variables if not v.is_declaration]
    return cast(bytes, binding.parse_assembly("\n".join(functions + variables)).as_bitcode())
