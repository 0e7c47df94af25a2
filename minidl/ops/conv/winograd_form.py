"""The sizes that Winograd's convolution comes in, and the matrices of each, by the construction of Cook and Toom.

F(m, r) makes m results in a row of a window of r taps by m + r - 1 products instead of m·r. Numbers in a row are the
coefficients of a polynomial: a result is one of the product of two, and a product is known by its values at as many
points as it has coefficients. So BT and G take values at the points, AT goes back, and the products in between are
of values at one point each. The last point is infinity, whose value is the leading coefficient. (That BT and AT change
places, because windows are correlated and not multiplied, is the transposition principle.)

Points are 0 and pairs of numbers that differ in their signs, as small as they can be, since their powers are the
factors in the matrices and so decide what rounding costs.

| form | tile, taps | products for a result | plain | for |
|---|---|---|---|---|
| PATCH | 4×4, 3×3 | 2.25 | 9 | most windows |
| SMALL | 4×4, 2×2 | 1.56 | 4 | two taps down and along: 3×3 and 4×4 with stride 2 |
| LINE | 1×4, 1×3 | 1.5 | 3 | 1-d |

Sources: Winograd, "Arithmetic complexity of computations", SIAM 1980, chapter 4; Blahut, "Fast algorithms for signal
processing", Cambridge 2010, section 5.2.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from minidl.device.patches import Groups, Matrix

POINTS = (0.0, 1.0, -1.0, 2.0, -2.0)  # and infinity


class Side(NamedTuple):
    """F(tile, taps), along one dimension."""

    tile: int  # results
    taps: int  # of the window

    @property
    def reach(self) -> int:
        """Pixels that a tile sees, and products that it takes."""
        return self.tile + self.taps - 1

    @property
    def points(self) -> tuple[float, ...]:
        return POINTS[: self.reach - 1]

    @property
    def bt(self) -> Matrix:
        """(reach, reach), for pixels: row i is the product of x - q over the other points q."""
        rows = [_product_of([q for q in self.points if q != p]) for p in self.points]
        return tuple(tuple((row + [0.0] * self.reach)[: self.reach]) for row in [*rows, _product_of(self.points)])

    @property
    def g(self) -> Matrix:
        """(reach, taps), for weights: the powers of a point over the product of its distances from the others."""
        rows = []
        for p in self.points:
            scale = math.prod(p - q for q in self.points if q != p)
            rows.append(tuple(p**j / scale for j in range(self.taps)))
        return (*rows, tuple(float(j == self.taps - 1) for j in range(self.taps)))

    @property
    def at(self) -> Matrix:
        """(tile, reach), for results: the powers of the points."""
        last = self.tile - 1
        return tuple((*[p**j for p in self.points], float(j == last)) for j in range(self.tile))

    @property
    def pairs(self) -> Groups:
        """Rows of `bt` and `g` that share sums: those of p and -p, and those of 0 and infinity."""
        if self.reach == 1:
            return ((0,),)
        pairs = [tuple(i for i in (k, k + 1) if i < self.reach - 1) for k in range(1, self.reach - 1, 2)]
        return ((0, self.reach - 1), *pairs)


def _product_of(points: list[float] | tuple[float, ...]) -> list[float]:
    """The coefficients of the product of x - p, the lowest first."""
    found = [1.0]
    for p in points:
        found = [a - p * b for a, b in zip([0.0, *found], [*found, 0.0], strict=True)]
    return found


def alternating(rows: int) -> Groups:
    """The even rows, and the odd ones: those of `at` share sums."""
    return tuple(group for group in (tuple(range(0, rows, 2)), tuple(range(1, rows, 2))) if group)


def turned(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


class Form(NamedTuple):
    """Tiles of down.tile × along.tile results from windows of down.taps × along.taps."""

    down: Side
    along: Side

    @property
    def positions(self) -> int:
        """Products for a tile, and so matrix products of all."""
        return self.down.reach * self.along.reach

    @property
    def window(self) -> int:
        return self.down.taps * self.along.taps

    @property
    def cost(self) -> float:
        """Multiplications for a result."""
        return self.positions / (self.down.tile * self.along.tile)


PATCH, SMALL, LINE = Form(Side(4, 3), Side(4, 3)), Form(Side(4, 2), Side(4, 2)), Form(Side(1, 1), Side(4, 3))
FORMS = (PATCH, SMALL, LINE)
