"""How a product of matrices is cut into units of work: the cut that is thought to take the least time.

A unit is a block of rows by a stripe of columns, over all steps of the sums or a piece of them. Rows and columns may be
cut anywhere, no bit depends on it. A sum in pieces is added up afterwards, in order: pieces are made of the sizes
alone, and only where rows and columns are few (the gradient of a weight sums over all samples).

Where B lies line by line it can be read in place; what is transposed, or read by many rows, is better packed in panels
of two vectors of columns: by each unit for itself, or all of it first, once. The costs below are those of one core of a
Zen 4 for float32; what counts is how they compare.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

from minidl.device.dtypes import DType
from minidl.device.microkernel import panel_columns, tile_rows

STEPS = 512  # of a sum at once, at most
LEAST_PIECE = 512  # steps in a piece of a sum
MOST_ROWS = 512  # in a unit
DIRECT, OWN, PACKED = range(3)  # B is read in place, packed by each unit, packed first
_THREADS = 4  # that a good cut keeps busy
_MULTIPLY_NS = 0.0186  # a multiply-add
_TILE_NS = 36  # a tile is begun and ended
_PACK_NS, _TURN_NS = 0.12, 0.2  # a number of B is packed, or transposed
_PACK_ROW_NS = 0.2  # a number of A is packed
_ADD_NS = 0.2  # two pieces of a sum are added
_LAUNCH_NS, _UNIT_NS = 5000, 150
_SHARED_ROW_NS = 15  # a row of C that is read again, and whose other columns are another unit's
_ALONE_NS = 15e3  # what one thread does without help
_COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class Problem(NamedTuple):
    """What a cut depends on."""

    matrices: int
    rows: int
    columns: int
    steps: int
    turned: bool  # A lies step by step
    a_wide: bool  # steps of A are so far apart that they are better copied
    transposed: bool  # B lies column by column
    whole: bool  # sums must not be cut
    finished: bool  # something comes behind, row by row


class Cut(NamedTuple):
    """Block sizes, and how often each fits."""

    way: int
    height: int
    down: int
    stripe: int  # columns
    across: int
    piece: int  # steps
    pieces: int
    run: int  # steps at once


def cut_of(problem: Problem, dtype: DType) -> Cut:
    """The cut of least estimated time.

    What comes behind a product reads its rows again, and two threads that share rows then wait for each other's lines:
    with ReLU, 1536×64 times 64×128 takes 0.43 ms in blocks of quarter rows and 0.19 in blocks of whole ones, 1024×128
    times 128×256 0.47 in halves and 0.40.
    Sums are in the same pieces whatever comes behind, so that it changes no bit.
    """
    tile, panel = tile_rows(2), panel_columns(dtype)
    cuts, plain = _cuts(problem, tile, panel), problem._replace(finished=False)
    best = min(cuts, key=lambda cut: _cost(cut, plain, tile, panel))
    if not problem.finished:
        return best
    alike = [cut for cut in cuts if cut.pieces == best.pieces]
    return min(alike, key=lambda cut: _cost(cut, problem, tile, panel))


def _cuts(problem: Problem, tile: int, panel: int) -> list[Cut]:
    tiles, panels = -(-problem.rows // tile), -(-problem.columns // panel)
    heights = _shares(tiles, max(1, -(-problem.rows // MOST_ROWS)))
    stripes = _shares(panels, 1)
    pieces = [1]
    if not problem.whole:
        pieces += [p for p in (2, 4, 8, 16) if problem.steps >= p * LEAST_PIECE]
    ways = [OWN, PACKED] if problem.transposed else [DIRECT, OWN, PACKED]
    return [_cut(problem, way, h * tile, s * panel, p)
            for way, h, s, p in itertools.product(ways, heights, stripes, pieces)]  # fmt: skip


def _shares(total: int, least: int) -> list[int]:
    """What one share of `total` is when it is cut into `least` shares or more."""
    return sorted({-(-total // (n * least)) for n in _COUNTS if n * least <= max(total, least)})


def _cut(problem: Problem, way: int, height: int, stripe: int, pieces: int) -> Cut:
    piece = max(1, -(-problem.steps // pieces))
    run = -(-piece // -(-piece // (STEPS // 2 if problem.turned else STEPS)))
    return Cut(way, height, -(-problem.rows // height), stripe, -(-problem.columns // stripe), piece,
               -(-problem.steps // piece) if problem.steps else 1, run)  # fmt: skip


def _cost(cut: Cut, problem: Problem, tile: int, panel: int) -> float:
    """Nanoseconds on `_THREADS` threads."""
    rows = min(cut.height, -(-problem.rows // tile) * tile)
    columns = min(cut.stripe, -(-problem.columns // panel) * panel)
    tiles = rows * columns / (tile * panel)
    pack = _TURN_NS if problem.transposed else _PACK_NS
    unit = rows * columns * cut.piece * _MULTIPLY_NS + tiles * -(-cut.piece // cut.run) * _TILE_NS + _UNIT_NS
    if cut.way == OWN or (cut.way == DIRECT and problem.columns % panel):
        unit += (columns if cut.way == OWN else panel) * cut.piece * pack
    if problem.turned and problem.a_wide:
        unit += rows * cut.piece * _PACK_ROW_NS
    if problem.finished and cut.across > 1 and cut.pieces == 1:
        unit += rows * _SHARED_ROW_NS
    units = problem.matrices * cut.down * cut.across * cut.pieces
    threads = _THREADS if units * unit > _ALONE_NS else 1
    total = -(-units // threads) * unit
    if cut.way == PACKED:
        total += _LAUNCH_NS + problem.matrices * problem.columns * problem.steps * pack / threads
    if cut.pieces > 1:
        total += _LAUNCH_NS + cut.pieces * problem.matrices * problem.rows * problem.columns * _ADD_NS / threads
    return total
