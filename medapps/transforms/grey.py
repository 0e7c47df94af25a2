"""Grey: values to integers 0 to 255, with the exact map kept, so that grey can be turned back into values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from medapps.errors import InputError
from medapps.transforms.registry import Preparation, register

__all__ = ["Grey", "GreyMap"]


@dataclass(frozen=True)
class GreyMap:
    """The straight line that sends `low` to 0 and `high` to 255.

    Round trips: `to_grey(to_value(g)) == g` for every grey g. For every value v from `low` to `high`,
    `to_value(to_grey(v))` differs from v by at most `error`, half of a grey step. Integers that span at most 255 come
    back exactly when they are rounded. Values outside are clipped; NaN becomes 0.

    >>> hu = GreyMap(-1024, 1016)
    >>> hu.to_grey(np.array([-1024.0, 0.0, 1016.0, 3000.0])).tolist(), hu.error
    ([0, 128, 255, 255], 4.0)
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (np.isfinite([self.low, self.high]).all() and self.low < self.high):
            raise InputError(f"GreyMap: low must be below high, both finite, got {self.low} and {self.high}")

    @classmethod
    def of(cls, values: NDArray[Any], *, percentile: float = 0.0) -> GreyMap:
        """The map from the values' own range, leaving out `percentile` percent of them at each end."""
        finite = values[np.isfinite(values)]
        if finite.size == 0:
            raise InputError("GreyMap: there is no finite value to take a range from; clean the images first")
        low, high = (float(v) for v in np.percentile(finite, (percentile, 100 - percentile)))
        return cls(low, high if high > low else low + 1.0)

    @property
    def error(self) -> float:
        """The largest difference between a value in range and its round trip."""
        return (self.high - self.low) / 510

    def to_grey(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Grey of each value, same shape, uint8."""
        grey = (np.asarray(values, np.float64) - self.low) * (255 / (self.high - self.low))
        return np.floor(np.clip(np.nan_to_num(grey, nan=0.0), 0, 255) + 0.5).astype(np.uint8)

    def to_value(self, grey: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Value that each grey stands for, same shape, float64."""
        return np.asarray(self.low + np.asarray(grey, np.float64) * ((self.high - self.low) / 255))


@register
@dataclass(frozen=True)
class Grey(Preparation):
    """Integer grey by one map for all images; `fit` takes its range from the training images where it is not given.

    uint8 images are grey already and stay as they are when no range is given.
    """

    name: ClassVar[str] = "grey"
    low: float | None = None
    high: float | None = None
    percentile: float = 0.1

    def fit(self, images: NDArray[Any]) -> Self:
        if self.low is not None and self.high is not None:
            return self
        found = GreyMap(0, 255) if images.dtype == np.uint8 else GreyMap.of(images, percentile=self.percentile)
        low = found.low if self.low is None else self.low
        return replace(self, low=low, high=found.high if self.high is None else self.high)

    @property
    def map(self) -> GreyMap:
        """The map in use.

        Raises:
            InputError: before `fit`, when the range was not given.
        """
        if self.low is None or self.high is None:
            raise InputError("grey: has no range yet; fit it on the training images, or give low and high")
        return GreyMap(self.low, self.high)

    def apply(self, images: NDArray[Any]) -> NDArray[np.uint8]:
        return self.map.to_grey(images)
