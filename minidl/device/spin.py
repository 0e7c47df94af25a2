"""Waiting for another thread without going to sleep: reading one number again and again, outside of Python's lock.

A thread that sleeps may take 200 us to wake on a virtual machine, longer than many kernels run; one that reads a number
notices its change at once, at the price of a busy core. So threads read for a short while, and then sleep.
"""

from __future__ import annotations

import platform
from typing import Any

from minidl.device.compile import kernel
from minidl.device.device import Array
from minidl.device.inline import intrinsic
from minidl.device.vectors import data_pointer, integer


def _pause(builder: Any) -> None:
    """Tell the processor that this is a waiting loop, where it has a word for that."""
    from llvmlite import ir
    from numba.core import cgutils

    if platform.machine().lower() in ("x86_64", "amd64"):
        kind = ir.FunctionType(ir.VoidType(), [])
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), [])


def _emit(typing_context: Any, flags: Any, i: Any, old: Any, rounds: Any, linger: Any) -> Any:
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        flags_, i, old, rounds, linger = args
        place = builder.gep(data_pointer(context, builder, flags, flags_), [i])
        before = builder.block
        names = ("look", "again", "seen", "stay", "leave")
        look, again, seen, stay, leave = (builder.append_basic_block(name) for name in names)
        builder.branch(look)
        builder.position_at_end(look)
        k = builder.phi(integer(0).type)
        k.add_incoming(integer(0), before)
        is_new = builder.icmp_signed("!=", builder.load_atomic(place, "monotonic", 8), old)
        is_over = builder.icmp_signed(">=", k, rounds)
        builder.cbranch(builder.or_(is_new, is_over), seen, again)
        builder.position_at_end(again)
        _pause(builder)
        k.add_incoming(builder.add(k, integer(1)), again)
        builder.branch(look)
        builder.position_at_end(seen)
        first = builder.select(is_new, integer(0), linger)
        builder.branch(stay)
        builder.position_at_end(stay)
        n = builder.phi(integer(0).type)
        n.add_incoming(first, seen)
        _pause(builder)
        n.add_incoming(builder.add(n, integer(1)), stay)
        builder.cbranch(builder.icmp_signed("<", n, linger), stay, leave)
        builder.position_at_end(leave)
        return context.get_dummy_value()

    return types.void(flags, types.intp, types.int64, types.intp, types.intp), code


@intrinsic(_emit)
def _wait(flags: Array, i: int, old: int, rounds: int, linger: int) -> None:
    """Return when flags[i] is no longer `old`, and `linger` rounds more have gone by; or after `rounds`."""


@kernel("int64[::1], int64, intp, intp")
def wait_while(begin: int, end: int, flags: Array, old: int, rounds: int, linger: int) -> None:
    """Wait while flags[begin] is `old`, for at most so many rounds of some 15 ns."""
    _wait(flags, begin, old, rounds, linger)
