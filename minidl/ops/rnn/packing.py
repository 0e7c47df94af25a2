"""The weights of recurrent layers in panels, as the sweeps read them (`row_tiles.py`): two kernels.

Panels are two vectors wide. The parts of a weight, one for each gate, are put in the order of the sums, and each is
filled up to whole vectors. A weight of 1024×256 takes 0.1 ms on one core;
NumPy, which moves number by number, took 1.2, an eighth of a forward pass of 64 steps and 32 rows.
"""

from __future__ import annotations

import numpy as np

from minidl.core.remember import remembered
from minidl.core.versions import memory_of
from minidl.device import CPU, Array, empty, kernel, parallel
from minidl.device.row_tiles import packed_lines
from minidl.device.transpose import transpose
from minidl.device.turned_tiles import pack_columns
from minidl.device.vectors import lanes, lanes_of

FLOATS = ("float32", "float64")
_DIRECTIONS, _PARTS, _HIDDEN, _DEPTH, _SIZE, _WIDTH = range(6)  # what `shape` holds, before the order of the parts


def packed_both(
    weight_ih: Array, weight_hh: Array, order_x: tuple[int, ...], order_h: tuple[int, ...], span: int | None
) -> tuple[Array, ...]:
    """Both weights of a layer, `packed` flat: at rest this is done once (`core/remember.py`)."""
    weights = (_whole(weight_ih), _whole(weight_hh))
    what = ("packed for a sweep", weight_ih.shape, weight_hh.shape, order_x, order_h, span)
    return remembered(
        what, weights, lambda: (packed(weight_ih, order_x, span), packed(weight_hh, order_h, span))
    )  # fmt: skip


def _whole(weight: Array) -> Array:
    """The array that owns the memory of a weight and holds nothing else, if there is one: a layer makes new views."""
    memory = memory_of(weight)
    return memory if (memory.size, memory.dtype) == (weight.size, weight.dtype) else weight


def packed(weight: Array, order: tuple[int, ...], span: int | None) -> Array:
    """(D, G H, K), its parts in `order`, transposed: panels of D K numbers, for products with lines of K numbers.

    With a `span`, whole vectors, so many numbers of each part stand together, and then the next of all parts.
    """
    directions, rows, depth = weight.shape
    vector, hidden = lanes_of(weight.dtype), rows // len(order)
    size = span or -(-hidden // vector) * vector
    width = packed_lines(-(-hidden // size) * len(order) * size, weight.dtype)
    shape = np.array((directions, len(order), hidden, depth, size, width, *order))
    panels = empty(CPU, (directions * width * depth,), weight.dtype)
    parallel(_pack, directions * width // vector, panels, weight.reshape(-1), shape)
    return panels


def packed_turned(weight: Array, order: tuple[int, ...]) -> Array:
    """The same as it is: (D, panels of K, G size, 32), for products with lines of sums."""
    directions, rows, depth = weight.shape
    vector, hidden = lanes_of(weight.dtype), rows // len(order)
    size, width = -(-hidden // vector) * vector, packed_lines(depth, weight.dtype)
    shape = np.array((directions, len(order), hidden, depth, size, width, *order))
    panels = empty(CPU, (directions, width * len(order) * size), weight.dtype)
    units = directions * width // (2 * vector) * len(order)
    parallel(_pack_turned, units, panels.reshape(-1), weight.reshape(-1), shape)
    return panels


@kernel("T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _pack(begin: int, end: int, panels: Array, weight: Array, shape: Array) -> None:
    """(Direction, vector of lines) begin to end."""
    parts, hidden, depth, size, width = shape[_PARTS], shape[_HIDDEN], shape[_DEPTH], shape[_SIZE], shape[_WIDTH]
    vector, panel = lanes(panels), 2 * lanes(panels)
    for unit in range(begin, end):
        d, line = unit // (width // vector), unit % (width // vector) * vector
        to = (d * width + line // panel * panel) * depth + line % panel
        part, within = line // size % parts, line // size // parts * size + line % size
        count = max(0, min(vector, hidden - within))
        if count < vector:
            for k in range(depth):
                for j in range(vector):
                    panels[to + k * panel + j] = 0
        if count > 0:
            row = (d * parts + shape[_WIDTH + 1 + part]) * hidden + within
            transpose(panels, to, panel, weight, row * depth, depth, count, depth)


@kernel("T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _pack_turned(begin: int, end: int, panels: Array, weight: Array, shape: Array) -> None:
    """(Direction, panel, part) begin to end."""
    parts, hidden, depth, size, width = shape[_PARTS], shape[_HIDDEN], shape[_DEPTH], shape[_SIZE], shape[_WIDTH]
    panel = 2 * lanes(panels)
    for unit in range(begin, end):
        d, column, part = unit // parts // (width // panel), unit // parts % (width // panel) * panel, unit % parts
        to = unit * size * panel
        count = hidden if column < depth else 0
        if count > 0:
            row = (d * parts + shape[_WIDTH + 1 + part]) * hidden
            pack_columns(panels, to, weight, row * depth + column, depth, count, depth - column)
        for j in range(to + count * panel, to + size * panel):
            panels[j] = 0
