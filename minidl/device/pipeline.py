"""Numba's compiler with two things added.

It knows that the range a kernel works on does not start below zero. Otherwise every `x[i]` might mean `x[len(x) + i]`,
so LLVM reads each element through a choice between two addresses instead of loading eight at once (float32 exp: 1.9 ns
a number instead of 0.5).

And what Python calls is not the kernel but `run`, which lets a crew of threads (`crew.py`) share out its blocks. Two
small functions are written beside each kernel for that:

    run(share, board, helpers, block, apart, begin, end, *args):
        place = args, as they lie in registers, in memory
        return share(board, piece, place, begin, end, block, helpers) if share else piece(place, 0, begin, end)

    piece(place, number, begin, end):      # number: of the thread
        arrays of the args have no count of their users
        the last array of the args = `apart` numbers of it, from number * apart on; all of it if `apart` is 0
        return status of kernel(begin, end, *args)

What kernels call is only linked into them. Numba would make each such function faster, turn it into machine code and
write two wrappers for callers from outside as well: a fifth of all the time that a U-Net's kernels take to compile.

Imported only when a kernel is compiled.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir as llvm
from numba import _dynfunc
from numba.core import ir, types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.lowering import Lower
from numba.core.typed_passes import BaseNativeLowering, NativeLowering

_LARGEST_INDEX = (1 << 47) - 1  # addresses have no more bits; small enough that begin + (end - begin) cannot overflow
_WORD = llvm.IntType(64)
RUN = ("share", "board", "helpers", "block", "apart", "begin", "end")  # what `run` takes before the args


class _KernelLower(Lower):
    def lower_assign(self, ty: Any, inst: Any) -> Any:
        value = super().lower_assign(ty, inst)
        if isinstance(inst.value, ir.Arg) and inst.value.index < 2 and isinstance(value.type, llvm.IntType):
            return self.builder.and_(value, llvm.Constant(value.type, _LARGEST_INDEX))
        return value

    def create_cpython_wrapper(self, release_gil: bool = False) -> None:
        """Wrap `run` for Python, and not the kernel: from here on `fndesc` describes that."""
        module = self.context.create_module("run")
        args = self.fndesc.argtypes[2:]
        piece = _write_piece(self.context, module, self.context.declare_function(module, self.fndesc), args)
        self.fndesc.mangled_name += "_run"
        self.fndesc.args = [*RUN, *self.fndesc.args[2:]]
        self.fndesc.argtypes = (*[types.intp] * len(RUN), *args)
        self.fndesc.restype = types.intp
        _write_run(self.context, self.context.declare_function(module, self.fndesc), self.fndesc.argtypes, piece)
        self.library.add_ir_module(module)
        super().create_cpython_wrapper(release_gil)


def _write_piece(context: Any, module: Any, kernel: Any, args: tuple[Any, ...]) -> Any:
    """piece(place, number, begin, end, apart), which calls the kernel on arguments that lie in memory."""
    piece = llvm.Function(module, llvm.FunctionType(_WORD, [_WORD] * 4), f"{kernel.name}_piece")
    piece.linkage = "internal"
    builder = llvm.IRBuilder(piece.append_basic_block())
    place, number, begin, end = piece.args
    kept = builder.load(builder.inttoptr(place, _kept_type(context, args).as_pointer()))
    apart, *values = (builder.extract_value(kept, i) for i in range(len(args) + 1))
    values = [_uncounted(context, builder, kind, value) for kind, value in zip(args, values, strict=True)]
    if args and isinstance(args[-1], types.Array) and args[-1].ndim == 1:
        array = context.make_array(args[-1])(context, builder, values[-1])
        array.data = builder.gep(array.data, [builder.mul(number, apart)])
        is_shared = builder.icmp_unsigned("==", apart, _WORD(0))
        array.nitems = builder.select(is_shared, array.nitems, apart)
        array.shape = builder.insert_value(array.shape, array.nitems, 0)
        values[-1] = array._getvalue()
    status, _ = context.call_conv.call_function(
        builder, kernel, types.none, (types.intp, types.intp, *args), [begin, end, *values]
    )
    builder.ret(builder.zext(status.is_error, _WORD))
    return piece


def _uncounted(context: Any, builder: Any, kind: Any, value: Any) -> Any:
    """An argument that is an array, with nobody who counts its users: it outlives the kernel, which Python called.

    Else each slice of it is counted in one word of memory, which two threads write in turns, 50 ns each.
    """
    if not isinstance(kind, types.Array):
        return value
    array = context.make_array(kind)(context, builder, value)
    array.meminfo = llvm.Constant(array.meminfo.type, None)
    return array._getvalue()


def _write_run(context: Any, run: Any, argtypes: tuple[Any, ...], piece: Any) -> None:
    """run(share, board, helpers, block, apart, begin, end, *args)."""
    builder = llvm.IRBuilder(run.append_basic_block())
    given = context.call_conv.decode_arguments(builder, argtypes, run)
    share, board, helpers, block, apart, begin, end, *args = given
    kept = llvm.Constant(_kept_type(context, argtypes[len(RUN) :]), llvm.Undefined)
    for i, value in enumerate((apart, *args)):
        kept = builder.insert_value(kept, value, i)
    room = builder.alloca(kept.type)
    builder.store(kept, room)
    place = builder.ptrtoint(room, _WORD)
    with builder.if_then(builder.icmp_unsigned("==", share, _WORD(0))):
        context.call_conv.return_value(builder, builder.call(piece, [place, _WORD(0), begin, end]))
    shared = builder.inttoptr(share, llvm.FunctionType(_WORD, [_WORD] * 7).as_pointer())
    code = builder.ptrtoint(piece, _WORD)
    context.call_conv.return_value(builder, builder.call(shared, [board, code, place, begin, end, block, helpers]))


def _kept_type(context: Any, args: tuple[Any, ...]) -> Any:
    """`apart` and the arguments of a kernel, side by side in memory."""
    return llvm.LiteralStructType([_WORD, *(context.get_value_type(t) for t in args)])


@register_pass(mutates_CFG=True, analysis_only=False)
class _KernelLowering(BaseNativeLowering):
    _name = "minidl_kernel_lowering"

    @property
    def lowering_class(self) -> type[Lower]:
        return _KernelLower

    def run_pass(self, state: Any) -> bool:
        state.flags.no_cfunc_wrapper = True
        super().run_pass(state)
        state.args, state.return_type = state["cr"].fndesc.argtypes, types.intp
        return True


class KernelCompiler(CompilerBase):
    """The pipeline for kernels: the first two arguments are a range (begin, end) of indices."""

    def define_pipelines(self) -> list[Any]:
        return [_pipeline(self.state, _KernelLowering)]


class _Part(JITCodeLibrary):
    """The code of a function that kernels call: tidied by LLVM's quick passes, the rest is done to whole kernels.

    (Without the quick passes compiling takes 3 per cent less time, but `tanh` then runs 4 per cent slower.)
    """

    def _optimize_final_module(self) -> None:
        """Nothing: the kernel's turn comes."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _CalleeLowering(BaseNativeLowering):
    _name = "minidl_callee_lowering"

    @property
    def lowering_class(self) -> Any:
        return Lower

    def run_pass(self, state: Any) -> bool:
        flags = state.flags
        flags.no_cpython_wrapper = flags.no_cfunc_wrapper = flags.no_compile = True
        state.library = _Part(state.targetctx.codegen(), state.func_id.func_qualname)
        super().run_pass(state)
        lowered = state["cr"]
        # Numba knows a compiled function by the object that Python would call; this one stands for no code.
        name = _dynfunc.make_function(lowered.fndesc.lookup_module(), lowered.fndesc.qualname, "", 0, lowered.env, ())
        state.targetctx.insert_user_function(name, lowered.fndesc, [state.library])
        state.reload_init.extend(state.library._reload_init)
        state["cr"] = lowered._replace(cfunc=name)
        return True


class CalleeCompiler(CompilerBase):
    """The pipeline for functions that kernels call."""

    def define_pipelines(self) -> list[Any]:
        return [_pipeline(self.state, _CalleeLowering)]


def _pipeline(state: Any, lowering: type[BaseNativeLowering]) -> Any:
    """Numba's pipeline with another last step."""
    passes = DefaultPassBuilder.define_nopython_pipeline(state)
    passes.add_pass_after(lowering, NativeLowering)
    passes.passes = [entry for entry in passes.passes if entry[0] is not NativeLowering]
    passes._finalized = False
    passes.finalize()
    return passes
