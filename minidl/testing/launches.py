"""Every kernel that a call launches, forward and backward, beside the reference of its op."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from minidl.core import Array, Call, Op, Tensor, UpdateOp, launching
from minidl.device import CPU, empty, poisoned_memory
from minidl.errors import KernelError
from minidl.testing.outcome import bits, outcome

__all__ = ["check_exact", "largest_errors", "ulps"]

Function = Callable[..., Any]

_WIDER = {np.dtype(np.float32): np.float64, np.dtype(np.float64): np.longdouble}


class Launch(NamedTuple):
    """One run of a kernel: what it was given, as it was then, and what it gave."""

    op: type[Op]
    inputs: tuple[Array, ...]
    params: dict[str, Any]
    results: tuple[Array, ...]

    def by_reference(self, dtype: Any = None) -> tuple[Array, ...]:
        """What the reference of the op gives for the same; in another floating type, if one is named."""
        given = [a if dtype is None or a.dtype.kind != "f" else a.astype(dtype) for a in self.inputs]
        with poisoned_memory():
            out = tuple(
                empty(CPU, r.shape, r.dtype if dtype is None or r.dtype.kind != "f" else np.dtype(dtype))
                for r in self.results
            )
        with np.errstate(all="ignore"):
            self.op.reference(np, out if len(out) > 1 else out[0], *given, **self.params)
        return out


def launches(function: Function, inputs: Sequence[Tensor], *, whole: bool = False) -> list[Launch]:
    """What the call and its backward launch; updates in place are left out, as their results are inputs too."""
    seen: list[Launch] = []

    def keep(call: Call) -> None:
        before = tuple(a.copy() for a in call.inputs)
        call.run()
        if not issubclass(call.op, UpdateOp):
            results = call.out if isinstance(call.out, tuple) else (call.out,)
            seen.append(Launch(call.op, before, call.params, tuple(a.copy() for a in results)))

    with launching(keep):
        outcome(function, inputs, whole=whole)
    return seen


def check_exact(function: Function, *inputs: Tensor) -> frozenset[str]:
    """Every kernel launched gives the bits of its reference, where whole numbers leave nothing to round.

    Give it whole numbers, such as those of `Case.whole_inputs`: sums and products of small whole numbers are exact in
    any order, so there is no tolerance. A launch counts if all it is given and all that the reference gives are
    multiples of 1/64 below 2**12; what is divided or rooted on the way to other numbers is left to `largest_errors`.

    Returns:
        The names of the ops that were compared.

    Raises:
        KernelError: naming the op and the place.
    """
    compared = set()
    for launch in launches(function, inputs, whole=True):
        expected = launch.by_reference()
        if not all(map(_is_coarse, (*launch.inputs, *expected))):
            continue
        compared.add(launch.op.name)
        for given, right in zip(launch.results, expected, strict=True):
            if bits(given + 0) != bits(right + 0):  # + 0, for a sum of nothing may be 0 or -0
                place = tuple(int(i) for i in np.unravel_index(int(np.argmax(given != right)), right.shape))
                raise KernelError(
                    f"{launch.op.name}: whole numbers leave nothing to round, but at {place} the kernel gives "
                    f"{given[place]:.9g} and the reference {right[place]:.9g}"
                )
    return frozenset(compared)


def _is_coarse(array: Array) -> bool:
    """Whether these numbers are so few bits long that sums and products of them are exact."""
    if array.dtype.kind != "f":
        return True
    with np.errstate(invalid="ignore"):
        return bool(np.all(np.abs(array) < 4096) and np.all(array * 64 == np.rint(array * 64)))


def ulps(given: Array, exact: Array, *, least: float = 0.0) -> float:
    """The largest error of `given`, in units of its last place; `exact` is of a wider type.

    A unit is the distance between neighbours in the type of `given` at the exact value (Goldberg, 1991). Where terms
    cancel, as in a sum or near a root, that says more about the numbers than about the op; so no unit is smaller than
    that at `least`.

    >>> ulps(np.float32([1.0, 2.0]), np.float64([1 + 2**-23, 2.0]))
    1.0
    """
    if not given.size:
        return 0.0
    wide = exact.astype(np.longdouble)
    same = (given == exact) | ((given != given) & (exact != exact))
    size = np.abs(np.nan_to_num(wide, posinf=0, neginf=0))
    with np.errstate(invalid="ignore", over="ignore"):
        unit = np.spacing(np.maximum(size, least).astype(given.dtype)).astype(np.longdouble)
        error = np.where(same, 0, np.abs(given.astype(np.longdouble) - wide) / unit)
    return float(np.max(np.where(np.isnan(error), np.inf, error)))


def largest_errors(function: Function, *inputs: Tensor) -> dict[tuple[str, str], float]:
    """For each op that the call and its backward launch and each floating type: the largest error in ULPs.

    The measure is the reference of the op on the very same inputs in a wider type: float64 for float32, NumPy's
    longdouble for float64. Errors of ops of single numbers count in units at each value, or at 1/64 of the largest near
    roots. As terms may cancel, those of sums along a dimension count in units at the largest number of result and
    inputs, and those of all others at the largest of the result, or 1/64 of the largest input.
    """
    worst: dict[tuple[str, str], float] = {}
    for launch in launches(function, inputs):
        for dtype, error in _errors(launch):
            key = (launch.op.name, dtype)
            worst[key] = max(error, worst.get(key, 0.0))
    return worst


def _errors(launch: Launch) -> Iterator[tuple[str, float]]:
    wider = next((_WIDER[r.dtype] for r in launch.results if r.dtype in _WIDER), None)
    if wider is None:
        return
    try:
        exact = launch.by_reference(wider)
    except TypeError:  # linear algebra and some special functions know no longdouble
        return
    for given, right in zip(launch.results, exact, strict=True):
        if given.dtype in _WIDER and given.dtype == launch.inputs[0].dtype:
            yield given.dtype.name, ulps(given, right, least=_least(launch, right))


def _least(launch: Launch, exact: Array) -> float:
    """The size below which errors of this launch are not counted in smaller units."""
    largest_input = max((_largest(a) for a in launch.inputs if a.dtype.kind == "f"), default=0.0)
    if {"dim", "dims", "shape"} & launch.params.keys():  # sums along a dimension, whose terms are the inputs
        return max(_largest(exact), largest_input)
    return _largest(exact) / 64 if launch.op.elementwise else max(_largest(exact), largest_input / 64)


def _largest(array: Array) -> float:
    return float(np.max(np.abs(array[np.isfinite(array)]), initial=0.0))
