"""The gates of convolutional cells, compiled: one pass over the pixels of a step.

The formulas are those of the recurrent sweeps (`minidl/ops/rnn/cpu_lstm.py`, `cpu_gru.py`), which work on lines of
vectors in one piece of memory. A pixel's channels are such a line: they are moved in, worked on, and moved out. Padding
of a row of images takes part in nothing.

LSTM forward, for 8 numbers of state: 100 vector operations, and 11 lines moved (14 if backward is wanted); the
convolution beside it, 3 x 3 of 32 channels, takes 1200.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minidl.device import Array, Kernel, kernel, parallel
from minidl.device.lines import add_line, clear_line, first_aligned, move_line
from minidl.device.vector_math import whole_vectors

BLOCK_NUMBERS = 1 << 14  # numbers of sums that a block works on: 64 KB, as long as a few calls of a kernel


@dataclass(frozen=True)
class Gates:
    """A kind of cell: its kernels, and how the parts of its sums lie side by side, as in `rnn.cpu_sweep.Cell`."""

    forward: Kernel
    backward: Kernel
    columns: int
    order_x: tuple[int, ...]
    order_h: tuple[int, ...]
    own: int = 0

    def advance(
        self, t: int, output: Array, states: Sequence[Array], saved: Sequence[Array], of_x: Array, of_h: Array,
        lengths: Array,
    ) -> None:  # fmt: skip
        """Step t: states change in place, and its lines of `output` and `saved` are written."""
        h, *cell = map(_pixels, states)
        sizes = self._sizes(t, states[0])
        parallel(
            self.forward, len(h), _pixels(output), h, *(*cell, h[:0])[:1], *(*map(_pixels, saved), h[:0])[:2],
            _pixels(of_x), _pixels(of_h), lengths, sizes, self._orders(), block=self._block(h),
        )  # fmt: skip

    def retreat(
        self, t: int, slopes: Sequence[Array], g_states: Sequence[Array], g: Array, saved: Sequence[Array],
        start: Array, lengths: Array, *, reverse: bool,
    ) -> None:  # fmt: skip
        """Step t the other way: the gradients of states change in place, and the step's slopes are written.

        `saved` are the gates and what the slopes need of each step, which is `start` before the first.
        """
        gh, *cell = map(_pixels, g_states)
        gates, kept = map(_pixels, saved)
        of_x, *of_h = map(_pixels, slopes)
        sizes = self._sizes(t, g_states[0], t + 1 if reverse else t - 1)
        parallel(
            self.backward, len(gh), of_x, *(*of_h, gh[:0])[:1], gh, *(*cell, gh[:0])[:1], _pixels(g), gates, kept,
            _pixels(start), lengths, sizes, self._orders(), block=self._block(gh),
        )  # fmt: skip

    def _sizes(self, t: int, state: Array, earlier: int = 0) -> Array:
        per_row = state[0, ..., 0].size
        return np.array([t, per_row, self.columns, self.own, len(self.order_x), earlier])

    def _orders(self) -> Array:
        return np.array((self.order_x, self.order_h))

    def _block(self, h: Array) -> int:
        numbers: int = self.columns * h.shape[1]
        return max(1, BLOCK_NUMBERS // numbers)


def _pixels(images: Array) -> Array:
    """Images (N, *image, C) as a table of pixels."""
    return images.reshape(-1, images.shape[-1])


def forward_kernel(advance: Any) -> Kernel:
    """A step of a cell: `advance(room, sums, state, cell, size)` turns the sums into gates, state and cell."""

    @kernel(
        "T[:, ::1], T[:, ::1], T[:, ::1], T[:, ::1], T[:, ::1], const T[:, ::1], const T[:, ::1], const int64[::1], "
        "const int64[::1], const int64[:, ::1]",
        T=("float32", "float64"),
    )
    def forward(
        begin: int, end: int, output: Array, h: Array, c: Array, gates: Array, cells: Array, of_x: Array, of_h: Array,
        lengths: Array, sizes: Array, orders: Array,
    ) -> None:  # fmt: skip
        t, per_row, columns, own, parts = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]
        pixels, hidden = h.shape
        size = whole_vectors(h, hidden)
        room = np.empty((columns + 2) * size + 16, h.dtype)
        sums = first_aligned(room)
        state, cell = sums + columns * size, sums + (columns + 1) * size
        clear_line(room, sums, room, 0, (columns + 2) * size)
        for p in range(begin, end):
            at = t * pixels + p
            if t >= lengths[p // per_row]:
                clear_line(output, at * hidden, room, 0, hidden)
                if len(gates):
                    clear_line(gates, at * columns * hidden, room, 0, columns * hidden)
                if len(cells):
                    clear_line(cells, at * hidden, room, 0, hidden)
                continue
            for k in range(parts):
                move_line(room, sums + k * size, of_x, (at * parts + orders[0, k]) * hidden, hidden)
            if columns > parts:
                clear_line(room, sums + parts * size, room, 0, (columns - parts) * size)
            for k in range(parts):
                add_line(room, sums + (own + k) * size, of_h, (p * parts + orders[1, k]) * hidden, hidden)
            move_line(room, state, h, p * hidden, hidden)
            if len(c):
                move_line(room, cell, c, p * hidden, hidden)
            advance(room, sums, state, cell, size)
            move_line(h, p * hidden, room, state, hidden)
            move_line(output, at * hidden, room, state, hidden)
            if len(c):
                move_line(c, p * hidden, room, cell, hidden)
            if len(cells):
                move_line(cells, at * hidden, room, cell, hidden)
            if len(gates):
                for k in range(columns):
                    move_line(gates, (at * columns + k) * hidden, room, sums + k * size, hidden)

    return forward


def backward_kernel(retreat: Any) -> Kernel:
    """The way back: `retreat(room, memory, slopes, carry, cell, size)`, as in `rnn.cpu_sweep.backward_kernel`."""

    @kernel(
        "T[:, ::1], T[:, ::1], T[:, ::1], T[:, ::1], const T[:, ::1], const T[:, ::1], const T[:, ::1], "
        "const T[:, ::1], const int64[::1], const int64[::1], const int64[:, ::1]",
        T=("float32", "float64"),
    )
    def backward(
        begin: int, end: int, of_x: Array, of_h: Array, gh: Array, gc: Array, g: Array, gates: Array, kept: Array,
        start: Array, lengths: Array, sizes: Array, orders: Array,
    ) -> None:  # fmt: skip
        t, per_row, columns, own = sizes[0], sizes[1], sizes[2], sizes[3]
        parts, earlier = sizes[4], sizes[5]
        pixels, hidden = gh.shape
        size = whole_vectors(gh, hidden)
        room = np.empty((2 * columns + 5) * size + 16, gh.dtype)
        memory = first_aligned(room)
        after, before, above = memory + columns * size, memory + (columns + 1) * size, memory + (columns + 2) * size
        slopes = memory + (columns + 3) * size
        carry, cell = slopes + columns * size, slopes + (columns + 1) * size
        clear_line(room, memory, room, 0, (2 * columns + 5) * size)
        for p in range(begin, end):
            row, at = p // per_row, t * pixels + p
            if t >= lengths[row]:
                clear_line(of_x, at * parts * hidden, room, 0, parts * hidden)
                if len(of_h):
                    clear_line(of_h, at * parts * hidden, room, 0, parts * hidden)
                continue
            for k in range(columns):
                move_line(room, memory + k * size, gates, (at * columns + k) * hidden, hidden)
            move_line(room, after, kept, at * hidden, hidden)
            if earlier >= 0 and earlier < lengths[row]:
                move_line(room, before, kept, (earlier * pixels + p) * hidden, hidden)
            else:
                move_line(room, before, start, p * hidden, hidden)
            move_line(room, above, g, at * hidden, hidden)
            move_line(room, carry, gh, p * hidden, hidden)
            if len(gc):
                move_line(room, cell, gc, p * hidden, hidden)
            retreat(room, memory, slopes, carry, cell, size)
            for k in range(parts):
                move_line(of_x, (at * parts + orders[0, k]) * hidden, room, slopes + k * size, hidden)
                if len(of_h):
                    move_line(of_h, (at * parts + orders[1, k]) * hidden, room, slopes + (own + k) * size, hidden)
            move_line(gh, p * hidden, room, carry, hidden)
            if len(gc):
                move_line(gc, p * hidden, room, cell, hidden)

    return backward
