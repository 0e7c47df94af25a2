"""Faults made by machine: the gradient that an op gives one of its inputs, changed a little; for every op and input.

The gallery shows what people get wrong; this asks whether the table of op tests has a row that would notice anything
at all. A mutant dies when one of the rows that use this gradient fails. In the same way the last number of every result
of every compiled kernel is changed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Call, Op, Tensor, launching, registry
from minidl.device.settings import changed
from minidl.errors import GradError, KernelError
from minidl.testing import CHECKS, check_gradient, does_not_apply
from tests.minidl.ops.cases import CASES

Change = Callable[[Tensor], Tensor]

CHANGES: dict[str, Change] = {
    "0.1 % too long": lambda g: g * 1.001,
    "of the wrong sign": lambda g: -g,
    "forgotten": lambda g: g * 0,
    "shifted by 0.001": lambda g: g + 0.001,
}
# Their gradient is zero wherever there is one: longer, of the other sign or forgotten, it is still right.
FLAT = {"ceil", "floor", "floor_divide", "heaviside", "round", "sign", "trunc"}


class Mutant(NamedTuple):
    """The gradient of one input of one op, and what is done to it."""

    op: str
    input: int
    change: str


@contextlib.contextmanager
def replaced(op: type[Op], method: str, by: Callable[..., Any] | None) -> Iterator[None]:
    """Let `op` have another `vjp`, `cpu` or `bind` inside the block, and forget the kernels that were found before."""
    own = op.__dict__.get(method)
    setattr(op, method, by and staticmethod(by))
    changed()
    try:
        yield
    finally:
        changed()
        if own is None:
            delattr(op, method)
        else:
            setattr(op, method, own)


def gradients_in_use() -> dict[tuple[str, int], list[int]]:
    """For each op and input of which any row asks a gradient: the rows that do."""
    found: dict[tuple[str, int], list[int]] = defaultdict(list)
    for row, case in enumerate(CASES):
        if does_not_apply(case, "gradient") is not None:
            continue
        with contextlib.ExitStack() as noted:
            for op in registry.ops.values():
                if op.__module__.startswith("minidl.ops"):
                    noted.enter_context(replaced(op, "vjp", _noting(op.vjp, found, row)))
            check_gradient(case.call, *case.inputs())
    return found


def _noting(vjp: Callable[..., Any], found: dict[tuple[str, int], list[int]], row: int) -> Callable[..., Any]:
    def noted(node: Any, g: Any) -> Any:
        gradients = vjp(node, g)
        for position, gradient in enumerate(gradients):
            rows = found[node.op.name, position] if gradient is not None and node.needs[position] else [row]
            if row not in rows:
                rows.append(row)
        return gradients

    return noted


def _changed(vjp: Callable[..., Any], position: int, change: Change) -> Callable[..., Any]:
    def mutated(node: Any, g: Any) -> Any:
        gradients = list(vjp(node, g))
        if position < len(gradients) and gradients[position] is not None:  # another `cat` of the row may join fewer
            gradients[position] = change(gradients[position])
        return tuple(gradients)

    return mutated


def is_killed(mutant: Mutant, rows: list[int]) -> bool:
    """Whether a row finds it."""
    op = registry.find_op(mutant.op)
    with replaced(op, "vjp", _changed(op.vjp, mutant.input, CHANGES[mutant.change])), np.errstate(all="ignore"):
        for row in rows:
            try:
                check_gradient(CASES[row].call, *CASES[row].inputs())
            except GradError:
                return True
    return False


def verdicts() -> dict[Mutant, bool]:
    """Every mutant, and whether it was killed."""
    return {
        mutant: is_killed(mutant, rows)
        for (op, position), rows in gradients_in_use().items()
        for mutant in (Mutant(op, position, change) for change in CHANGES)
        if op not in FLAT or mutant.change == "shifted by 0.001"
    }


class KernelMutant(NamedTuple):
    """The compiled kernel of an op, and the result of it whose last number is wrong."""

    op: str
    result: int


# From the quick to the thorough: a mutant is shown one check after the other until it is killed.
ASKED = ("values", "whole numbers", "float32", "gradient", "jacobian")


def is_compiled(call: Call) -> bool:
    """Whether it is not the reference that runs."""
    return call.op.cpu is not None and getattr(call.kernel, "func", None) != call.op.reference


def results_in_use() -> dict[KernelMutant, list[int]]:
    """For each result of each op that runs compiled: the rows that launch it, forward or backward."""
    found: dict[KernelMutant, list[int]] = defaultdict(list)

    def note(row: int, call: Call) -> None:
        if is_compiled(call):
            for i, result in enumerate(call.out if isinstance(call.out, tuple) else (call.out,)):
                rows = found[KernelMutant(call.op.name, i)]
                if result.size and row not in rows:
                    rows.append(row)
        call.run()

    for row, case in enumerate(CASES):
        for check in ("values", "gradient"):
            if does_not_apply(case, check) is None:
                with launching(functools.partial(note, row)):
                    CHECKS[check](case)
    return found


def kernel_is_killed(mutant: KernelMutant, rows: list[int]) -> bool:
    """Whether a row finds it."""
    op = registry.find_op(mutant.op)
    kernel = op.cpu if op.bind is None else _unbound(op.bind)

    def mutated(out: Any, *arrays: Array, **params: Any) -> None:
        kernel(out, *arrays, **params)
        results = out if isinstance(out, tuple) else (out,)
        if mutant.result < len(results) and results[mutant.result].size:
            last = results[mutant.result][(..., *[slice(-1, None)] * results[mutant.result].ndim)]
            last += np.abs(last) / 1000 + 0.001 if last.dtype.kind == "f" else 1

    with replaced(op, "cpu", mutated), replaced(op, "bind", None), np.errstate(all="ignore"):
        for row, check in itertools.product(rows[:5], ASKED):
            try:
                if does_not_apply(CASES[row], check) is None:
                    CHECKS[check](CASES[row])
            except (GradError, KernelError, IndexError):
                return True
    return False


def _unbound(bind: Callable[..., Callable[..., None]]) -> Callable[..., None]:
    return lambda out, *arrays, **params: bind(out, *arrays, **params)(out, *arrays)


def kernel_verdicts() -> dict[KernelMutant, bool]:
    """Every kernel with a result whose last number is 0.1 % and 0.001 too large, and whether that was noticed."""
    return {mutant: kernel_is_killed(mutant, rows) for mutant, rows in results_in_use().items() if rows}
