"""How convolutions of any window, stride, dilation and dimension are made of small windows with stride 1.

Winograd's transforms know windows of one size (a form, `winograd_form.py`), with stride 1, in a plane. Others are sums
of these, or several side by side, and the products in the middle do not mind:

- **Pieces.** A large window is cut into pieces, a 5×5 one into four of 3×3, and each piece sees the image moved by
  three pixels. With stride s a window's taps fall into s·s sets whose pixels lie s apart, and each set is a window with
  stride 1 of its own. A volume's window is a stack of 3×3 windows, one for each plane. Of all pieces the transformed
  patches lie side by side as if they were more channels, so the products add them up before anything is turned back:
  with P pieces 36·P/16 multiplications for each result, 9 instead of 25 for 5×5, 6.75 instead of 27 for 3×3×3.
- **Phases.** In the adjoint of stride s each of the s·s remainders of a result's place has its own set of taps, over
  the same patch. Phases lie side by side as if they were more filters; their tiles are written s pixels apart.
- **Lattices.** With dilation d, pixels whose places leave other remainders never meet: d·d images of their own, whose
  pixels lie d apart.

Where a piece has fewer taps than the form the others are zero. Of the forms the one with the fewest multiplications is
taken: 3×3 with stride 2 is four pieces with up to 2×2 taps, 6.25 multiplications of the form for 2×2 and 9 of the one
for 3×3; a signal is an image of one row, 1.5 of the form for a line instead of 3.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.ops.conv.volumes import in_three
from minidl.ops.conv.winograd_form import FORMS, Form
from minidl.ops.windows import Sizes

# Places in the table of numbers that kernels take: of the image, of the result, and how tiles lie in them.
IMAGES, DEPTH, HEIGHT, WIDTH, CHANNELS, OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH, FILTERS = range(9)
PIECES, PHASES, DEEP, DOWN, ALONG, OUT_DOWN, OUT_ALONG, LATTICES_DOWN, LATTICES_ALONG, ACROSS, TILES = range(9, 20)
CUT, TABLE = 20, 32  # numbers of whoever cuts the work; then three of each piece and two of each phase


class Way(NamedTuple):
    """A convolution, or the adjoint of one, as windows of a form."""

    form: Form
    pieces: tuple[Sizes, ...]  # plane, row and column of the first pixel that the first result's window sees
    phases: tuple[Sizes, ...]  # row and column of the first result
    taps: tuple[int, ...]  # [phase][piece][window]: which tap of the weight it is, -1 for none
    step: Sizes  # planes, rows and columns from a window to the next, and rows and columns from pixel to pixel
    out_step: Sizes  # rows and columns from result to result
    lattices: Sizes  # down and along

    @property
    def tap_table(self) -> Array:
        return _table(self.taps)

    def tiles(self, space: Sizes) -> tuple[int, int]:
        """Tiles down and along the results (rows, columns) of one phase of one lattice."""
        down, along = (
            -(-n // (side.tile * step)) for n, side, step in zip(space[-2:], self.form, self.out_step, strict=True)
        )
        return down, along

    @property
    def cost(self) -> float:
        """Multiplications for a result and a channel."""
        sides = len(self.pieces) * len(self.phases)
        return self.form.cost * sides * math.prod(self.lattices) / math.prod(self.out_step)

    def total(self, images: int, space: Sizes) -> int:
        """Tiles of all images with results (planes, rows, columns)."""
        down, along = self.tiles(space)
        return images * space[0] * self.lattices[0] * self.lattices[1] * down * along

    def sizes(self, x: Sizes, out: Sizes, cut: tuple[int, ...]) -> Array:
        """The table for kernels, for images x (N, planes, rows, columns, C) and results `out` (the same, K)."""
        down, along = self.tiles(out[1:4])
        found = np.zeros(TABLE + 3 * len(self.pieces) + 2 * len(self.phases), np.int64)
        found[:CUT] = (*x, *out[1:], len(self.pieces), len(self.phases), *self.step, *self.out_step, *self.lattices,
                       along, down * along)  # fmt: skip
        found[CUT : CUT + len(cut)] = cut
        found[TABLE:] = [n for place in (*self.pieces, *self.phases) for n in place]
        return found


@functools.lru_cache(maxsize=256)
def _table(taps: tuple[int, ...]) -> Array:
    return np.array(taps, np.int64)


class _Line(NamedTuple):
    """The same along one dimension."""

    pieces: Sizes
    phases: Sizes
    taps: tuple[tuple[Sizes, ...], ...]  # [phase][piece], as many as the form has
    step: int
    out_step: int
    lattices: int


@functools.lru_cache(maxsize=512)
def forward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way | None:
    """The cheapest for a convolution; None if there is none."""
    (k, s, p, d), *plane = zip(*in_three(kernel, stride, padding, dilation), strict=True)
    return _cheapest([(t * d - p, t) for t in range(k)], s, _forward_line, plane, kernel)


@functools.lru_cache(maxsize=512)
def backward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way | None:
    """The cheapest for the adjoint of one; None if there is none."""
    (k, s, p, d), *plane = zip(*in_three(kernel, stride, padding, dilation), strict=True)
    return _cheapest([(p - t * d, t) for t in range(k)], 1, _backward_line, plane, kernel) if s == 1 else None


def _cheapest(
    planes: list[tuple[int, int]], plane_step: int, made: Callable[..., _Line], plane: list[Sizes], kernel: Sizes
) -> Way | None:
    """Of the ways of all forms the one with the fewest multiplications; `made` is for a line."""
    if any(s > 1 and d > 1 for _, s, _, d in plane):
        return None
    ways = [
        _joined(form, planes, plane_step, [made(side.taps, *sizes) for side, sizes in zip(form, plane, strict=True)],
                kernel)
        for form in FORMS
    ]  # fmt: skip
    return min(ways, key=lambda way: way.cost)


def _forward_line(w: int, k: int, s: int, p: int, d: int) -> _Line:
    """By windows of w taps, for kernel, stride, padding and dilation k, s, p and d."""
    firsts = [(phase, u) for phase in range(min(s, k)) for u in range(0, -(-(k - phase) // s), w)]
    taps = [tuple(t if t < k else -1 for t in (s * (u + a) + phase for a in range(w))) for phase, u in firsts]
    return _Line(tuple(phase - p + u * s * d for phase, u in firsts), (0,), (tuple(taps),), s * d, d, d)


def _backward_line(w: int, k: int, s: int, p: int, d: int) -> _Line:
    if s == 1:
        taps = [tuple(k - 1 - u - a if u + a < k else -1 for a in range(w)) for u in range(0, k, w)]
        return _Line(tuple(p + (u - k + 1) * d for u in range(0, k, w)), (0,), (tuple(taps),), d, d, d)
    seen = []  # {window: tap} of each phase, for its first result
    for phase in range(s):
        first = (phase + p) % s
        seen.append({(phase + p) // s - u: t for u, t in enumerate(range(first, k, s))})
    windows = [window for found in seen for window in found]
    firsts = tuple(range(min(windows), max(windows) + 1, w))
    phases = [tuple(tuple(found.get(first + a, -1) for a in range(w)) for first in firsts) for found in seen]
    return _Line(firsts, tuple(range(s)), tuple(phases), 1, s, 1)


def _joined(form: Form, planes: list[tuple[int, int]], plane_step: int, lines: list[_Line], kernel: Sizes) -> Way:
    (down, along), taps = lines, []
    height, width = (1, *kernel)[-2:]
    for q in itertools.product(range(len(down.phases)), range(len(along.phases))):
        for (_, z), i, j in itertools.product(planes, range(len(down.pieces)), range(len(along.pieces))):
            for r, c in itertools.product(down.taps[q[0]][i], along.taps[q[1]][j]):
                taps.append((z * height + r) * width + c if min(r, c) >= 0 else -1)
    return Way(
        form, tuple((z, r, c) for (z, _), r, c in itertools.product(planes, down.pieces, along.pieces)),
        tuple(itertools.product(down.phases, along.phases)), tuple(taps), (plane_step, down.step, along.step),
        (down.out_step, along.out_step), (down.lattices, along.lattices),
    )  # fmt: skip
