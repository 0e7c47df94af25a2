"""The compiled sweep of all recurrent layers, into which a cell puts its own formulas.

Rows of a batch do not know of each other. So a block of up to 32 rows goes through all steps alone, and threads
(blocks, directions) never wait for each other. A block holds its states and sums in one piece of memory, `room`, which
stays in the first two caches. Forward, for each step:

    sums  = bias + x[t] · W_ihᵀ      2·rows·I·G·H operations, x read in place
    sums += h · W_hhᵀ                2·rows·H·G·H
    gates, h, c from sums            30 to 90 vector operations for 8 numbers of state

Both weights are packed once, and lie in the second-level cache (512 KiB; LSTM, I 64, H 128: 384) or stream from the
third. The sums of a large product for all steps, 33 MB for T 256, N 64, H 128, are never written to memory. Small
batches take the input's product for several steps at once, since a product of one row only waits for the weight.

Backward goes the other way (`cpu_sweep_back.py`). Nothing is summed over rows in either sweep, so blocks change no bit.

LSTM, T 256, N 64, 64→128: 3.2 GFLOP forward, 34 ms at one core's 95 GFLOP/s, and 4.4 ms of gates (measured: 40). For
training it writes 50 MB of gates, cells and states.

Tried, one core of Zen 3, float32 (ms; same case if none is named):
- the input's product for all steps first, as one: it writes and reads 33 MB; 1.0 times as fast as PyTorch, now 1.6
- blocks of 16, 22, 64 rows: inference 40.4, 40.8, 41.2 where 32 take 39.8; training 125, 121, 130 where 32 take 121
- all the LSTM's formulas in one loop: 3.5 ns for a number of state, 2.6 in two loops (what follows a sigmoid in the
  same loop waits for it), 2.1 with a series of 6 terms instead of 7
- not asking for the next step's lines: moving them took 37 % of the time of the products, now 24 % (GRU, both ways,
  T 64, N 512, 64→32, training)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.device import Array, Kernel, inline, kernel, parallel
from minidl.device.lines import clear_line, fetch_line, first_aligned, move_line
from minidl.device.row_tiles import multiply_rows, packed_lines
from minidl.device.vector_math import whole_vectors
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.rnn.cpu_sweep_shared import span_of, sweep_shared
from minidl.ops.rnn.packing import packed_both

BLOCK_ROWS = 32
FEW_ROWS = 4  # from which on they are cut in two


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent layer: its kernels, and how the parts of its sums lie side by side.

    A line of sums has `columns` parts of H numbers. The input's product gives those from 0 on, `order_x` says which
    rows of weight_ih; the state's product those from `own` on, `order_h` says which rows of weight_hh.
    """

    forward: Kernel
    forward_shared: Kernel
    backward: Kernel
    backward_within: Kernel
    columns: int
    order_x: tuple[int, ...]
    order_h: tuple[int, ...]
    own: int = 0


def sweep(
    cell: Cell, output: Array, states: Sequence[Array], saved: Sequence[Array], x: Array, weight_ih: Array,
    weight_hh: Array, bias: Array, lengths: Array | None,
) -> None:  # fmt: skip
    """All steps of a layer in all its directions.

    Args:
        output: (T, N, D H), to be written.
        states: h and, if there is one, c, (D, N, H): first what the sweep begins with, then what it ends with.
        saved: gates (T, N, D, columns H) and cells (T, N, D, H) to be written; each may have no steps.
        bias: (D, columns, H), the number that each part of the sums begins with.
    """
    directions, batch, hidden = states[0].shape
    if not batch:
        return
    blocks, span = blocks_of(batch, directions), span_of(hidden, len(cell.order_h), x.dtype)
    is_shared = batch < FEW_ROWS and span < hidden
    rows = -(-batch // blocks)
    group = max(1, min(len(x), BLOCK_ROWS // rows))
    packed_x, packed_h = packed_both(weight_ih, weight_hh, cell.order_x, cell.order_h, span if is_shared else None)
    none, nothing = np.empty((0, 0, 0), x.dtype), np.empty((0, 0, 0, 0), x.dtype)
    all_of_h, kept = output.reshape(*output.shape[:2], directions, hidden), (*saved, nothing, nothing)[:2]
    if is_shared:
        sweep_shared(cell.forward_shared, all_of_h, states, kept, x, (packed_x, packed_h), bias,
                     all_lengths(x, lengths), span, group, len(cell.order_h))  # fmt: skip
        return
    lines = _bias_lines(bias, cell, x.dtype)
    sizes = np.array([rows, group, cell.columns, cell.own, len(cell.order_x)])
    parallel(
        cell.forward, directions * blocks, all_of_h, *(*states, none)[:2], *kept, x, packed_x, packed_h, lines,
        all_lengths(x, lengths), sizes, block=1,
    )  # fmt: skip


def blocks_of(batch: int, directions: int) -> int:
    """Blocks of up to `BLOCK_ROWS` rows; an even number of them for all directions, so that two threads have work."""
    blocks = -(-batch // BLOCK_ROWS)
    return blocks + blocks % 2 if directions == 1 and batch >= FEW_ROWS else blocks


def all_lengths(x: Array, lengths: Array | None) -> Array:
    return np.full(x.shape[1], x.shape[0], np.int64) if lengths is None else lengths


def _bias_lines(bias: Array, cell: Cell, dtype: Any) -> Array:
    directions, columns, hidden = bias.shape
    vector = lanes_of(dtype)
    size = -(-hidden // vector) * vector
    lines = np.zeros((directions, cell.own * size + packed_lines(len(cell.order_h) * size, dtype)), dtype)
    lines[:, : columns * size].reshape(directions, columns, size)[:, :, :hidden] = bias
    return lines


@inline
def pitch_of(array: Array, count: int) -> Any:
    """`count` numbers rounded up to an odd number of cache lines: columns must not fall on one place of a cache."""
    line = 64 // array.itemsize
    return ((count + line - 1) // line | 1) * line


def forward_kernel(advance: Any) -> Kernel:
    """The sweep of a cell: `advance(room, sums, state, cell, size)` makes gates of sums, in place, and the states."""

    @kernel(
        "T[:, :, :, ::1], T[:, :, ::1], T[:, :, ::1], T[:, :, :, ::1], T[:, :, :, ::1], const T[:, :, ::1], T[::1], "
        "T[::1], T[:, ::1], const int64[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def forward(
        begin: int, end: int, output: Array, h: Array, c: Array, gates: Array, cells: Array, x: Array, weight_x: Array,
        weight_h: Array, bias: Array, lengths: Array, sizes: Array,
    ) -> None:  # fmt: skip
        block_rows, group, columns, own, parts = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        steps, batch, inputs = x.shape
        directions, hidden = h.shape[0], h.shape[2]
        size, panel = whole_vectors(h, hidden), 2 * lanes(h)
        panels, blocks = -(-parts * size // panel), -(-batch // block_rows)
        pitch, step, x_pitch = pitch_of(h, bias.shape[1]), pitch_of(h, size), pitch_of(h, inputs)
        held = block_rows * group
        room = np.empty(pitch + held * (pitch + x_pitch) + 2 * block_rows * step + 16, h.dtype)
        start = first_aligned(room)
        sums, seen = start + pitch, start + pitch + held * pitch
        state = seen + held * x_pitch
        cell = state + block_rows * step
        for task in range(begin, end):
            d, first = task // blocks, task % blocks * block_rows
            rows, ahead = min(block_rows, batch - first), -batch if d else batch  # rows from a step to the next
            by_x, by_h = d * (len(weight_x) // directions), d * (len(weight_h) // directions)
            clear_line(room, start, room, 0, room.size - start)
            move_line(room, start, bias, d * bias.shape[1], bias.shape[1])
            for r in range(rows):
                move_line(room, state + r * step, h, (d * batch + first + r) * hidden, hidden)
                if c.size:
                    move_line(room, cell + r * step, c, (d * batch + first + r) * hidden, hidden)
            for done in range(0, steps, group):
                count = min(group, steps - done)
                for s in range(count):
                    t = steps - 1 - done - s if d else done + s
                    for r in range(rows):
                        at = t * batch + first + r
                        move_line(room, seen + (s * rows + r) * x_pitch, x, at * inputs, inputs)
                        fetch_line(room, 0, x, (at + group * ahead) * inputs, inputs)
                multiply_rows(room, sums, panel, pitch, start, 0, room, seen, x_pitch, 1,
                              weight_x, by_x, inputs * panel, panel, rows * count, panels, inputs)  # fmt: skip
                rest = columns * size - panels * panel
                for r in range(rows * count if rest > 0 else 0):
                    move_line(room, sums + r * pitch + panels * panel, room, start + panels * panel, rest)
                for s in range(count):
                    t, here = steps - 1 - done - s if d else done + s, sums + s * rows * pitch
                    multiply_rows(room, here + own * size, panel, pitch, here + own * size, pitch, room, state, step, 1,
                                  weight_h, by_h, hidden * panel, panel, rows, panels, hidden)  # fmt: skip
                    for r in range(rows):
                        line, at = here + r * pitch, (t * batch + first + r) * directions + d
                        if t < lengths[first + r]:
                            advance(room, line, state + r * step, cell + r * step, size)
                            then = at + ahead * directions
                            move_line(output, at * hidden, room, state + r * step, hidden)
                            fetch_line(room, 0, output, then * hidden, hidden)
                            if len(cells):
                                move_line(cells, at * hidden, room, cell + r * step, hidden)
                                fetch_line(room, 0, cells, then * hidden, hidden)
                            if len(gates):
                                fetch_line(room, 0, gates, then * columns * hidden, columns * hidden)
                            if len(gates) and size == hidden:
                                move_line(gates, at * columns * hidden, room, line, columns * hidden)
                            elif len(gates):
                                for part in range(columns):
                                    place = (at * columns + part) * hidden
                                    move_line(gates, place, room, line + part * size, hidden)
                        else:
                            clear_line(output, at * hidden, room, 0, hidden)
                            if len(cells):
                                clear_line(cells, at * hidden, room, 0, hidden)
                            if len(gates):
                                clear_line(gates, at * columns * hidden, room, 0, columns * hidden)
            for r in range(rows):
                move_line(h, (d * batch + first + r) * hidden, room, state + r * step, hidden)
                if c.size:
                    move_line(c, (d * batch + first + r) * hidden, room, cell + r * step, hidden)

    return forward
