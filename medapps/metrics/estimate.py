"""Estimate: a measured figure that cannot be had without its interval, its n and the method behind the interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medapps.errors import InputError

__all__ = ["Z95", "Estimate", "not_defined"]

Z95 = 1.959963984540054  # the standard normal lies within +-Z95 with probability 0.95
_NUMBERS = ("value", "low", "high")


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval.

    value: the figure; NaN when it is not defined.
    low, high: ends of the 95 % interval; NaN when there is none.
    n: how many cases the figure rests on (images of the positive class for a sensitivity, and so on).
    method: how the interval was made; for NaN, why there is no figure or no interval.

    >>> print(Estimate(0.9, 0.85, 0.93, 200, "Wilson"))
    0.900 (95 % interval 0.850 to 0.930, n = 200)
    >>> print(not_defined("no case of class 'tumour'", n=0))
    not defined (no case of class 'tumour', n = 0)
    """

    value: float
    low: float
    high: float
    n: int
    method: str

    @property
    def is_defined(self) -> bool:
        """Whether there is a figure at all."""
        return math.isfinite(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    def __str__(self) -> str:
        if not self.is_defined:
            return f"not defined ({self.method}, n = {self.n})"
        if not self.has_interval:
            return f"{self.value:.3f} ({self.method}, n = {self.n})"
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f}, n = {self.n})"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, which has no NaN: what is not defined is None."""
        numbers = {name: _finite_or_none(getattr(self, name)) for name in _NUMBERS}
        return {**numbers, "n": self.n, "method": self.method}

    @classmethod
    def from_dict(cls, values: Any) -> Estimate:
        """The estimate that `to_dict` wrote.

        Raises:
            InputError: if `values` is not one.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"an estimate must be a table of value, low, high, n, method, got {type(values).__name__}")
        numbers = [values.get(name) for name in _NUMBERS]
        if not all(v is None or (isinstance(v, int | float) and not isinstance(v, bool)) for v in numbers):
            raise InputError(f"an estimate's value, low and high must be numbers or null, got {str(numbers)[:80]}")
        n, method = values.get("n"), values.get("method")
        if not isinstance(n, int) or isinstance(n, bool) or n < 0 or not isinstance(method, str):
            raise InputError("an estimate needs n, a whole number from 0 up, and method, a text")
        value, low, high = (math.nan if v is None else float(v) for v in numbers)
        return cls(value, low, high, n, method)


def not_defined(reason: str, *, n: int) -> Estimate:
    """What is given in place of a figure that the data do not define."""
    return Estimate(math.nan, math.nan, math.nan, n, reason)


def _finite_or_none(number: float) -> float | None:
    return float(number) if math.isfinite(number) else None
