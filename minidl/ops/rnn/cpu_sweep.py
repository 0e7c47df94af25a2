"""The compiled sweeps of all recurrent layers: one forward, one backward, into which a cell puts its own formulas.

Rows of a batch do not know of each other. So a block of up to 32 rows goes through all steps alone, and threads
(blocks, directions) never wait for each other. A block holds its states and sums in one piece of memory, `room`, which
stays in the first two caches. Forward, for each step:

    sums  = bias + x[t] · W_ihᵀ      2·rows·I·G·H operations, x read in place
    sums += h · W_hhᵀ                2·rows·H·G·H
    gates, h, c from sums            30 to 90 vector operations for 8 numbers of state

Both weights are packed once, and lie in the second-level cache (512 KiB; LSTM, I 64, H 128: 384) or stream from the
third. The sums of a large product for all steps, 33 MB for T 256, N 64, H 128, are never written to memory. Small
batches take the input's product for several steps at once, since a product of one row only waits for the weight.

Backward goes the other way, and keeps the gates' gradients of a few steps, about 96 rows, in `room`:

    gradient of sums from that of h  60 to 100 vector operations for 8 numbers of state
    gradient of h += it · W_hh       2·rows·G·H·H, at each step
    gradient of x  = it · W_ih       2·rows·G·H·I, and
    gradient of W += [x | h]ᵀ · it   2·rows·G·H·(I + H), for the few steps together, while it is in the cache

so that the gates' gradients are never written to memory either. Each block's share of the gradient of W is a sum of its
own; the shares are added in the order of the blocks. Blocks depend on sizes alone, and so do the bits.

LSTM, T 256, N 64, 64→128: 3.2 GFLOP forward, 34 ms at one core's 95 GFLOP/s, and 4.4 ms of gates (measured: 40); a
training step without the gradient of x 8.6 GFLOP, 90 ms, and 10 of gates (116). It writes 50 MB of gates, cells and
states, and reads them once. In its training step 79 % of the time are spent in tiles, at 94 GFLOP/s.

Tried, one core of Zen 3, float32 (ms; same case if none is named):
- the input's product for all steps first, as one: it writes and reads 33 MB; 1.0 times as fast as PyTorch, now 1.6
- blocks of 16, 22, 64 rows: inference 40.4, 40.8, 41.2 where 32 take 39.8; training 125, 121, 130 where 32 take 121
- multiplying for the weights after every 32, 64, 160, 256 rows: 134, 126, 122, 127 where 96 take 125
- their gradient in lines instead of panels, 4 KB from row to row: 160 where panels take 141 (T 64, N 64, 256→256)
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
from minidl.device.lines import add_line, clear_line, fetch_line, first_aligned, move_line
from minidl.device.row_tiles import multiply_rows, packed_lines
from minidl.device.vector_math import whole_vectors
from minidl.device.vectors import lanes, lanes_of

BLOCK_ROWS = 32
FLUSH_ROWS = 96  # rows of gates' gradients that are multiplied together


@dataclass(frozen=True)
class Cell:
    """A kind of recurrent layer: its kernels, and how the parts of its sums lie side by side.

    A line of sums has `columns` parts of H numbers. The input's product gives those from 0 on, `order_x` says which
    rows of weight_ih; the state's product those from `own` on, `order_h` says which rows of weight_hh.
    """

    forward: Kernel
    backward: Kernel
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
    blocks = _blocks(batch)
    rows = -(-batch // blocks)
    group = max(1, min(len(x), BLOCK_ROWS // rows))
    packed_x, packed_h = _packed(weight_ih, cell.order_x), _packed(weight_hh, cell.order_h)
    none, nothing = np.empty((0, 0, 0), x.dtype), np.empty((0, 0, 0, 0), x.dtype)
    lines = _bias_lines(bias, cell, x.dtype)
    sizes = np.array([rows, group, cell.columns, cell.own, len(cell.order_x)])
    all_of_h = output.reshape(*output.shape[:2], directions, hidden)
    parallel(
        cell.forward, directions * blocks, all_of_h, *(*states, none)[:2], *(*saved, nothing, nothing)[:2], x,
        packed_x.reshape(-1), packed_h.reshape(-1), lines, _all(x, lengths), sizes, block=1,
    )  # fmt: skip


def sweep_back(
    cell: Cell, g_x: Array, g_states: Sequence[Array], g_weight_ih: Array, g_weight_hh: Array, g: Array, output: Array,
    saved: Sequence[Array], x: Array, starts: Sequence[Array], weight_ih: Array, weight_hh: Array,
    lengths: Array | None,
) -> Array:  # fmt: skip
    """All steps the other way; gives the gradient of `sweep`'s bias, (D, columns, H).

    Args:
        g_x: (T, N, I), to be written; no steps if nobody wants it.
        g_states: (D, N, H): first the gradients of the last states, then those of the first ones.
        g: (T, N, D H), the gradient of the output.
        starts: (D, N, H): the states that the sweep began with.
    """
    directions, batch, hidden = starts[0].shape
    inputs, parts = x.shape[2], len(cell.order_x)
    g_bias = np.zeros((directions, cell.columns, hidden), x.dtype)
    if not batch:
        g_x[...] = g_weight_ih[...] = g_weight_hh[...] = 0
        return g_bias
    blocks = _blocks(batch)
    rows, tasks = -(-batch // blocks), min(blocks, 16)
    size = -(-hidden // lanes_of(x.dtype)) * lanes_of(x.dtype)
    wide = packed_lines(parts * size, x.dtype)
    turned_x, turned_h = _packed_turned(weight_ih, cell.order_x), _packed_turned(weight_hh, cell.order_h)
    steps, nothing = output.shape[:2], np.empty((0, 0, 0, 0), x.dtype)
    states = output.reshape(*steps, directions, hidden)
    gates = saved[0] if saved else nothing
    kept = saved[1] if len(saved) > 1 else states
    none = np.empty((0, 0, 0), x.dtype)
    for d in range(directions):
        shares = np.zeros((tasks, (inputs + hidden) * wide + cell.columns * size), x.dtype)
        sizes = np.array([rows, blocks, tasks, max(1, FLUSH_ROWS // rows), cell.columns, cell.own, parts, d])
        parallel(
            cell.backward, tasks, g_x, *(*g_states, none)[:2], shares.reshape(-1), g.reshape(states.shape), states,
            gates, kept, x, starts[0], starts[-1], turned_x[d], turned_h[d], _all(x, lengths), sizes, block=1,
        )  # fmt: skip
        total = shares[0] if tasks == 1 else shares.sum(0)
        by_x, by_h, by_bias = np.split(total, [inputs * wide, (inputs + hidden) * wide])
        g_weight_ih[d] = _unpacked(by_x, inputs, size, hidden, cell.order_x)
        g_weight_hh[d] = _unpacked(by_h, hidden, size, hidden, cell.order_h)
        g_bias[d] = by_bias.reshape(cell.columns, size)[:, :hidden]
    return g_bias


def _blocks(batch: int) -> int:
    """Blocks of up to `BLOCK_ROWS` rows; two from 16 rows on, so that two threads have work."""
    return max(-(-batch // BLOCK_ROWS), min(2, batch // 8))


def _all(x: Array, lengths: Array | None) -> Array:
    return np.full(x.shape[1], x.shape[0], np.int64) if lengths is None else lengths


def _packed(weight: Array, order: tuple[int, ...]) -> Array:
    """(D, G H, K), its parts in `order`, each filled up to whole vectors, transposed into panels: (D, panels K 16)."""
    directions, depth = len(weight), weight.shape[2]
    parts = _parts(weight, order)
    columns = parts.shape[1] * parts.shape[2]
    width = packed_lines(columns, weight.dtype)
    lines = parts.reshape(directions, columns, depth)
    if columns < width:
        lines = np.zeros((directions, width, depth), weight.dtype)
        lines[:, :columns] = parts.reshape(directions, columns, depth)
    panels = lines.reshape(directions, -1, 2 * lanes_of(weight.dtype), depth).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(panels).reshape(directions, -1)


def _packed_turned(weight: Array, order: tuple[int, ...]) -> Array:
    """(D, G H, K), its parts in `order`, each filled up to whole vectors, in panels of K: (D, panels G size 16)."""
    directions, depth = len(weight), weight.shape[2]
    parts = _parts(weight, order)
    rows, width = parts.shape[1] * parts.shape[2], packed_lines(depth, weight.dtype)
    lines = parts.reshape(directions, rows, depth)
    if depth < width:
        lines = np.zeros((directions, rows, width), weight.dtype)
        lines[:, :, :depth] = parts.reshape(directions, rows, depth)
    panels = lines.reshape(directions, rows, -1, 2 * lanes_of(weight.dtype)).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(panels).reshape(directions, -1)


def _parts(weight: Array, order: tuple[int, ...]) -> Array:
    """(D, G H, K) as (D, G, size, K), the parts in `order`, each filled up with zeros to whole vectors."""
    directions, hidden, vector = len(weight), weight.shape[1] // len(order), lanes_of(weight.dtype)
    parts = weight.reshape(directions, len(order), hidden, weight.shape[2])
    if list(order) != sorted(order):
        parts = parts[:, list(order)]
    if hidden % vector == 0:
        return parts
    size = -(-hidden // vector) * vector
    filled = np.zeros((directions, len(order), size, weight.shape[2]), weight.dtype)
    filled[:, :, :hidden] = parts
    return filled


def _unpacked(total: Array, depth: int, size: int, hidden: int, order: tuple[int, ...]) -> Array:
    """The gradient of a weight, (G H, depth), from that of its transpose in panels."""
    lines = total.reshape(-1, depth, 2 * lanes_of(total.dtype)).transpose(0, 2, 1).reshape(-1, depth)
    parts = lines[: len(order) * size].reshape(len(order), size, depth)[:, :hidden]
    found = np.empty((len(order), hidden, depth), total.dtype)
    found[list(order)] = parts
    return found.reshape(-1, depth)


def _bias_lines(bias: Array, cell: Cell, dtype: Any) -> Array:
    directions, columns, hidden = bias.shape
    vector = lanes_of(dtype)
    size = -(-hidden // vector) * vector
    lines = np.zeros((directions, cell.own * size + packed_lines(len(cell.order_h) * size, dtype)), dtype)
    lines[:, : columns * size].reshape(directions, columns, size)[:, :, :hidden] = bias
    return lines


@inline
def _pitch(array: Array, count: int) -> Any:
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
        pitch, step, x_pitch = _pitch(h, bias.shape[1]), _pitch(h, size), _pitch(h, inputs)
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


def backward_kernel(retreat: Any) -> Kernel:
    """The sweep back of a cell: `retreat(room, memory, slopes, carry, cell, size)` makes the gradients of the sums.

    `memory` has the saved gates, and after them the cell (or state) after the step, that before it, and the gradient of
    the step's output. `carry` and `cell` are the gradients of state and cell; `carry` is left with the part that does
    not pass through the sums.
    """

    @kernel(
        "T[:, :, ::1], T[:, :, ::1], T[:, :, ::1], T[::1], const T[:, :, :, ::1], const T[:, :, :, ::1], "
        "const T[:, :, :, ::1], const T[:, :, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], "
        "T[::1], T[::1], const int64[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def backward(
        begin: int, end: int, gx: Array, gh: Array, gc: Array, shares: Array, g: Array, output: Array, gates: Array,
        cells: Array, x: Array, h0: Array, c0: Array, weight_x: Array, weight_h: Array, lengths: Array, sizes: Array,
    ) -> None:  # fmt: skip
        block_rows, blocks, tasks, group, columns = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        own, parts, d = sizes[5], sizes[6], sizes[7]
        steps, batch, inputs = x.shape
        directions, hidden = gh.shape[0], gh.shape[2]
        size, panel = whole_vectors(gh, hidden), 2 * lanes(gh)
        depth, panels = parts * size, -(-parts * size // panel)
        x_panels, h_panels = -(-inputs // panel), -(-hidden // panel)
        wide = -(-panels // 4) * 4
        pitch, step = _pitch(gh, own * size + wide * panel), _pitch(gh, -(-h_panels // 4) * 4 * panel)
        in_pitch, x_pitch = _pitch(gh, inputs + hidden), _pitch(gh, -(-x_panels // 4) * 4 * panel)
        saved = gates.shape[3] // hidden
        held = group * block_rows
        memory_size = _pitch(gh, (saved + 3) * size)
        room = np.empty(
            memory_size + 2 * block_rows * step + held * (pitch + in_pitch) + (held + 1) * x_pitch + 32, gh.dtype
        )
        memory = first_aligned(room)
        after, before, above = memory + saved * size, memory + (saved + 1) * size, memory + (saved + 2) * size
        carry = memory + memory_size
        cell = carry + block_rows * step
        slopes = cell + block_rows * step
        seen = slopes + held * pitch
        zero = seen + held * in_pitch
        spread = zero + x_pitch
        clear_line(room, memory, room, 0, room.size - memory)
        for task in range(begin, end):
            by_x = task * (len(shares) // tasks)
            by_h = by_x + inputs * wide * panel
            by_bias = by_h + hidden * wide * panel
            for block in range(task * blocks // tasks, (task + 1) * blocks // tasks):
                first = block * block_rows
                rows = min(block_rows, batch - first)
                for r in range(rows):
                    at = (d * batch + first + r) * hidden
                    move_line(room, carry + r * step, gh, at, hidden)
                    if gc.size:
                        move_line(room, cell + r * step, gc, at, hidden)
                for done in range(0, steps, group):
                    count = min(group, steps - done)
                    for s in range(count):
                        t = done + s if d else steps - 1 - done - s
                        earlier = t + 1 if d else t - 1
                        for r in range(rows):
                            n, number = first + r, s * rows + r
                            line, place = slopes + number * pitch, seen + number * in_pitch
                            if t >= lengths[n]:
                                clear_line(room, line, room, 0, columns * size)
                                clear_line(room, place, room, 0, in_pitch)
                                continue
                            at = (t * batch + n) * directions + d
                            move_line(room, place, x, (t * batch + n) * inputs, inputs)
                            if earlier >= 0 and earlier < lengths[n]:
                                past = ((earlier * batch + n) * directions + d) * hidden
                                move_line(room, place + inputs, output, past, hidden)
                                move_line(room, before, cells, past, hidden)
                            else:
                                move_line(room, place + inputs, h0, (d * batch + n) * hidden, hidden)
                                move_line(room, before, c0, (d * batch + n) * hidden, hidden)
                            if size == hidden:
                                move_line(room, memory, gates, at * saved * hidden, saved * hidden)
                            else:
                                for part in range(saved):
                                    move_line(room, memory + part * size, gates, (at * saved + part) * hidden, hidden)
                            move_line(room, after, cells, at * hidden, hidden)
                            move_line(room, above, g, at * hidden, hidden)
                            then = (earlier * batch + n) * directions + d
                            fetch_line(room, 0, x, (earlier * batch + n) * inputs, inputs)
                            fetch_line(room, 0, gates, then * saved * hidden, saved * hidden)
                            fetch_line(room, 0, g, then * hidden, hidden)
                            fetch_line(room, 0, output, (then + then - at) * hidden, hidden)
                            retreat(room, memory, line, carry + r * step, cell + r * step, size)
                        of_h = slopes + s * rows * pitch + own * size
                        multiply_rows(room, carry, panel, step, carry, step, room, of_h, pitch, 1,
                                      weight_h, 0, depth * panel, panel, rows, h_panels, depth)  # fmt: skip
                    if len(gx):
                        multiply_rows(room, spread, panel, x_pitch, zero, 0, room, slopes, pitch, 1,
                                      weight_x, 0, depth * panel, panel, count * rows, x_panels, depth)  # fmt: skip
                        for s in range(count):
                            t = done + s if d else steps - 1 - done - s
                            for r in range(rows):
                                line, at = spread + (s * rows + r) * x_pitch, (t * batch + first + r) * inputs
                                if d:
                                    add_line(gx, at, room, line, inputs)
                                else:
                                    move_line(gx, at, room, line, inputs)
                    multiply_rows(shares, by_x, inputs * panel, panel, by_x, panel, room, seen, 1, in_pitch,
                                  room, slopes, panel, pitch, inputs, panels, count * rows)  # fmt: skip
                    multiply_rows(shares, by_h, hidden * panel, panel, by_h, panel, room, seen + inputs, 1, in_pitch,
                                  room, slopes + own * size, panel, pitch, hidden, panels, count * rows)  # fmt: skip
                    for r in range(count * rows):
                        add_line(shares, by_bias, room, slopes + r * pitch, columns * size)
                for r in range(rows):
                    at = (d * batch + first + r) * hidden
                    move_line(gh, at, room, carry + r * step, hidden)
                    if gc.size:
                        move_line(gc, at, room, cell + r * step, hidden)

    return backward
