"""What is done to many tensors at once, in one launch: scale, clamp, mix, add, and sum up the squares of each.

Gradient clipping and running averages of weights are made of these. For 62 small tensors a loop over ops costs 10 us a
tensor and op, one launch some 100 us in all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array, Op, Spec, Tensor
from minidl.device import kernel, parallel
from minidl.device.pointers import cells, pointers_at
from minidl.device.row_sums import row_product
from minidl.device.scalar_math import chosen
from minidl.ops.step import Step

__all__: list[str] = []  # reached by nn.utils and optim

_PART = 4096  # numbers that are summed in one type, 32 lanes of 128; the parts are added in float64
_ONE = (0,)


class ScaleAll(Step):
    """x *= factor."""

    name = "scale_all_"

    @staticmethod
    def coefficients(*, factor: float) -> dict[str, float]:
        return {"factor": factor}

    @staticmethod
    def rule(x: Any, factor: Any) -> Any:
        return (x * factor,)


class ClampAll(Step):
    """x = min(max(x, low), high); NaN stays."""

    name = "clamp_all_"

    @staticmethod
    def coefficients(*, low: float, high: float) -> dict[str, float]:
        return {"low": low, "high": high}

    @staticmethod
    def rule(x: Any, low: Any, high: Any) -> Any:
        return (chosen(x < low, low, chosen(x > high, high, x)),)


class MixAll(Step):
    """x += share * (y - x), where y stands in the place of the gradient."""

    name = "mix_all_"

    @staticmethod
    def coefficients(*, share: float) -> dict[str, float]:
        return {"share": share}

    @staticmethod
    def rule(x: Any, grad: Any, share: Any) -> Any:
        return (x + share * (grad - x),)


class AddAll(Step):
    """x += share * y, where y stands in the place of the gradient."""

    name = "add_all_"

    @staticmethod
    def coefficients(*, share: float) -> dict[str, float]:
        return {"share": share}

    @staticmethod
    def rule(x: Any, grad: Any, share: Any) -> Any:
        return (x + share * grad,)


class SumsOfSquares(Op):
    """The sum of the squares of each tensor, in float64: the same bits on any number of threads. No gradient."""

    name = "sums_of_squares"

    @staticmethod
    def infer(*tensors: Spec) -> Spec:
        return Spec((len(tensors),), np.dtype(np.float64))

    @staticmethod
    def reference(xp: Any, out: Array, *arrays: Array) -> None:
        for i, array in enumerate(arrays):
            out[i] = xp.square(array.astype(np.float64)).sum()

    @classmethod
    def cpu_takes(cls, arrays: tuple[Array, ...], params: Any) -> bool:
        return len({a.dtype for a in arrays}) == 1 and super().cpu_takes(arrays, params)

    @staticmethod
    def cpu(out: Array, *arrays: Array) -> None:
        table, _kept = cells(arrays, 1)
        sizes = np.array([a.size for a in arrays], np.intp)
        counts = np.maximum(-(-sizes // _PART), 1)  # an empty tensor has one part, of no length
        ends = np.cumsum(counts)
        owners = np.repeat(np.arange(len(arrays)), counts)
        begins = (np.arange(ends[-1]) - np.repeat(ends - counts, counts)) * _PART
        partial = np.empty(ends[-1], arrays[0].dtype)
        parallel(
            _squares, len(partial), table, owners, begins, sizes, partial, size=int(sizes.sum()) * partial.itemsize
        )
        np.add.reduceat(partial, ends - counts, dtype=np.float64, out=out)


@kernel("const intp[:, ::1], const intp[::1], const intp[::1], const intp[::1], T[::1]", T=("float32", "float64"))
def _squares(begin: int, end: int, table: Any, owners: Any, begins: Any, sizes: Any, partial: Any) -> None:
    for part in range(begin, end):
        tensor, first = owners[part], begins[part]
        numbers = pointers_at(table, tensor, partial, _ONE)[0]
        zero = partial.dtype.type(0)
        partial[part] = row_product(numbers, first, zero, numbers, first, zero, min(_PART, sizes[tensor] - first))


def sums_of_squares(tensors: list[Tensor]) -> Tensor:
    """(len(tensors),), float64: the sum of the squares of each tensor.

    >>> sums_of_squares([Tensor([3.0, 4.0]), Tensor([1.0])])
    tensor([25.,  1.], dtype=float64)
    """
    result: Tensor = SumsOfSquares.apply(*tensors)
    return result
