"""The compiled sweep of few rows, whose steps are shared: each thread makes a part of the states, at every step.

With few rows a step does little but read the weight of the state, and one thread that walks through all of it at every
step reads it from the third-level cache: 1 MiB for an LSTM of 256 units. So the states are cut into units of some
neighbours, each with its part of the weights, its sums and its cells, and a step is made unit by unit:

    sums  = bias + x[t] · W_ihᵀ      for several steps at once
    sums += h · W_hhᵀ                which wants all states of the step before
    gates, h, c from sums

A turn before the first step brings bias and states. Threads meet after every turn. Each unit has a word that says how
many turns of it somebody has taken on, each direction one that says how many units of all turns are done. A thread
takes on what is left of a turn, its own part first, so that its part of the weights stays in its own cache; then it
waits until those that are at work have finished. It never waits for a thread that has not come: if none comes, one
thread does everything. Units depend on sizes alone, and each sum runs as in `cpu_sweep.py`, so no bit depends on the
threads, nor on which sweep it is.

One row on two cores of a Zen 4, float32, ms for the sweep: LSTM, T 64, 48→256: 0.45 on both, 0.84 on one; T 256,
64→128: 0.53 and 0.85. A core reads 113 GB/s from its second-level cache, which takes 0.30 of those 0.45.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minidl.device import Array, Kernel, inline, kernel, parallel
from minidl.device.atomic import draw, exchange, get, make_way, pause
from minidl.device.crew import APART, ROUNDS, WORD
from minidl.device.dtypes import DType
from minidl.device.lines import clear_line, move_line
from minidl.device.row_tiles import multiply_rows
from minidl.device.scratch import scratch
from minidl.device.vectors import aligned_empty, lanes, lanes_of

UNIT_BYTES = 1 << 17  # of the weight of the state in a unit, at least: 1 us, of which meeting takes half as long
MOST_UNITS = 16
SEATS = 16  # threads that find a place at a direction


def span_of(hidden: int, parts: int, dtype: DType) -> int:
    """How many states a unit has, with so many parts of sums each: whole panels."""
    panel = 2 * lanes_of(dtype)
    least = max(-(-hidden // MOST_UNITS), -(-UNIT_BYTES // max(1, parts * hidden * dtype.itemsize)))
    return -(-least // panel) * panel


def sweep_shared(
    forward: Kernel, output: Array, states: Sequence[Array], saved: Sequence[Array], x: Array,
    weights: tuple[Array, Array], bias: Array, lengths: Array, span: int, group: int, parts: int,
) -> None:  # fmt: skip
    """All steps of a layer in all its directions.

    Args:
        output, states, saved, x, bias: as for `cpu_sweep.sweep`.
        weights: packed, in spans.
        span: of a unit.
        group: steps whose product with the input is made at once.
        parts: of each weight.
    """
    directions, batch, hidden = states[0].shape
    units, columns = -(-hidden // span), bias.shape[1]
    words = aligned_empty(directions * (1 + units) * (APART // WORD), np.dtype(np.int64))
    words[:] = 0
    sizes = np.array([units, span, group, columns, parts])
    room_size = directions * units * span * (batch * (3 + group * columns) + columns)
    with scratch(room_size, x.dtype) as room:
        parallel(
            forward, directions * SEATS, output, *states, *(() if len(states) > 1 else (_NONE[x.dtype],)), *saved, x,
            *weights, bias, room, words.ctypes.data, lengths, sizes, block=1,
            size=len(x) * (weights[0].nbytes + weights[1].nbytes),
        )  # fmt: skip


_NONE = {np.dtype(name): np.empty((0, 0, 0), name) for name in ("float32", "float64")}


@inline
def _wait_until(address: int, least: int) -> None:
    rounds = 0
    while get(address) < least:
        rounds += 1
        pause()
        if rounds % ROUNDS == 0:
            make_way()


def shared_kernel(advance: Any) -> Kernel:
    """The sweep of a cell, whose `advance` is that of `cpu_sweep.forward_kernel`."""

    @kernel(
        "T[:, :, :, ::1], T[:, :, ::1], T[:, :, ::1], T[:, :, :, ::1], T[:, :, :, ::1], const T[:, :, ::1], T[::1], "
        "T[::1], const T[:, :, ::1], T[::1], intp, const int64[::1], const int64[::1]",
        T=("float32", "float64"),
    )
    def forward_shared(
        begin: int, end: int, output: Array, h: Array, c: Array, gates: Array, cells: Array, x: Array, weight_x: Array,
        weight_h: Array, bias: Array, room: Array, board: int, lengths: Array, sizes: Array,
    ) -> None:  # fmt: skip
        units, span, group, columns, parts = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        steps, batch, inputs = x.shape
        directions, hidden = h.shape[0], h.shape[2]
        panel, width, wide, given = 2 * lanes(h), columns * span, units * span, parts * span
        panels, own = given // panel, width - given
        of_states = batch * wide
        of_unit = width + batch * (span + group * width)
        for seat in range(begin, end):
            d = seat // SEATS
            words, base = board + d * (1 + units) * APART, d * (2 * of_states + units * of_unit)
            turn = get(words) // units
            while turn <= steps:
                for number in range(units):
                    unit = (seat % SEATS * units // SEATS + number) % units
                    word = words + (1 + unit) * APART
                    if get(word) != turn or not exchange(word, turn, turn + 1):
                        continue
                    first, start = unit * span, base + 2 * of_states + unit * of_unit  # of the bias
                    seen, cell = min(span, hidden - first), start + width
                    sums, step = cell + batch * span, turn - 1
                    before, after = base + turn % 2 * of_states, base + (turn + 1) % 2 * of_states
                    if turn == 0:  # the states and the bias are brought
                        clear_line(room, start, room, 0, width + batch * span)
                        for part in range(columns):
                            move_line(room, start + part * span, bias, (d * columns + part) * hidden + first, seen)
                        for r in range(batch):
                            at = (d * batch + r) * hidden + first
                            move_line(room, after + r * wide + first, h, at, seen)
                            if c.size:
                                move_line(room, cell + r * span, c, at, seen)
                        draw(words)
                        continue
                    done = step // group * group
                    count, t = min(group, steps - done), steps - 1 - step if d else step
                    by_x, by_h = (d * units + unit) * given * inputs, (d * units + unit) * given * hidden
                    if step == done:  # lines of sums lie in the order of t
                        lowest = t - count + 1 if d else t
                        multiply_rows(room, sums, panel, width, start, 0, x, lowest * batch * inputs, inputs, 1,
                                      weight_x, by_x, inputs * panel, panel, batch * count, panels, inputs)  # fmt: skip
                        for r in range(batch * count if own > 0 else 0):
                            move_line(room, sums + r * width + given, room, start + given, own)
                    here = sums + (count - 1 - step + done if d else step - done) * batch * width
                    multiply_rows(room, here + own, panel, width, here + own, width, room, before, wide, 1, weight_h,
                                  by_h, hidden * panel, panel, batch, panels, hidden)  # fmt: skip
                    for r in range(batch):
                        line, state, at = here + r * width, after + r * wide + first, (t * batch + r) * directions + d
                        move_line(room, state, room, before + r * wide + first, span)
                        if t < lengths[r]:
                            advance(room, line, state, cell + r * span, span)
                            move_line(output, at * hidden + first, room, state, seen)
                            if len(cells):
                                move_line(cells, at * hidden + first, room, cell + r * span, seen)
                            for part in range(columns if len(gates) else 0):
                                move_line(gates, (at * columns + part) * hidden + first, room, line + part * span, seen)
                        else:
                            clear_line(output, at * hidden + first, room, 0, seen)
                            if len(cells):
                                clear_line(cells, at * hidden + first, room, 0, seen)
                            for part in range(columns if len(gates) else 0):
                                clear_line(gates, (at * columns + part) * hidden + first, room, 0, seen)
                        if turn == steps:
                            move_line(h, (d * batch + r) * hidden + first, room, state, seen)
                            if c.size:
                                move_line(c, (d * batch + r) * hidden + first, room, cell + r * span, seen)
                    draw(words)
                turn += 1
                _wait_until(words, turn * units)

    return forward_shared
