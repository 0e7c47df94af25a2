"""Copying, adding and clearing lines of numbers between arrays, by flat index, for kernels that move many short ones.

Numba compiles `target[a:b] = source[c:d]` anew for every pair of array types, and makes two array descriptors at every
call. Here a line is an array of any number of dimensions, the index of a number counted through the whole of it, and a
length; the loop is a function of the compiled kernel that all its calls share.
"""

from __future__ import annotations

from typing import Any

from minidl.device.inline import Intrinsic, intrinsic
from minidl.device.vectors import (
    CACHE_LINE,
    counted_loop,
    data_pointer,
    fetch,
    integer,
    load,
    splat,
    store,
    vector_type,
)

READING = ("move", "add")  # what reads a whole line


def _lines(name: str, python: Any) -> Intrinsic:
    """The function (target, to, source, at, count) called `name`."""

    def emit(typing_context: Any, target: Any, to: Any, source: Any, at: Any, count: Any) -> Any:
        from numba.core import types

        def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            there = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
            here = builder.gep(data_pointer(context, builder, source, args[2]), [args[3]])
            builder.call(_function(builder, vector_type(target), name), [there, here, args[4]])
            return context.get_dummy_value()

        return types.void(target, types.intp, source, types.intp, types.intp), code

    return intrinsic(emit)(python)


def _function(builder: Any, vector: Any, name: str) -> Any:
    from llvmlite import ir

    full_name = f"minidl.lines.{name}.{vector.element}"
    if full_name in builder.module.globals:
        return builder.module.globals[full_name]
    pointer = vector.element.as_pointer()
    function = ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), [pointer, pointer, ir.IntType(64)]), full_name
    )
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    there, here, count = function.args
    inner = ir.IRBuilder(function.append_basic_block())

    number = inner.load(here) if name == "repeat" else ir.Constant(vector.element, 0.0)
    filled = splat(inner, vector, number)

    def vectors(k: Any, nothing: list[Any]) -> list[Any]:
        to, value = inner.gep(there, [k]), filled
        if name in READING:
            value = load(inner, vector, inner.gep(here, [k]))
        store(inner, inner.fadd(load(inner, vector, to), value) if name == "add" else value, to)
        return nothing

    def singles(k: Any, nothing: list[Any]) -> list[Any]:
        to, value = inner.gep(there, [k]), number
        if name in READING:
            value = inner.load(inner.gep(here, [k]))
        inner.store(inner.fadd(inner.load(to), value) if name == "add" else value, to)
        return nothing

    if name == "fetch":
        _write_fetch(inner, here, count, CACHE_LINE * 8 // (32 if isinstance(vector.element, ir.FloatType) else 64))
        return function
    whole = inner.and_(count, integer(-vector.count))
    counted_loop(inner, integer(0), whole, vector.count, [], vectors)
    counted_loop(inner, whole, count, 1, [], singles)
    inner.ret_void()
    return function


def _move_lines_function(builder: Any, vector: Any) -> Any:
    """The function (there, step_there, here, step_here, lines, count) that all calls share."""
    from llvmlite import ir

    full_name = f"minidl.lines.move_many.{vector.element}"
    if full_name in builder.module.globals:
        return builder.module.globals[full_name]
    pointer, number = vector.element.as_pointer(), ir.IntType(64)
    kind = ir.FunctionType(ir.VoidType(), [pointer, number, pointer, number, number, number])
    function = ir.Function(builder.module, kind, full_name)
    function.linkage = "linkonce_odr"
    function.attributes.add("noinline")
    there, step_there, here, step_here, lines, count = function.args
    inner = ir.IRBuilder(function.append_basic_block())

    def move(size: int) -> None:
        """All lines, in vectors of `size` numbers; the last one of a line may overlap the one before."""
        part = ir.VectorType(vector.element, size)
        last = inner.sub(count, integer(size))

        def one(line: Any, nothing: list[Any]) -> list[Any]:
            to = inner.gep(there, [inner.mul(line, step_there)])
            at = inner.gep(here, [inner.mul(line, step_here)])

            def copy(k: Any, nothing: list[Any]) -> list[Any]:
                store(inner, load(inner, part, inner.gep(at, [k])), inner.gep(to, [k]))
                return nothing

            if size == vector.count:
                counted_loop(inner, integer(0), last, size, [], copy)
            elif size > 1:
                copy(integer(0), nothing)
            return copy(last, nothing)

        counted_loop(inner, integer(0), lines, 1, [], one, hide=True)
        inner.ret_void()

    size = vector.count
    while size > 1:
        with inner.if_then(inner.icmp_signed(">=", count, integer(size))):
            move(size)
            inner.position_at_end(inner.append_basic_block())
            inner.unreachable()
        size //= 2
    move(1)
    return function


def _write_fetch(builder: Any, here: Any, count: Any, line: int) -> None:
    def one(k: Any, nothing: list[Any]) -> list[Any]:
        fetch(builder, builder.gep(here, [k]))
        return nothing

    counted_loop(builder, integer(0), count, line, [], one)
    builder.ret_void()


def _python_fetch(target: Any, to: int, source: Any, at: int, count: int) -> None:
    pass


def _python_move(target: Any, to: int, source: Any, at: int, count: int) -> None:
    target.reshape(-1)[to : to + count] = source.reshape(-1)[at : at + count]


def _python_add(target: Any, to: int, source: Any, at: int, count: int) -> None:
    target.reshape(-1)[to : to + count] += source.reshape(-1)[at : at + count]


def _python_clear(target: Any, to: int, source: Any, at: int, count: int) -> None:
    target.reshape(-1)[to : to + count] = 0


def _python_repeat(target: Any, to: int, source: Any, at: int, count: int) -> None:
    target.reshape(-1)[to : to + count] = source.reshape(-1)[at]


move_line = _lines("move", _python_move)
add_line = _lines("add", _python_add)
clear_line = _lines("clear", _python_clear)  # `source` and `at` are not looked at
repeat_number = _lines("repeat", _python_repeat)  # the number at `at`, `count` times
# Ask for the line of `source`, which need not exist, before it is needed; `target` and `to` are not looked at.
fetch_line = _lines("fetch", _python_fetch)


def _emit_first_aligned(typing_context: Any, array: Any) -> Any:
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        address = builder.ptrtoint(data_pointer(context, builder, array, args[0]), integer(0).type)
        beyond = builder.and_(builder.neg(address), integer(CACHE_LINE - 1))
        return builder.udiv(beyond, integer(array.dtype.bitwidth // 8))

    return types.intp(array), code


@intrinsic(_emit_first_aligned)
def first_aligned(array: Any) -> int:
    """The first index of a one-dimensional array whose element begins a cache line."""
    return int(-array.ctypes.data % CACHE_LINE // array.itemsize)


def _emit_move_lines(
    typing_context: Any, target: Any, to: Any, step_to: Any, source: Any, at: Any, step_at: Any, lines: Any, count: Any
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        there = builder.gep(data_pointer(context, builder, target, args[0]), [args[1]])
        here = builder.gep(data_pointer(context, builder, source, args[3]), [args[4]])
        function = _move_lines_function(builder, vector_type(target))
        builder.call(function, [there, args[2], here, *args[5:]])
        return context.get_dummy_value()

    number = types.intp
    return types.void(target, number, number, source, number, number, number, number), code


@intrinsic(_emit_move_lines)
def move_lines(
    target: Any, to: int, step_to: int, source: Any, at: int, step_at: int, lines: int, count: int
) -> None:  # fmt: skip
    """target[to + l * step_to + k] = source[at + l * step_at + k] for l < lines and k < count, which is at least 1."""
    for line in range(lines):
        for k in range(count):
            target[to + line * step_to + k] = source[at + line * step_at + k]
