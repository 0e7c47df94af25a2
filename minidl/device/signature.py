"""The types of a kernel's arguments, written as text, so that declaring a kernel imports no Numba.

    "T[:, ::1], const T[::1], intp"    with T=("float32", "float64")

`T[:, ::1]` is a C-contiguous array with two axes that the kernel may write, `const T[::1]` one that it only reads (then
read-only arrays are welcome), `intp` a Python int, `T` alone a number. Every type variable is that of some array.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.errors import KernelError

_SCALARS = (
    "int8",
    "int16",
    "int32",
    "int64",
    "intp",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float32",
    "float64",
    "bool",
)
_PARAMETER = re.compile(r"(?P<const>const\s+)?(?P<type>\w+)\s*(\[(?P<axes>[:1,\s]+)\])?")
# One choice of a type for each type variable, in the order in which they were declared.
Choice = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument: its type or type variable, its number of axes (None: a number), and whether it is only read."""

    type: str
    ndim: int | None
    const: bool

    def __str__(self) -> str:
        if self.ndim is None:
            return self.type
        axes = ", ".join([":"] * (self.ndim - 1) + ["::1"])
        return f"{'const ' if self.const else ''}{self.type}[{axes}]"


@dataclass(frozen=True, slots=True)
class Signature:
    """The arguments after (begin, end), and the types that each type variable may stand for."""

    parameters: tuple[Parameter, ...]
    variables: Mapping[str, tuple[str, ...]]
    positions: tuple[int, ...]  # for each variable, the first array that tells it

    def choices(self) -> Iterator[Choice]:
        """Every way to give the type variables a type."""
        return itertools.product(*self.variables.values())

    def choice_of(self, args: Sequence[Any]) -> Choice:
        """The types of the variables in a call with `args`."""
        return tuple([args[position].dtype.name for position in self.positions])

    def with_types(self, choice: Choice) -> tuple[Parameter, ...]:
        """The parameters, with a type in the place of each variable."""
        types = dict(zip(self.variables, choice, strict=True))
        return tuple(Parameter(types.get(p.type, p.type), p.ndim, p.const) for p in self.parameters)


def parse(text: str, variables: Mapping[str, Sequence[str]], kernel: str) -> Signature:
    """The signature that `text` describes.

    Raises:
        KernelError: if `text` cannot be read, or a type variable stands in no array.
    """
    parameters = tuple(_parameter(part, variables, kernel) for part in re.split(r",(?![^\[]*\])", text) if part.strip())
    positions = []
    for name, types in variables.items():
        if unknown := set(types) - set(_SCALARS):
            raise KernelError(f"kernel {kernel}: {name} cannot be {sorted(unknown)[0]!r}; known: {', '.join(_SCALARS)}")
        arrays = [i for i, p in enumerate(parameters) if p.type == name and p.ndim is not None]
        if not arrays:
            raise KernelError(f"kernel {kernel}: no array in {text!r} has the type {name}, so calls cannot tell it")
        positions.append(arrays[0])
    return Signature(parameters, {n: tuple(t) for n, t in variables.items()}, tuple(positions))


def mismatch(parameters: Sequence[Parameter], args: Sequence[Any], names: Sequence[str]) -> str | None:
    """What is wrong with `args`, naming the first argument that does not fit; None if all fit."""
    if len(args) != len(parameters):
        return f"takes {len(parameters)} arguments after (begin, end), got {len(args)}"
    for parameter, value, name in zip(parameters, args, names, strict=True):
        if (got := _misfit(parameter, value)) is not None:
            return f"{name} must be {parameter}, got {got}"
    return None


def _parameter(text: str, variables: Mapping[str, Sequence[str]], kernel: str) -> Parameter:
    match = _PARAMETER.fullmatch(text.strip())
    if match is None or match["type"] not in (*_SCALARS, *variables):
        raise KernelError(f"kernel {kernel}: {text.strip()!r} is not a type; write for example 'T[:, ::1]' or 'intp'")
    if match["axes"] is None:
        return Parameter(match["type"], None, const=False)
    axes = [axis.strip() for axis in match["axes"].split(",")]
    if axes != [":"] * (len(axes) - 1) + ["::1"]:
        raise KernelError(
            f"kernel {kernel}: {text.strip()!r} must be C-contiguous: ':' for each axis, '::1' for the last"
        )
    return Parameter(match["type"], len(axes), const=match["const"] is not None)


def _misfit(parameter: Parameter, value: Any) -> str | None:
    if parameter.ndim is None:
        return None if isinstance(value, (bool, int, float, np.generic)) else type(value).__name__
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    if value.dtype.name != parameter.type or value.ndim != parameter.ndim:
        return f"{value.dtype} of shape {value.shape}"
    if not value.flags.c_contiguous:
        return "an array that is not C-contiguous (numpy.ascontiguousarray makes one)"
    if not parameter.const and not value.flags.writeable:
        return "a read-only array (declare it const, or pass a copy)"
    return None
