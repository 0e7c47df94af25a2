"""What intrinsics that write LLVM share: the host's vector width, loads, stores and multiply-adds of whole vectors.

A vector is as wide as the host's registers: 16 float32 with AVX-512, 8 with AVX2, 4 on NEON and anywhere else; half as
many float64. Kernels learn the number by `lanes(array)`. All loads and stores carry the alignment of one number, so
that any element of an array may be the first; memory that is read often should still begin at a multiple of 64 bytes
(`aligned`), because a vector that lies across two cache lines costs two reads.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.device.dtypes import DType
from minidl.device.inline import Intrinsic, inline, intrinsic
from minidl.device.numba_backend import cpu_features

CACHE_LINE = 64  # bytes


@functools.cache
def vector_bytes() -> int:
    """Width of the vector registers that kernels are compiled for."""
    features = cpu_features()
    return 64 if "+avx512f" in features else 32 if "+avx2" in features else 16


@functools.cache
def lanes_of(dtype: DType) -> int:
    """How many numbers of this type a vector holds."""
    return vector_bytes() // dtype.itemsize


def registers() -> int:
    """How many vector registers there are."""
    features = cpu_features()
    return 32 if "+avx512f" in features or "+neon" in features else 16


def element_type(array: Any) -> Any:
    """LLVM's type for the elements of an array of this Numba type."""
    from llvmlite import ir

    return ir.FloatType() if array.dtype.bitwidth == 32 else ir.DoubleType()


def vector_type(array: Any) -> Any:
    """LLVM's type for a vector of such elements."""
    from llvmlite import ir

    return ir.VectorType(element_type(array), vector_bytes() * 8 // array.dtype.bitwidth)


def data_pointer(context: Any, builder: Any, array: Any, value: Any) -> Any:
    """The address of the first element; a pointer (see `pointers.py`) is one already."""
    from numba import types

    if isinstance(array, types.CPointer):
        return value
    return context.make_array(array)(context, builder, value).data


def integer(value: int) -> Any:
    """A constant of the type of indices."""
    from llvmlite import ir

    return ir.Constant(ir.IntType(64), value)


def offset_by(builder: Any, pointer: Any, *offsets: Any) -> Any:
    """`pointer`, so many elements further: the sum of `offsets`, numbers of Python or of the kernel."""
    for offset in offsets:
        pointer = builder.gep(pointer, [integer(offset) if isinstance(offset, int) else offset])
    return pointer


def load(builder: Any, vector: Any, pointer: Any) -> Any:
    """The vector that begins at `pointer`, an address of one element."""
    return builder.load(builder.bitcast(pointer, vector.as_pointer()), align=_alignment(vector))


def store(builder: Any, value: Any, pointer: Any) -> None:
    """Write a vector to `pointer`, an address of one element."""
    builder.store(value, builder.bitcast(pointer, value.type.as_pointer()), align=_alignment(value.type))


def mask_below(builder: Any, vector: Any, count: Any) -> Any:
    """A mask with the lanes below `count`, which may be negative or more than there are."""
    from llvmlite import ir

    numbers = ir.VectorType(ir.IntType(64), vector.count)
    steps = ir.Constant(numbers, list(range(vector.count)))
    return builder.icmp_signed("<", steps, splat(builder, numbers, count))


def load_masked(builder: Any, vector: Any, pointer: Any, mask: Any) -> Any:
    """Like `load`, but lanes outside `mask` are zero and their memory is not touched."""
    from llvmlite import ir
    from numba.core import cgutils

    place = builder.bitcast(pointer, vector.as_pointer())
    kind = ir.FunctionType(vector, [place.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.load.{_suffix(vector)}.p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [place, ir.Constant(ir.IntType(32), _alignment(vector)), mask, zeros(vector)])


def store_masked(builder: Any, value: Any, pointer: Any, mask: Any) -> None:
    """Like `store`, but only the lanes of `mask`."""
    from llvmlite import ir
    from numba.core import cgutils

    place = builder.bitcast(pointer, value.type.as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [value.type, place.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.store.{_suffix(value.type)}.p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [value, place, ir.Constant(ir.IntType(32), _alignment(value.type)), mask])


def load_gathered(builder: Any, vector: Any, pointer: Any, places: Any, mask: Any) -> Any:
    """The numbers at these places behind `pointer`, zero in lanes outside `mask`."""
    from llvmlite import ir
    from numba.core import cgutils

    addresses = _addresses(builder, pointer, places, _alignment(vector))
    kind = ir.FunctionType(vector, [addresses.type, ir.IntType(32), mask.type, vector])
    name = f"llvm.masked.gather.{_suffix(vector)}.v{vector.count}p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, [addresses, ir.Constant(ir.IntType(32), _alignment(vector)), mask, zeros(vector)])


def store_scattered(builder: Any, value: Any, pointer: Any, places: Any, mask: Any) -> None:
    """Write a vector to these places behind `pointer`, lane by lane; only the lanes of `mask`, if there is one."""
    from llvmlite import ir
    from numba.core import cgutils

    lanes = ir.VectorType(ir.IntType(1), value.type.count)
    mask = ir.Constant(lanes, [1] * lanes.count) if mask is None else mask
    addresses = _addresses(builder, pointer, places, _alignment(value.type))
    kind = ir.FunctionType(ir.VoidType(), [value.type, addresses.type, ir.IntType(32), mask.type])
    name = f"llvm.masked.scatter.{_suffix(value.type)}.v{value.type.count}p0"
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    builder.call(function, [value, addresses, ir.Constant(ir.IntType(32), _alignment(value.type)), mask])


def _addresses(builder: Any, pointer: Any, places: Any, size: int) -> Any:
    """The addresses of numbers of `size` bytes behind `pointer` (llvmlite's `gep` knows no vectors)."""
    from llvmlite import ir

    numbers = ir.VectorType(ir.IntType(64), places.type.count)
    begin = splat(builder, numbers, builder.ptrtoint(pointer, numbers.element))
    offsets = builder.mul(builder.sext(places, numbers), ir.Constant(numbers, [size] * numbers.count))
    return builder.inttoptr(builder.add(begin, offsets), ir.VectorType(pointer.type, numbers.count))


def rounded(builder: Any, value: Any, way: str) -> Any:
    """A vector through one of LLVM's functions of one number that are one instruction: "floor", "rint", "fabs"."""
    from llvmlite import ir
    from numba.core import cgutils

    kind = ir.FunctionType(value.type, [value.type])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{way}.{_suffix(value.type)}")
    return builder.call(function, [value])


def fetch(builder: Any, pointer: Any, *, to_write: bool = False) -> None:
    """Ask for the cache line at `pointer`, which need not exist, before it is needed."""
    from llvmlite import ir
    from numba.core import cgutils

    number, place = ir.IntType(32), ir.IntType(8).as_pointer()
    kind = ir.FunctionType(ir.VoidType(), [place, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    how, near, data = (ir.Constant(number, value) for value in (int(to_write), 3, 1))
    builder.call(prefetch, [builder.bitcast(pointer, place), how, near, data])


def fetch_to_write(builder: Any, vector: Any, rows: list[Any], vectors: int) -> None:
    """Ask for the lines of `vectors` vectors of each row, which will be written.

    A line that is written has to come from memory first, and the processor asks for one after the other when they are
    written. Asked for when a sum begins, all are there when it ends: on two cores of a Zen 4, to results that had left
    the caches, 4608×32 times 32×128 took 0.35 ms, not 0.46, 25088×64 times 64×64 1.73, not 2.00, 1×1 convolutions of 64
    channels 1.94, not 2.45, and 512³ 1.96, not 2.02. (Behind Winograd's transforms, which write sooner, it gained 2 %
    in a convolution and nothing in a net.)
    """
    for row in rows:
        for v in range(vectors):
            fetch(builder, offset_by(builder, row, v * vector.count), to_write=True)


def fetch_lines(builder: Any, pointer: Any, count: Any) -> Any:
    """`fetch` so many lines, and give the address behind them."""
    line = CACHE_LINE // _bytes_of(pointer.type.pointee)

    def one(k: Any, at: list[Any]) -> list[Any]:
        fetch(builder, at[0])
        return [offset_by(builder, at[0], line)]

    return counted_loop(builder, integer(0), count, 1, [pointer], one, hide=True)[1][0]


def splat(builder: Any, vector: Any, value: Any) -> Any:
    """A vector with `value` in every lane."""
    from llvmlite import ir

    single = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(single, ir.Constant(vector, ir.Undefined), lanes)


def multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    """a * b + c: one instruction with one rounding where the host has it, two instructions elsewhere.

    (`llvm.fma` instead would call a function for each number where the host has no such instruction. llvmlite's
    `declare_intrinsic` does not take vector types, hence by name.)
    """
    from llvmlite import ir
    from numba.core import cgutils

    kind = ir.FunctionType(a.type, [a.type] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.{_suffix(a.type)}")
    return builder.call(function, [a, b, c])


def hidden(builder: Any, index: Any) -> Any:
    """`index`, with no hint of how it came about.

    Else LLVM makes an index of its own of each address in a loop, and with eight of them they live on the stack; and it
    unrolls loops that are unrolled already.
    """
    from llvmlite import ir

    same = ir.InlineAsm(ir.FunctionType(index.type, [index.type]), "", "=r,0")
    return builder.call(same, [index])


def counted_loop(
    builder: Any, begin: Any, end: Any, step: int, values: list[Any], body: Any, *, hide: bool = False
) -> tuple[Any, list[Any]]:
    """for k in range(begin, end, step): values = body(k, values); gives the k that ended it, and the values.

    With `hide`, LLVM takes the loop as it is written.
    """
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(begin.type)
    k.add_incoming(begin, before)
    carried = [builder.phi(value.type) for value in values]
    for phi, value in zip(carried, values, strict=True):
        phi.add_incoming(value, before)
    builder.cbranch(builder.icmp_signed("<", k, end), inside, after)
    builder.position_at_end(inside)
    new = body(k, carried)
    following = builder.add(k, integer(step))
    k.add_incoming(hidden(builder, following) if hide else following, builder.block)
    for phi, value in zip(carried, new, strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return k, carried


def zeros(vector: Any) -> Any:
    """A vector of zeros."""
    from llvmlite import ir

    return ir.Constant(vector, None)


def _suffix(vector: Any) -> str:
    from llvmlite import ir

    kind = "i" if isinstance(vector.element, ir.IntType) else "f"
    return f"v{vector.count}{kind}{8 * _alignment(vector)}"


def _alignment(vector: Any) -> int:
    """Bytes of one element."""
    return _bytes_of(vector.element)


def _bytes_of(element: Any) -> int:
    from llvmlite import ir

    if isinstance(element, ir.IntType):
        return int(element.width // 8)
    return 4 if isinstance(element, ir.FloatType) else 8


def _emit_lanes(typing_context: Any, array: Any) -> Any:
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return integer(vector_type(array).count)

    return types.intp(array), code


@intrinsic(_emit_lanes)
def lanes(array: Any) -> int:
    """How many numbers of an array's type a vector holds, as a constant of the compiled kernel."""
    return lanes_of(array.dtype)


def host_number(rule: Callable[..., int], *args: Any) -> Intrinsic:
    """The intrinsic () that gives `rule(*args)`, such as the rows of a tile, as a constant of the compiled kernel."""

    def emit(typing_context: Any) -> Any:
        from numba.core import types

        value = rule(*args)
        return types.intp(), lambda context, builder, signature, arguments: integer(value)

    return intrinsic(emit)(lambda: rule(*args))


@inline
def aligned(array: Any) -> Any:
    """The first index of a one-dimensional array whose element begins a cache line."""
    return -np.intp(array.ctypes.data) % CACHE_LINE // array.itemsize


def aligned_empty(size: int, dtype: DType) -> Any:
    """A new one-dimensional array of `size` numbers that begins a cache line."""
    room = np.empty(size + CACHE_LINE // dtype.itemsize, dtype)
    first = aligned(room)
    return room[first : first + size]
