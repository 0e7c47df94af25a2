"""How convolutions of other windows, strides, dilations and dimensions are made of 3×3 windows with stride 1.

Winograd's transforms know one case: 3×3 windows, stride 1, two dimensions. Others are sums of it, or several side by
side, and the products in the middle do not mind:

- **Pieces.** A large window is cut into 3×3 pieces, a 5×5 one into four, and each piece sees the image moved by three
  pixels. With stride s a window's taps fall into s·s sets whose pixels lie s apart, and each set is a window with
  stride 1 of its own. A volume's window is a stack of 3×3 windows, one for each plane. Of all pieces the transformed
  patches lie side by side as if they were more channels, so the products add them up before anything is turned back:
  with P pieces 36·P/16 multiplications for each result, 9 instead of 25 for 5×5, 6.75 instead of 27 for 3×3×3.
- **Phases.** In the adjoint of stride s each of the s·s remainders of a result's place has its own set of taps, over
  the same patch. Phases lie side by side as if they were more filters; their tiles are written s pixels apart.
- **Lattices.** With dilation d, pixels whose places leave other remainders never meet: d·d images of their own, whose
  pixels lie d apart.

Where a piece has fewer than 3×3 taps the others are zero. The transposed convolution 4×4 with stride 2 is four phases
of one piece with 2×2 taps: 2.25 multiplications instead of 4.
"""

from __future__ import annotations

import functools
import itertools
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.ops.windows import Sizes

# Places in the table of numbers that kernels take: of the image, of the result, and how tiles lie in them.
IMAGES, DEPTH, HEIGHT, WIDTH, CHANNELS, OUT_DEPTH, OUT_HEIGHT, OUT_WIDTH, FILTERS = range(9)
PIECES, PHASES, DEEP, DOWN, ALONG, OUT_DOWN, OUT_ALONG, LATTICES_DOWN, LATTICES_ALONG, ACROSS, TILES = range(9, 20)
CUT, TABLE = 20, 32  # numbers of whoever cuts the work; then three of each piece and two of each phase
WINDOW = 9  # taps of a piece


class Way(NamedTuple):
    """A convolution, or the adjoint of one, as 3×3 windows."""

    pieces: tuple[Sizes, ...]  # plane, row and column of the first pixel that the first result's window sees
    phases: tuple[Sizes, ...]  # row and column of the first result
    taps: tuple[int, ...]  # [phase][piece][9]: which tap of the weight it is, -1 for none
    step: Sizes  # planes, rows and columns from a window to the next, and rows and columns from pixel to pixel
    out_step: Sizes  # rows and columns from result to result
    lattices: Sizes  # down and along

    @property
    def tap_table(self) -> Array:
        return _table(self.taps)

    def tiles(self, space: Sizes) -> tuple[int, int]:
        """Tiles down and along the results (rows, columns) of one phase of one lattice."""
        down, along = (-(-n // (4 * step)) for n, step in zip(space[-2:], self.out_step, strict=True))
        return down, along

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
    taps: tuple[tuple[Sizes, ...], ...]  # [phase][piece], three each
    step: int
    out_step: int
    lattices: int


@functools.lru_cache(maxsize=512)
def forward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way | None:
    """For a convolution; None if it cannot be made so."""
    depth, *plane = _in_three(kernel, stride, padding, dilation)
    k, s, p, d = depth
    planes = [(t * d - p, t) for t in range(k)]
    return _joined(planes, s, [_forward_line(*sizes) for sizes in plane], kernel)


@functools.lru_cache(maxsize=512)
def backward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way | None:
    """For the adjoint of one; None if it cannot be made so."""
    depth, *plane = _in_three(kernel, stride, padding, dilation)
    k, s, p, d = depth
    if s > 1:
        return None
    planes = [(p - t * d, t) for t in range(k)]
    return _joined(planes, 1, [_backward_line(*sizes) for sizes in plane], kernel)


def _in_three(*sizes: Sizes) -> list[tuple[int, int, int, int]]:
    """(kernel, stride, padding, dilation) of each of three dimensions; an image is a volume of one plane."""
    deep = [(fill, *size) if len(size) == 2 else size for size, fill in zip(sizes, (1, 1, 0, 1), strict=True)]
    return list(zip(*deep, strict=True))


def _forward_line(k: int, s: int, p: int, d: int) -> _Line | None:
    if s > 1 and d > 1:
        return None
    firsts = [(phase, u) for phase in range(min(s, k)) for u in range(0, -(-(k - phase) // s), 3)]
    taps = [tuple(t if t < k else -1 for t in (s * (u + a) + phase for a in range(3))) for phase, u in firsts]
    return _Line(tuple(phase - p + u * s * d for phase, u in firsts), (0,), (tuple(taps),), s * d, d, d)


def _backward_line(k: int, s: int, p: int, d: int) -> _Line | None:
    if s > 1 and d > 1:
        return None
    if s == 1:
        taps = [tuple(k - 1 - u - a if u + a < k else -1 for a in range(3)) for u in range(0, k, 3)]
        return _Line(tuple(p + (u - k + 1) * d for u in range(0, k, 3)), (0,), (tuple(taps),), d, d, d)
    seen = []  # {window: tap} of each phase, for its first result
    for phase in range(s):
        first = (phase + p) % s
        seen.append({(phase + p) // s - u: t for u, t in enumerate(range(first, k, s))})
    windows = [window for found in seen for window in found]
    firsts = tuple(range(min(windows), max(windows) + 1, 3))
    phases = [tuple(tuple(found.get(first + a, -1) for a in range(3)) for first in firsts) for found in seen]
    return _Line(firsts, tuple(range(s)), tuple(phases), 1, s, 1)


def _joined(planes: list[tuple[int, int]], plane_step: int, lines: list[_Line | None], kernel: Sizes) -> Way | None:
    down, along = lines
    if down is None or along is None:
        return None
    (height, width), taps = kernel[-2:], []
    for q in itertools.product(range(len(down.phases)), range(len(along.phases))):
        for (_, z), i, j in itertools.product(planes, range(len(down.pieces)), range(len(along.pieces))):
            for r, c in itertools.product(down.taps[q[0]][i], along.taps[q[1]][j]):
                taps.append((z * height + r) * width + c if min(r, c) >= 0 else -1)
    return Way(
        tuple((z, r, c) for (z, _), r, c in itertools.product(planes, down.pieces, along.pieces)),
        tuple(itertools.product(down.phases, along.phases)), tuple(taps), (plane_step, down.step, along.step),
        (down.out_step, along.out_step), (down.lattices, along.lattices),
    )  # fmt: skip
