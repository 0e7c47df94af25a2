"""Many arrays in one call of a kernel: their addresses in one table, their numbers read and written as tuples.

A kernel's signature names each array it takes; what works on all the weights of a net at once cannot. It takes a table
made by `cells` instead, one row for each role (weight, gradient, ...) and one column for each weight:

    pointers = pointers_at(table, column, like, roles)
    for i in range(size):
        put(pointers, i, rule(*taken(pointers, i)))

A tuple in the place of `roles` says by its length how many rows there are: its type is known when a kernel is compiled.
The arrays of one column must not overlap; LLVM is told so, and turns the loop into vector instructions.

A kernel that takes a few arrays, whatever their shapes, gets the cell of each as a number, which costs a call 70 ns:

    out, x = pointers_in((out_cell, x_cell), like)    # from call(..., cell_of(out), cell_of(x))
"""

from __future__ import annotations

import ctypes
import functools
import struct
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minidl.device.inline import intrinsic

# NumPy's array objects begin with Python's header and the address of the data, in every version: compiled extensions
# read it there (numpy.org, C API, PyArrayObject).
_DATA_AT = object.__basicsize__


def cells(arrays: Sequence[np.ndarray[Any, Any]], rows: int) -> tuple[np.ndarray[Any, Any], Any]:
    """(rows, len(arrays) / rows) addresses of the memory cells in which the addresses of the arrays' data stand.

    The second value is to be kept, with the arrays, as long as the table is used. Asking NumPy for the address itself
    takes 2 us for each array; the array object is such a cell, and where it lies is known in 0.1 us.
    """
    if _array_objects_are_cells():
        addresses = _words(len(arrays)).pack(*[id(a) + _DATA_AT for a in arrays])
        return np.ndarray((rows, len(arrays) // rows), np.intp, addresses), arrays
    places = np.array([a.ctypes.data for a in arrays], np.intp)
    return places.ctypes.data + places.itemsize * np.arange(len(arrays)).reshape(rows, -1), places


@functools.cache
def _words(count: int) -> struct.Struct:
    """So many numbers of NumPy's intp, as bytes."""
    return struct.Struct(f"{count}n")


@functools.cache
def _array_objects_are_cells() -> bool:
    """Whether this Python and this NumPy lay arrays out as `_DATA_AT` says: two arrays are looked into."""
    two: list[Any] = [np.zeros(3), np.zeros((2, 2), np.float32)[1:]]
    if type(two[0]).__basicsize__ < _DATA_AT + ctypes.sizeof(ctypes.c_void_p):
        return False
    return all(ctypes.c_void_p.from_address(id(a) + _DATA_AT).value == a.ctypes.data for a in two)


_places: dict[int, np.ndarray[Any, Any]] = {}


def _place_of(array: np.ndarray[Any, Any]) -> int:
    """Another cell for an array that is none, which lives as long as the array."""
    key = id(array)
    if key not in _places:
        weakref.finalize(array, _places.pop, key)
    place = _places[key] = np.array([array.ctypes.data], np.intp)
    return int(place.ctypes.data) - _DATA_AT


# (array) -> what `pointers_in` takes, as long as the array lives.
cell_of: Callable[[np.ndarray[Any, Any]], int] = id if _array_objects_are_cells() else _place_of


def _emit_pointers_in(typing_context: Any, cells: Any, like: Any) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    pointer = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        place = context.get_value_type(pointer).as_pointer()
        found = []
        for cell in cgutils.unpack_tuple(builder, args[0], len(cells)):
            at = builder.add(cell, ir.Constant(cell.type, _DATA_AT))
            found.append(builder.load(builder.inttoptr(at, place)))
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(pointer, len(cells))(types.UniTuple(types.intp, len(cells)), like), generate


@intrinsic(_emit_pointers_in)
def pointers_in(cells: tuple[int, ...], like: Any) -> Any:
    """The pointers, to numbers of the type of `like`, that stand in cells that `cell_of` gave."""
    kind = ctypes.POINTER(np.ctypeslib.as_ctypes_type(like.dtype))
    return tuple([ctypes.cast(ctypes.c_void_p.from_address(int(cell) + _DATA_AT), kind) for cell in cells])


def _emit_pointers(typing_context: Any, table: Any, column: Any, like: Any, roles: Any) -> Any:
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils

    pointer = types.CPointer(like.dtype)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(table)(context, builder, args[0])
        width = cgutils.unpack_tuple(builder, array.shape, 2)[1]
        place = context.get_value_type(pointer).as_pointer()
        pointers = []
        for row in range(len(roles)):
            index = builder.add(builder.mul(ir.Constant(width.type, row), width), args[1])
            cell = builder.inttoptr(builder.load(builder.gep(array.data, [index])), place)
            pointers.append(builder.load(cell))
        return context.make_tuple(builder, signature.return_type, pointers)

    return types.UniTuple(pointer, len(roles))(table, column, like, roles), generate


@intrinsic(_emit_pointers)
def pointers_at(table: Any, column: int, like: Any, roles: tuple[int, ...]) -> Any:
    """The first len(roles) pointers of a column, to numbers of the type of `like`."""
    number = np.ctypeslib.as_ctypes_type(like.dtype)
    cells = [ctypes.c_void_p.from_address(int(cell)) for cell in table[: len(roles), column]]
    return tuple([ctypes.cast(cell, ctypes.POINTER(number)) for cell in cells])


def _emit_pointer_to(typing_context: Any, array: Any, index: Any) -> Any:
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(context.make_array(array)(context, builder, args[0]).data, [args[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic(_emit_pointer_to)
def pointer_to(array: Any, index: int) -> Any:
    """The pointer to a number of a one-dimensional array, which is to be kept as long as it is used.

    Numba lets an array that a kernel has made go where the kernel names it last, so such a pointer is taken inside the
    loop that uses it: the array is then kept to the loop's end.
    """
    number = np.ctypeslib.as_ctypes_type(array.dtype)
    return ctypes.cast(array.ctypes.data + int(index) * array.itemsize, ctypes.POINTER(number))


def _emit_words_at(typing_context: Any, address: Any) -> Any:
    from numba import types

    pointer = types.CPointer(types.uint64)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(types.int64), generate


@intrinsic(_emit_words_at)
def words_at(address: int) -> Any:
    """The pointer to unsigned words of 64 bits that begin at this address."""
    return ctypes.cast(int(address), ctypes.POINTER(ctypes.c_uint64))


def _emit_taken(typing_context: Any, pointers: Any, index: Any) -> Any:
    from numba import types
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        numbers = []
        for row, pointer in enumerate(cgutils.unpack_tuple(builder, args[0], len(pointers))):
            number = builder.load(builder.gep(pointer, [args[1]]))
            _without_overlap(builder, number, row, len(pointers))
            numbers.append(number)
        return context.make_tuple(builder, signature.return_type, numbers)

    return types.UniTuple(pointers.dtype.dtype, len(pointers))(pointers, index), generate


@intrinsic(_emit_taken)
def taken(pointers: Any, index: int) -> Any:
    """Number `index` behind each of the pointers."""
    return tuple([pointer[index] for pointer in pointers])


def _emit_put(typing_context: Any, pointers: Any, index: Any, numbers: Any) -> Any:
    from numba import types
    from numba.core import cgutils

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        places = cgutils.unpack_tuple(builder, args[0], len(pointers))
        values = cgutils.unpack_tuple(builder, args[2], len(numbers))
        for row, (pointer, value) in enumerate(zip(places, values, strict=False)):
            written = builder.store(value, builder.gep(pointer, [args[1]]))
            _without_overlap(builder, written, row, len(pointers))
        return context.get_dummy_value()

    return types.void(pointers, index, numbers), generate


@intrinsic(_emit_put)
def put(pointers: Any, index: int, numbers: Any) -> None:
    """Write the numbers to place `index` behind the first pointers, one each."""
    for pointer, number in zip(pointers, numbers, strict=False):
        pointer[index] = number


def _without_overlap(builder: Any, access: Any, row: int, rows: int) -> None:
    """Tell LLVM that what is read or written in one row lies in no other row of the column."""
    module = builder.module
    domain = module.add_metadata(["minidl columns"])
    scopes = [module.add_metadata([f"minidl row {k}", domain]) for k in range(rows)]
    access.set_metadata("alias.scope", module.add_metadata([scopes[row]]))
    if rows > 1:
        access.set_metadata("noalias", module.add_metadata([s for k, s in enumerate(scopes) if k != row]))


def _emit_unpacked(typing_context: Any, array: Any, roles: Any) -> Any:
    from llvmlite import ir
    from numba import types

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        places = [builder.gep(data, [ir.Constant(ir.IntType(64), k)]) for k in range(len(roles))]
        return context.make_tuple(builder, signature.return_type, [builder.load(place) for place in places])

    return types.UniTuple(array.dtype, len(roles))(array, roles), generate


@intrinsic(_emit_unpacked)
def unpacked(array: Any, roles: tuple[int, ...]) -> Any:
    """The first len(roles) numbers of an array, as a tuple."""
    return tuple([array[k] for k in range(len(roles))])
