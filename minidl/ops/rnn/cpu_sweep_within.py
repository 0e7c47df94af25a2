"""The sweep back that makes all products on its way, for layers whose sums of weights' gradients stay in a cache.

Threads share out blocks of up to 32 rows. A block keeps the gates' gradients of a few steps, about 96 rows, in `room`,
and multiplies them with x and the states before they leave the cache, into sums of its own:

    gradient of x  = it · W_ih       2·rows·G·H·I, and
    gradient of W += [x | h]ᵀ · it   2·rows·G·H·(I + H), for the few steps together

so that the gates' gradients never go to memory, which `cpu_sweep_back.py` writes and reads once more. The blocks' sums
are added in the order of the blocks. Blocks depend on sizes alone, and so do the bits.

LSTM, T 256, N 64, 64→128, two cores of a Zen 4: a training step takes 57 ms, by plain products 60 to 66; GRU 44 to 56.

Tried, one core of Zen 3, the same LSTM: multiplying for the weights after every 32, 64, 160, 256 rows: 134, 126, 122,
127 where 96 take 125 ms; their gradient in lines instead of panels, 4 KB from row to row: 160 where panels take 141
(T 64, N 64, 256→256).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.device import Array, Kernel, kernel, parallel
from minidl.device.lines import add_line, clear_line, fetch_line, first_aligned, move_line
from minidl.device.row_tiles import multiply_rows, packed_lines
from minidl.device.vector_math import whole_vectors
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.rnn.cpu_sweep import BLOCK_ROWS, Cell, all_lengths, pitch_of
from minidl.ops.rnn.packing import packed_turned
from minidl.ops.rnn.step_lines import leave_states, take_states, take_step

FLUSH_ROWS = 96  # rows of gates' gradients that are multiplied together
SUMS_BYTES = 1 << 19  # of the weights' gradients, beside the rest in the second cache
FEWEST_ROWS = 16  # of a batch: two blocks


def fits(cell: Cell, batch: int, inputs: int, hidden: int, itemsize: int) -> bool:
    """Whether there are rows for two threads, and the sums of a block stay in the second cache."""
    return batch >= FEWEST_ROWS and (inputs + hidden) * len(cell.order_x) * hidden * itemsize <= SUMS_BYTES


def sweep_back_within(
    cell: Cell, g_x: Array, g_states: Sequence[Array], g_weights: Sequence[Array], g_biases: Sequence[Array], g: Array,
    output: Array, saved: Sequence[Array], x: Array, starts: Sequence[Array], weights: Sequence[Array],
    lengths: Array | None,
) -> None:  # fmt: skip
    """All steps the other way; arguments as for `cpu_sweep_back.sweep_back`."""
    directions, batch, hidden = starts[0].shape
    inputs, parts = x.shape[2], len(cell.order_x)
    blocks = max(-(-batch // BLOCK_ROWS), min(2, batch // 8))
    rows, tasks = -(-batch // blocks), min(blocks, 16)
    size = -(-hidden // lanes_of(x.dtype)) * lanes_of(x.dtype)
    wide = packed_lines(parts * size, x.dtype)
    turned_x, turned_h = packed_turned(weights[0], cell.order_x), packed_turned(weights[1], cell.order_h)
    steps, nothing = output.shape[:2], np.empty((0, 0, 0, 0), x.dtype)
    states = output.reshape(*steps, directions, hidden)
    gates = saved[0] if saved else nothing
    kept = saved[1] if len(saved) > 1 else states
    none = np.empty((0, 0, 0), x.dtype)
    for d in range(directions):
        shares = np.zeros((tasks, (inputs + hidden) * wide + cell.columns * size), x.dtype)
        sizes = np.array([rows, blocks, tasks, max(1, FLUSH_ROWS // rows), cell.columns, cell.own, parts, d])
        parallel(
            cell.backward_within, tasks, g_x, *(*g_states, none)[:2], shares.reshape(-1), g.reshape(states.shape),
            states, gates, kept, x, starts[0], starts[-1], turned_x[d], turned_h[d], all_lengths(x, lengths), sizes,
            block=1,
        )  # fmt: skip
        total = shares[0] if tasks == 1 else shares.sum(0)
        by_x, by_h, by_bias = np.split(total, [inputs * wide, (inputs + hidden) * wide])
        g_weights[0][d] = _unpacked(by_x, inputs, size, hidden, cell.order_x)
        g_weights[1][d] = _unpacked(by_h, hidden, size, hidden, cell.order_h)
        write_biases(cell, g_biases, d, by_bias.reshape(cell.columns, size)[:, :hidden])


def write_biases(cell: Cell, g_biases: Sequence[Array], d: int, of_parts: Array) -> None:
    """Give each part's gradient, (columns, H), to the biases of direction `d` that move it."""
    for gradient, first, order in zip(g_biases, (0, cell.own), (cell.order_x, cell.order_h), strict=False):
        parts, hidden = len(order), of_parts.shape[1]
        gradient[d].reshape(parts, hidden)[list(order)] = of_parts[first : first + parts]


def _unpacked(total: Array, depth: int, size: int, hidden: int, order: tuple[int, ...]) -> Array:
    """The gradient of a weight, (G H, depth), from that of its transpose in panels."""
    lines = total.reshape(-1, depth, 2 * lanes_of(total.dtype)).transpose(0, 2, 1).reshape(-1, depth)
    parts = lines[: len(order) * size].reshape(len(order), size, depth)[:, :hidden]
    found = np.empty((len(order), hidden, depth), total.dtype)
    found[list(order)] = parts
    return found.reshape(-1, depth)


def within_kernel(retreat: Any) -> Kernel:
    """The sweep back of a cell with all its products; `retreat` is that of `cpu_sweep_back.backward_kernel`."""

    @kernel(
        "T[:, :, ::1], T[:, :, ::1], T[:, :, ::1], T[::1], const T[:, :, :, ::1], const T[:, :, :, ::1], "
        "const T[:, :, :, ::1], const T[:, :, :, ::1], const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], "
        "T[::1], T[::1], const int64[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def backward_within(
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
        pitch, step = pitch_of(gh, own * size + panels * panel), pitch_of(gh, h_panels * panel)
        in_pitch, x_pitch = pitch_of(gh, inputs + hidden), pitch_of(gh, x_panels * panel)
        saved = gates.shape[3] // hidden
        held = group * block_rows
        memory_size = pitch_of(gh, (saved + 3) * size)
        room = np.empty(
            memory_size + 2 * block_rows * step + held * (pitch + in_pitch) + (held + 1) * x_pitch + 32, gh.dtype
        )
        memory = first_aligned(room)
        before, carry = memory + (saved + 1) * size, memory + memory_size
        cell = carry + block_rows * step
        slopes = cell + block_rows * step
        seen = slopes + held * pitch
        zero = seen + held * in_pitch
        spread = zero + x_pitch
        clear_line(room, memory, room, 0, room.size - memory)
        for task in range(begin, end):
            by_x = task * (len(shares) // tasks)
            by_h = by_x + inputs * panels * panel
            by_bias = by_h + hidden * panels * panel
            for block in range(task * blocks // tasks, (task + 1) * blocks // tasks):
                first = block * block_rows
                rows = min(block_rows, batch - first)
                take_states(room, carry, cell, step, gh, gc, d * batch + first, rows, hidden)
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
                            take_step(room, memory, gates, cells, g, at, saved, hidden, size)
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
                leave_states(gh, gc, d * batch + first, rows, hidden, room, carry, cell, step)

    return backward_within
