"""The compiled sweep back of all recurrent layers, into which a cell puts its own formulas (see `cpu_sweep.py`).

It makes the gradients of the sums, and nothing else: what follows from them for many steps at once are plain products.

    gradient of sums from that of h  60 to 100 vector operations for 8 numbers of state
    gradient of h += it · W_hh       2·rows·G·H·H, at each step
    gradient of x  = it · W_ih       2·T·N·G·H·I, after some steps, and
    gradient of W += itᵀ · [x | h]   2·T·N·G·H·(I + H)

"Some steps" are those whose gradients of sums fit in a few megabytes, so that these are read from the third cache, and
a layer needs no memory for all of them.

Two cores of a Zen 4, float32, ms for all gradients, and what the multiplications alone take at the processor's limit:
LSTM, T 64, N 32, 48→256: 17 (12.7); T 64, N 16, 100→200: 7.6 (4.9).

Where the sums of the weights' gradients fit a cache, the products are made within the sweep (`cpu_sweep_within.py`);
where they do not, that took 17 to 26 for 48→256, 13 for 100→200, and one core only for less than 16 rows. Tried:
holding 1, 2, 8, 64 MB: 22, 17, 18 (H 256) where 4 take 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.device import CPU, Array, Kernel, empty, kernel, parallel
from minidl.device.lines import add_line, clear_line, fetch_line, first_aligned, move_line
from minidl.device.row_tiles import multiply_rows
from minidl.device.vector_math import whole_vectors
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.matmul.cpu import accumulate
from minidl.ops.rnn.cpu_sweep import Cell, all_lengths, blocks_of, pitch_of
from minidl.ops.rnn.cpu_sweep_within import fits, sweep_back_within, write_biases
from minidl.ops.rnn.packing import packed_turned
from minidl.ops.rnn.step_lines import leave_states, take_states, take_step

HELD_BYTES = 1 << 22  # of the gradients of sums


def sweep_back(
    cell: Cell, g_x: Array, g_states: Sequence[Array], g_weights: Sequence[Array], g_biases: Sequence[Array], g: Array,
    output: Array, saved: Sequence[Array], x: Array, starts: Sequence[Array], weights: Sequence[Array],
    lengths: Array | None,
) -> None:  # fmt: skip
    """All steps the other way.

    Args:
        g_x: (T, N, I), to be written; no steps if nobody wants it.
        g_states: (D, N, H): first the gradients of the last states, then those of the first ones.
        g_weights, g_biases: of the input and of the state, to be written; one bias stands for the sum of both.
        g: (T, N, D H), the gradient of the output.
        starts: (D, N, H): the states that the sweep began with.
        weights: of the input and of the state.
    """
    directions, batch, hidden = starts[0].shape
    for gradient in (g_x, *g_weights, *g_biases):
        gradient[...] = 0
    if not batch:
        return
    if fits(cell, batch, x.shape[2], hidden, x.itemsize):
        sweep_back_within(cell, g_x, g_states, g_weights, g_biases, g, output, saved, x, starts, weights, lengths)
        return
    nothing = np.empty((0, 0, 0, 0), x.dtype)
    states = output.reshape(*output.shape[:2], directions, hidden)
    gates = saved[0] if saved else nothing
    kept = saved[1] if len(saved) > 1 else states
    weight, of_lengths = packed_turned(weights[1], cell.order_h).reshape(-1), all_lengths(x, lengths)
    if lengths is not None:  # padding, whatever it is, times a gradient of zero must be zero
        x = np.where((np.arange(len(x))[:, None] < lengths)[:, :, None], x, 0)
    numbers, blocks = len(cell.order_x) * hidden, blocks_of(batch, directions)
    steps = _steps_at_once(len(x), directions * batch * numbers * x.itemsize)
    sums = empty(CPU, (directions, steps, batch, numbers), x.dtype)
    of_h = empty(CPU, sums.shape, x.dtype) if cell.own else sums
    size = -(-hidden // lanes_of(x.dtype)) * lanes_of(x.dtype)
    of_biases = np.zeros((directions, blocks, cell.columns, size), x.dtype)
    for since in range(0, len(x), steps):
        until = min(since + steps, len(x))
        shape = np.array((-(-batch // blocks), cell.columns, cell.own, since, until, *cell.order_x, *cell.order_h))
        parallel(
            cell.backward, directions * blocks, sums, of_h if cell.own else nothing,
            *(*g_states, np.empty((0, 0, 0), x.dtype))[:2], g.reshape(states.shape), gates, kept, starts[-1], weight,
            of_lengths, of_biases.reshape(-1), shape, block=1,
        )  # fmt: skip
        for d in range(directions):
            t, end = (since, until) if d else (len(x) - until, len(x) - since)
            by_x, by_h = sums[d, : end - t], of_h[d, : end - t]
            if len(g_x):
                accumulate(_lines(g_x[t:end]), _lines(by_x), weights[0][d])
            accumulate(g_weights[0][d], _lines(by_x).T, _lines(x[t:end]))
            step = 1 if d else -1  # to the state that a step began with
            inside = slice(max(t, -step), min(end, len(x) - step))
            before = states[inside.start + step : inside.stop + step, :, d]
            if len(before):
                accumulate(g_weights[1][d], _lines(by_h[inside.start - t : inside.stop - t]).T, _lines(before))
            if d and lengths is not None:  # each row starts at its own end
                rows = np.flatnonzero((lengths > t) & (lengths <= end))
                accumulate(g_weights[1][d], by_h[lengths[rows] - 1 - t, rows].T, starts[0][d, rows])
            elif until == len(x):
                accumulate(g_weights[1][d], by_h[-d].T, starts[0][d])
    for d in range(directions):
        write_biases(cell, g_biases, d, of_biases[d].sum(0)[:, :hidden])


def _steps_at_once(steps: int, step_bytes: int) -> int:
    """How many steps have their products made together: as many as are held, the same number each time."""
    times = -(-steps * step_bytes // HELD_BYTES)
    return -(-steps // max(1, min(times, steps)))


def _lines(a: Array) -> Array:
    """The view (T N, numbers) of (T, N, numbers)."""
    return a.reshape(-1, a.shape[2])


def backward_kernel(retreat: Any) -> Kernel:
    """The sweep back of a cell: `retreat(room, memory, slopes, carry, cell, size)` makes the gradients of the sums.

    `memory` has the saved gates, and after them the cell (or state) after the step, that before it, and the gradient of
    the step's output. `carry` and `cell` are the gradients of state and cell; `carry` is left with the part that does
    not pass through the sums. What `sums` gets are the gradients of the input's share, of_h (if it has any steps) those
    of the state's, both in the order of the weight's rows.
    """

    @kernel(
        "T[:, :, :, ::1], T[:, :, :, ::1], T[:, :, ::1], T[:, :, ::1], const T[:, :, :, ::1], const T[:, :, :, ::1], "
        "const T[:, :, :, ::1], const T[:, :, ::1], T[::1], const int64[::1], T[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def backward(
        begin: int, end: int, sums: Array, of_h: Array, gh: Array, gc: Array, g: Array, gates: Array, cells: Array,
        c0: Array, weight: Array, lengths: Array, biases: Array, shape: Array,
    ) -> None:  # fmt: skip
        block_rows, columns, own, since, until = shape[0], shape[1], shape[2], shape[3], shape[4]
        steps, directions, batch, hidden = len(g), gh.shape[0], gh.shape[1], gh.shape[2]
        parts, blocks = sums.shape[3] // hidden, -(-batch // block_rows)
        size, panel = whole_vectors(gh, hidden), 2 * lanes(gh)
        depth, panels = parts * size, -(-hidden // panel)
        pitch, step = pitch_of(gh, columns * size), pitch_of(gh, panels * panel)
        saved = gates.shape[3] // hidden
        memory_size = pitch_of(gh, (saved + 3) * size)
        room = np.empty(memory_size + block_rows * (2 * step + pitch) + 16, gh.dtype)
        memory = first_aligned(room)
        before, carry = memory + (saved + 1) * size, memory + memory_size
        cell = carry + block_rows * step
        slopes = cell + block_rows * step
        clear_line(room, memory, room, 0, room.size - memory)
        for task in range(begin, end):
            d, first = task // blocks, task % blocks * block_rows
            rows, by_h = min(block_rows, batch - first), d * (len(weight) // directions)
            take_states(room, carry, cell, step, gh, gc, d * batch + first, rows, hidden)
            for done in range(since, until):
                t = done if d else steps - 1 - done
                place = d * sums.shape[1] + (t - since if d else until - 1 - done)
                earlier = t + 1 if d else t - 1
                for r in range(rows):
                    n, line = first + r, slopes + r * pitch
                    at = (t * batch + n) * directions + d
                    if t >= lengths[n]:
                        clear_line(room, line, room, 0, columns * size)
                    else:
                        if earlier >= 0 and earlier < lengths[n]:
                            past = ((earlier * batch + n) * directions + d) * hidden
                            move_line(room, before, cells, past, hidden)
                        else:
                            move_line(room, before, c0, (d * batch + n) * hidden, hidden)
                        take_step(room, memory, gates, cells, g, at, saved, hidden, size)
                        then = (earlier * batch + n) * directions + d
                        fetch_line(room, 0, gates, then * saved * hidden, saved * hidden)
                        fetch_line(room, 0, g, then * hidden, hidden)
                        fetch_line(room, 0, cells, (then + then - at) * hidden, hidden)
                        retreat(room, memory, line, carry + r * step, cell + r * step, size)
                        add_line(biases, task * columns * size, room, line, columns * size)
                    for part in range(parts):
                        to = ((place * batch + n) * parts + shape[5 + part]) * hidden
                        move_line(sums, to, room, line + part * size, hidden)
                    for part in range(parts if len(of_h) else 0):
                        to = ((place * batch + n) * parts + shape[5 + parts + part]) * hidden
                        move_line(of_h, to, room, line + (own + part) * size, hidden)
                multiply_rows(room, carry, panel, step, carry, step, room, slopes + own * size, pitch, 1,
                              weight, by_h, depth * panel, panel, rows, panels, depth)  # fmt: skip
            leave_states(gh, gc, d * batch + first, rows, hidden, room, carry, cell, step)

    return backward
