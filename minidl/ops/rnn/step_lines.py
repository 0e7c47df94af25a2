"""What both sweeps back move between arrays and the memory of a block of rows."""

from __future__ import annotations

from minidl.device import Array, inline
from minidl.device.lines import move_line


@inline
def take_step(
    room: Array, memory: int, gates: Array, cells: Array, g: Array, at: int, saved: int, hidden: int, size: int
) -> None:
    """Bring what a row's step left to `memory`, as `retreat` wants it; `at` is the step, the row and the direction.

    Parts of `size` numbers: the `saved` gates, the cell (or state) after the step, that before it (which others bring),
    and the gradient of the step's output.
    """
    if size == hidden:
        move_line(room, memory, gates, at * saved * hidden, saved * hidden)
    else:
        for part in range(saved):
            move_line(room, memory + part * size, gates, (at * saved + part) * hidden, hidden)
    move_line(room, memory + saved * size, cells, at * hidden, hidden)
    move_line(room, memory + (saved + 2) * size, g, at * hidden, hidden)


@inline
def take_states(
    room: Array, carry: int, cell: int, step: int, gh: Array, gc: Array, first: int, rows: int, hidden: int
) -> None:
    """Bring the gradients of the states of some rows, and those of the cells if there are any."""
    for r in range(rows):
        move_line(room, carry + r * step, gh, (first + r) * hidden, hidden)
        if gc.size:
            move_line(room, cell + r * step, gc, (first + r) * hidden, hidden)


@inline
def leave_states(
    gh: Array, gc: Array, first: int, rows: int, hidden: int, room: Array, carry: int, cell: int, step: int
) -> None:
    """Write them back."""
    for r in range(rows):
        move_line(gh, (first + r) * hidden, room, carry + r * step, hidden)
        if gc.size:
            move_line(gc, (first + r) * hidden, room, cell + r * step, hidden)
