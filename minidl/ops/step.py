"""The house of optimiser steps: what all of them share. A row (see `steps.py`) is a formula and its coefficients.

One call changes all the weights of a group: their numbers are walked through as if they were one array, so that a net
of 62 tensors costs one launch, and threads share large and small tensors evenly. Rules are element-wise, so results do
not depend on where that walk is cut.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType
from typing import Any, ClassVar, cast

import numpy as np

from minidl.core import Array, Spec, Tensor, UpdateOp, launch, settle
from minidl.core.versions import note_changes
from minidl.core.way import common_device, select_kernel
from minidl.device import CudaKernels, Kernel, inline, kernel, parallel
from minidl.device.cuda import BLOCK
from minidl.device.dtypes import DType, in_float32, is_narrow, round_back
from minidl.device.pointers import cells, pointers_at, put, taken, unpacked
from minidl.errors import DTypeError, ShapeError

__all__: list[str] = []  # rows are reached by the optimisers, and by the functions of their rooms

Columns = Sequence[Sequence[Array]]
CUDA = CudaKernels(__file__, "step.cuh")
WEIGHTS, ROLES, COEFFICIENTS = 64, 5, 16  # as in step.cuh


@functools.cache
def _table(dtype: DType) -> DType:
    """The structure `Table` of step.cuh."""
    fields: Any = [
        ("arrays", np.uint64, (ROLES, WEIGHTS)),
        ("starts", np.int64, WEIGHTS + 1),
        ("coefficients", dtype, COEFFICIENTS),
    ]
    table: DType = np.dtype(fields, align=True)
    return table


class Step(UpdateOp):
    """Base of optimiser steps. A subclass gives `name`, `rule` and `coefficients`.

    `rule` takes a weight, what is remembered of it, its gradient under the name `grad`, and the coefficients; it gives
    the new weight and what to remember. (Without a `grad`, it takes one array and coefficients.) The same lines run on
    whole arrays (the reference) and, compiled, on one number after the other. Numbers in them must be coefficients: a
    literal would be float64 and slow float32 down.
    """

    # (weight, *remembered, grad, *coefficients) -> (weight, *remembered)
    rule: ClassVar[Callable[..., Any]]
    # (**settings) -> what follows `grad` in `rule`, by name; worked out once a step, in Python's double precision
    coefficients: ClassVar[Callable[..., dict[str, float]]]
    compiled: ClassVar[Kernel]
    arguments: ClassVar[tuple[str, ...]]
    columns: ClassVar[int]  # arrays of one weight: those that are changed, and the gradient

    def __init_subclass__(cls) -> None:
        cls.arguments = tuple(inspect.signature(cls.rule).parameters)
        reads = "grad" in cls.arguments
        cls.updates = cls.arguments.index("grad") if reads else 1
        cls.columns = cls.updates + reads
        cls.compiled = _walk(cls.name, cls.rule, cls.columns, len(cls.arguments))
        super().__init_subclass__()

    @classmethod
    def infer(cls, param: Spec, *others: Spec) -> None:
        """See that all that a step reads and writes has the shape and type of the weight."""
        for name, spec in zip(cls.arguments[1:], others, strict=False):
            if spec.shape != param.shape:
                raise ShapeError(f"{cls.name}: {name} must have the shape of param, {param.shape}, got {spec.shape}")
            if spec.dtype != param.dtype:
                raise DTypeError(f"{cls.name}: {name} must have the type of param, {param.dtype}, got {spec.dtype}")

    @classmethod
    def reference(cls, xp: Any, out: tuple[Array, ...], *grads: Array, **settings: Any) -> None:
        numbers, count = cls.coefficients(**settings), len(out) // cls.updates
        for column in range(count):
            changed = out[column::count]
            for array, value in zip(changed, cls.rule(*changed, *grads[column::count], **numbers), strict=True):
                array[...] = value

    @classmethod
    def cpu(cls, out: tuple[Array, ...], *grads: Array, **settings: Any) -> None:
        table, _kept = cells(out + grads, cls.columns)
        starts = np.array([0, *itertools.accumulate([a.size for a in out[: table.shape[1]]])], np.intp)
        values = cls.coefficients(**settings)
        numbers = np.array([values[name] for name in cls.arguments[cls.columns :]], out[0].dtype)
        n = int(starts[-1])
        parallel(cls.compiled, n, table, starts, numbers, size=n * out[0].itemsize * cls.columns)

    @classmethod
    def cuda(cls, out: tuple[Array, ...], *grads: Array, **settings: Any) -> None:
        """Up to `WEIGHTS` weights a launch: what a launch takes by value has to fit into 4 KB."""
        arrays, count, dtype = out + grads, len(out) // cls.updates, out[0].dtype
        addresses = np.array([a.data.ptr for a in arrays], np.uint64).reshape(-1, count)
        values = cls.coefficients(**settings)
        numbers = [values[name] for name in cls.arguments[cls.columns :]]
        for first in range(0, count, WEIGHTS):
            part = addresses[:, first : first + WEIGHTS]
            sizes = [a.size for a in out[first : first + part.shape[1]]]
            total = sum(sizes)
            table = np.zeros((), _table(dtype))
            table["arrays"][: len(part), : len(sizes)] = part
            table["starts"][1:] = total  # no weight begins behind the last
            table["starts"][: len(sizes)] = [0, *itertools.accumulate(sizes[:-1])]
            table["coefficients"][: len(numbers)] = numbers
            CUDA.start(cls.name, dtype, total, total, -(-total // BLOCK), (table.tobytes(),))

    @classmethod
    def apply(cls, *columns: Sequence[Tensor], **settings: Any) -> None:  # type: ignore[override]  # lists, not tensors
        """Change many weights at once.

        Args:
            columns: the weights, then a list for each thing remembered of them, then the gradients; equally long.
            settings: what `coefficients` takes.

        Raises:
            ShapeError, DTypeError: if a weight and what belongs to it differ; nothing is changed then.
        """
        arrays = [[t.array for t in column] for column in columns]
        cls._check(arrays)
        for part in _alike(arrays, cls.updates):
            given = tuple(itertools.chain.from_iterable(part))
            changed = len(part[0]) * cls.updates
            settle(given[:changed])
            flat = tuple(map(in_float32, given)) if is_narrow(given[0].dtype) else given
            run = select_kernel(cls, common_device(cls.name, flat[:: len(part[0])]), flat[:changed], settings)
            launch(cls, functools.partial(run, **settings), flat[:changed], flat[changed:], settings)
            if flat is not given:
                round_back(flat, given[:changed])
            note_changes(given[:changed], cls.name)

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Any) -> bool:
        one_weight = arrays[:: len(arrays) // cls.updates]  # the others are of the same kind, see `_alike`
        return arrays[0].dtype in (np.float32, np.float64) and all(_is_plain(a) for a in one_weight)

    @classmethod
    def cuda_takes(cls, arrays: tuple[Array, ...], params: Any) -> bool:
        one_weight = arrays[:: len(arrays) // cls.updates]
        return arrays[0].dtype in (np.float32, np.float64) and all(_is_plain(a) for a in one_weight)

    @classmethod
    def _check(cls, arrays: Columns) -> None:
        """Compare whole columns: what they hold is only looked at one by one when they differ."""
        shapes, types = [a.shape for a in arrays[0]], [a.dtype for a in arrays[0]]
        for column in arrays[1:]:
            if [a.shape for a in column] != shapes or [a.dtype for a in column] != types:
                for weight in zip(*arrays, strict=True):
                    cls.infer(*[Spec(a.shape, a.dtype) for a in weight])


def _is_plain(array: Array) -> bool:
    """Whether a kernel may write to the numbers of an array one after the other."""
    return bool(array.flags.carray if isinstance(array, np.ndarray) else array.flags.c_contiguous)


@inline
def descent(param: Any, grad: Any, sign: Any, l2: Any, keep: Any) -> Any:
    """The decayed weight, and the direction to go against: what most rules begin with. See `decay`."""
    param = param * keep
    return param, sign * grad + l2 * param


def decay(lr: float, *, weight_decay: float, maximize: bool, decoupled: bool = False) -> dict[str, float]:
    """What `descent` multiplies by; `decoupled` decay shrinks the weight itself and leaves the gradient alone."""
    return {
        "sign": -1.0 if maximize else 1.0,
        "l2": 0.0 if decoupled else weight_decay,
        "keep": 1.0 - lr * weight_decay if decoupled else 1.0,
    }


def _alike(arrays: Columns, updates: int) -> Iterable[Columns]:
    """The columns cut up so that all arrays of a part have one place, type and memory order; mostly one part.

    Only the arrays that are changed matter, the first `updates` columns: gradients are copied where they must be.
    """
    changed = list(itertools.chain.from_iterable(arrays[:updates]))
    are_plain = set(map(type, changed)) <= {np.ndarray} and False not in [a.flags.carray for a in changed]
    if are_plain and len({a.dtype for a in changed}) == 1:
        yield arrays
        return
    parts: defaultdict[Any, list[Sequence[Array]]] = defaultdict(list)
    for weight in zip(*arrays, strict=True):
        kinds = {(type(a), a.dtype, _is_plain(a)) for a in weight[:updates]}
        parts[kinds.pop() if len(kinds) == 1 else len(parts)].append(weight)  # one that is mixed goes alone
    for weights in parts.values():
        yield list(zip(*weights, strict=True))


def _walk(name: str, rule: Callable[..., Any], arrays: int, arguments: int) -> Kernel:
    """The kernel that applies `rule` to numbers begin to end of all weights, counted through one after the other."""
    formula = inline(rule)
    roles, settings = (0,) * arrays, (0,) * (arguments - arrays)

    def step(begin: int, end: int, table: Any, starts: Any, coefficients: Any) -> None:
        numbers = unpacked(coefficients, settings)
        column = 0
        while starts[column + 1] <= begin:
            column += 1
        while begin < end:
            first, stop = starts[column], min(end, starts[column + 1])
            pointers = pointers_at(table, column, coefficients, roles)
            for i in range(begin - first, stop - first):
                put(pointers, i, formula(*(taken(pointers, i) + numbers)))
            begin = stop
            column += 1

    step.__name__ = step.__qualname__ = name
    declare = kernel("const intp[:, ::1], const intp[::1], const T[::1]", T=("float32", "float64"))
    return declare(cast(FunctionType, step))
