"""Words of memory that several threads read and write: the few instructions that `crew.py` is made of.

An address is a number, that of an 8-byte integer. Each function does its work in one step that no other thread can see
half done, and what was written before a `put` is seen by whoever reads the new value by `get`.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

from minidl.device.inline import intrinsic


def _word(address: int) -> ctypes.c_int64:
    return ctypes.c_int64.from_address(address)


def _place(builder: Any, address: Any) -> Any:
    return builder.inttoptr(address, address.type.as_pointer())


def _emit_get(typing_context: Any, address: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load_atomic(_place(builder, args[0]), "acquire", 8)

    return types.intp(types.intp), code


@intrinsic(_emit_get)
def get(address: int) -> int:
    """What stands there."""
    return _word(address).value


def _emit_put(typing_context: Any, address: Any, value: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store_atomic(args[1], _place(builder, args[0]), "release", 8)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp), code


@intrinsic(_emit_put)
def put(address: int, value: int) -> None:
    """Write `value`."""
    _word(address).value = value


def _emit_draw(typing_context: Any, address: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _place(builder, args[0]), args[0].type(1), "seq_cst")

    return types.intp(types.intp), code


@intrinsic(_emit_draw)
def draw(address: int) -> int:
    """The number that stands there, which grows by one: everybody draws another."""
    word = _word(address)
    word.value += 1
    return word.value - 1


def _emit_exchange(typing_context: Any, address: Any, old: Any, new: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address, old, new = args
        return builder.extract_value(builder.cmpxchg(_place(builder, address), old, new, "seq_cst"), 1)

    return types.boolean(types.intp, types.intp, types.intp), code


@intrinsic(_emit_exchange)
def exchange(address: int, old: int, new: int) -> bool:
    """Write `new` if `old` stands there, and say whether it did."""
    word = _word(address)
    is_there = word.value == old
    if is_there:
        word.value = new
    return is_there


def _emit_pause(typing_context: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if platform.machine().lower() in ("x86_64", "amd64"):
            _call(builder, "llvm.x86.sse2.pause")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic(_emit_pause)
def pause() -> None:
    """Tell the processor that this is a waiting loop, where it has a word for that."""


def _emit_make_way(typing_context: Any) -> Any:
    from numba import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if sys.platform != "win32":
            _call(builder, "sched_yield")
        return context.get_dummy_value()

    return types.void(), code


@intrinsic(_emit_make_way)
def make_way() -> None:
    """Let another thread have this core, if one wants it."""


def _call(builder: Any, name: str) -> None:
    from llvmlite import ir
    from numba.core import cgutils

    result = ir.VoidType() if name.startswith("llvm.") else ir.IntType(32)
    builder.call(cgutils.get_or_insert_function(builder.module, ir.FunctionType(result, []), name), [])


def _emit_call_piece(typing_context: Any, piece: Any, args: Any, number: Any, begin: Any, end: Any) -> Any:
    from llvmlite import ir
    from numba import types

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        word = values[0].type
        kind = ir.FunctionType(word, [word] * 4)
        return builder.call(builder.inttoptr(values[0], kind.as_pointer()), values[1:])

    return types.intp(*[types.intp] * 5), code


@intrinsic(_emit_call_piece)
def call_piece(piece: int, args: int, number: int, begin: int, end: int) -> int:
    """Call the function at address `piece` (`pipeline.py` writes it), and give its result."""
    words = [ctypes.c_int64] * 4
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, *words)(piece)(args, number, begin, end))
