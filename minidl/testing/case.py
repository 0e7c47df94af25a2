"""Case: one row of a table of op tests, and the random values that fill it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minidl.core import Tensor

__all__ = ["Case", "draw"]

Function = Callable[..., Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """One row of a table of op tests.

    Attributes:
        function: the public function under test.
        shapes: shapes of its tensor arguments.
        args: what follows the tensors.
        params: its keyword arguments.
        expected: the result by NumPy, from float64 arrays; None where another test compares.
        special: the same for NaN, infinities and the ends of the range, where `expected` is not a function of NumPy.
        rejects: pairs of (shapes, what the error must say).
        low, high: range of the values drawn.
        order: how often it is differentiated in the check of gradients: 2, 1, or 0 for none.
        integers: positions of tensors drawn as whole numbers from 0 up to, not including, the value.
        bools: positions of tensors drawn as bools.
        names: names of the tensor arguments, where they are not the first ones.
        as_list: whether the tensors go in as one list.
    """

    function: Function
    shapes: Sequence[Shape]
    params: Mapping[str, Any] = field(default_factory=dict)
    args: Sequence[Any] = ()
    expected: Function | None = None
    special: Function | None = None
    rejects: Sequence[tuple[Sequence[Shape], str]] = ()
    low: float = -2.0
    high: float = 2.0
    order: int = 2
    integers: Mapping[int, int] = field(default_factory=dict)
    bools: Sequence[int] = ()
    names: Sequence[str] = ()
    as_list: bool = False

    def __str__(self) -> str:
        params = ",".join(f"{k}={v}" for k, v in self.params.items())
        return f"{self.function.__name__}{list(self.shapes)}{params}{self.args or ''}".replace(" ", "")

    def inputs(self, seed: int = 0, shapes: Sequence[Shape] | None = None, dtype: Any = np.float64) -> list[Tensor]:
        """Tensors for one call, drawn from `seed`."""
        tensors = draw(self.shapes if shapes is None else shapes, seed, low=self.low, high=self.high, dtype=dtype)
        for position, end in self.integers.items():
            whole = np.random.default_rng([seed, position]).integers(0, end, tensors[position].shape)
            tensors[position] = Tensor.of(whole)
        for position in self.bools:
            tensors[position] = Tensor.of(tensors[position].array > (self.low + self.high) / 2)
        return tensors

    def whole_inputs(self, dtype: Any = np.float32) -> list[Tensor]:
        """Tensors of small whole numbers, whose sums and products leave nothing to round."""
        tensors = self.inputs(dtype=dtype)
        rng = np.random.default_rng(3)
        floats = [i for i, t in enumerate(tensors) if t.is_floating_point()]
        for position in floats:
            shape = tensors[position].shape
            tensors[position] = Tensor.of(rng.integers(1 if self.low >= 0 else -4, 5, shape).astype(dtype))
        return tensors

    def call(self, *tensors: Tensor) -> Any:
        """The function on these tensors and this row's parameters."""
        if self.as_list:
            return self.function(list(tensors), **self.params)
        if self.names:
            return self.function(**dict(zip(self.names, tensors, strict=False)), **self.params)
        return self.function(*tensors, *self.args, **self.params)


def draw(
    shapes: Sequence[Shape], seed: int = 0, *, low: float = -2.0, high: float = 2.0, dtype: Any = np.float64
) -> list[Tensor]:
    """Tensors of evenly spread random values.

    All values differ by at least 1e-3 of the range where their number allows, so that maxima have no near-ties, at
    which a difference quotient would straddle a kink.
    """
    rng = np.random.default_rng(seed)
    total = sum(int(np.prod(s)) for s in shapes)
    steps = (rng.permutation(total) + rng.uniform(0.25, 0.75, total)) / max(total, 1)
    values = low + (high - low) * steps
    ends = np.cumsum([int(np.prod(s)) for s in shapes])
    return [
        Tensor.of(np.ascontiguousarray(part, dtype=dtype).reshape(shape))
        for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=True)
    ]
