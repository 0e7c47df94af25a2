"""Attention by blocks of queries and chunks of keys: the weights of a block live in the second-level cache and nowhere
else.

softmax(q kᵀ) as a matrix of its own is written and read four times forward and as often backward, 10 MB for 128 heads
of 144 places. Here a block of 96 queries meets a chunk of 256 keys: their scores are made by the micro-kernel, turned
into exponentials, and multiplied with the chunk's values at once. Where there are several chunks, what was summed so
far is scaled down whenever a larger score turns up. For the way back only the logarithm of each query's sum is kept;
weights are computed again: exp(score - that).

Forward 4 L S E operations for L queries, S keys and E features (with as many values), backward 10 L S E; bytes: the
inputs and the results. A unit of work is a block of queries forward, and a whole matrix (one head of one sample)
backward, because its gradients of keys and values are sums over all queries.

Sources: Dao et al., NeurIPS 2022 (FlashAttention); Milakov and Gimelshein, arXiv:1805.02867 (softmax in one pass).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array, Run
from minidl.device import inline, kernel
from minidl.device.inline import separate
from minidl.device.microkernel import gemm_taps, panel_columns, tile_rows
from minidl.device.pointers import cell_of, pointers_in
from minidl.device.row_sums import row_max, row_product, row_sum
from minidl.device.scalar_math import exp, exp_below, log
from minidl.device.threads import Blocks
from minidl.device.transpose import transpose
from minidl.device.turned_tiles import pack_columns, pack_rows, turned_rows, turned_tile
from minidl.device.vectors import lanes
from minidl.ops.matmul.plan import matrix_places

QUERIES, KEYS = 96, 256  # in a block, in a chunk
FLOATS = ("float32", "float64")
Shapes = tuple[tuple[int, ...] | None, ...]


def forward(
    out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None,
    *, scale: float, is_causal: bool, is_safe: bool,
) -> Run:  # fmt: skip
    """What attends in arrays that lie like these: run(out, q, k, v, mask=None).

    out is the result (..., L, Ev), and (..., L), the logarithm of each query's sum of exponentials: C-contiguous.

    Args:
        q, k, v: (..., L, E), (..., S, E), (..., S, Ev), of any strides.
        mask: added to the scores, broadcasts to (..., L, S); of any strides.
        is_safe: a query for which no key counts gets zeros, not NaN.
    """
    factor, copied = np.array((scale,), out[0].dtype), _to_be_copied(q, k, v, mask)
    places, shape = _layout(out[0], q, k, v, mask, copied, (is_causal, is_safe, mask is not None))
    count, blocks, width = places.shape[1], -(-q.shape[-2] // QUERIES), panel_columns(factor.dtype)
    memory = _chunk(k.shape[-2], width) * (q.shape[-1] + _up(v.shape[-1], width) + QUERIES) + 2 * width
    call = Blocks(attend, count * blocks, scratch_size=memory, size=_work(q, k))

    def run(out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None) -> None:
        if copied is not None:
            q, k, v, mask = _in_rows((q, k, v, mask), copied)
        to = cell_of(out[0])
        call(factor, to, cell_of(out[1]), cell_of(q), cell_of(k), cell_of(v), to if mask is None else cell_of(mask),
             places, shape)  # fmt: skip

    return run


def backward(
    grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
    mask: Array | None = None, *, scale: float, is_causal: bool,
) -> Run:  # fmt: skip
    """What makes the gradients of q, k and v, C-contiguous, given that of out: run(grads, g, q, k, v, out, ...)."""
    factor, copied = np.array((scale,), g.dtype), _to_be_copied(q, k, v, mask)
    places, shape = _layout(out, q, k, v, mask, copied, (is_causal, False, mask is not None))
    width, e, ev = panel_columns(factor.dtype), q.shape[-1], v.shape[-1]
    memory = _chunk(k.shape[-2], width) * (e + ev + _up(e, width) + 2 * QUERIES)
    memory += QUERIES * (_up(e, width) + _up(ev, width) + tile_rows(2)) + 4 * width
    call = Blocks(attend_back, places.shape[1], scratch_size=memory, size=2 * _work(q, k))
    are_straight = g.flags.c_contiguous and out.flags.c_contiguous and level.flags.c_contiguous

    def run(
        grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
        mask: Array | None = None,
    ) -> None:  # fmt: skip
        if copied is not None:
            q, k, v, mask = _in_rows((q, k, v, mask), copied)
        if not are_straight:
            g, out, level = map(np.ascontiguousarray, (g, out, level))
        to = cell_of(out)
        call(factor, *map(cell_of, grads), cell_of(g), to, cell_of(level), cell_of(q), cell_of(k), cell_of(v),
             to if mask is None else cell_of(mask), places, shape)  # fmt: skip

    return run


def _work(q: Array, k: Array) -> int:
    """What stands for bytes where `parallel` asks whether threads are worth calling: those of the weights."""
    return int(q.nbytes // max(q.shape[-1], 1) * k.shape[-2])


def _to_be_copied(q: Array, k: Array, v: Array, mask: Array | None) -> Shapes | None:
    """The shapes of those whose rows do not each lie in one piece; None if there are none."""
    shapes = [None if _is_in_rows(a) else a.shape for a in (q, k, v)]
    shapes.append(None if mask is None or _is_in_rows(mask := _widened(mask, q, k)) else mask.shape)
    return tuple(shapes) if any(shapes) else None


def _is_in_rows(a: Array) -> bool:
    return bool(a.strides[-1] == a.itemsize or a.shape[-1] == 1)


def _widened(mask: Array, q: Array, k: Array) -> Array:
    return np.broadcast_to(mask, (*q.shape[:-1], k.shape[-2]))


def _in_rows(arrays: tuple[Array | None, ...], copied: Shapes) -> Any:
    """The arrays, or copies in the shapes that are given."""
    return [a if a is None or shape is None else np.ascontiguousarray(np.broadcast_to(a, shape))
            for a, shape in zip(arrays, copied, strict=True)]  # fmt: skip


def _up(n: int, width: int) -> int:
    return -(-n // width) * width


def _chunk(keys: int, width: int) -> int:
    return min(KEYS, _up(keys, width))


def _layout(
    out: Array, q: Array, k: Array, v: Array, mask: Array | None, copied: Shapes | None, how: tuple[bool, ...]
) -> tuple[Array, Array]:
    """Where the matrices of q, k, v and mask begin; lengths, steps from row to row, and `how`."""
    seen = [q, k, v, out if mask is None else _widened(mask, q, k)]
    if copied is not None:
        seen = [a if shape is None else np.empty(shape, a.dtype) for a, shape in zip(seen, copied, strict=True)]
    item = out.itemsize
    places = np.stack([matrix_places(out.shape[:-2], a.shape[:-2], a.strides[:-2], item) for a in seen])
    steps = [a.strides[-2] // item for a in seen]
    return places, np.array((q.shape[-2], k.shape[-2], q.shape[-1], v.shape[-1], *steps, *how), np.int64)


# What `shape` holds for the kernels, by position.
_L, _S, _E, _EV, _Q_ROW, _K_ROW, _V_ROW, _MASK_ROW, _CAUSAL, _SAFE, _MASKED = range(11)


@kernel("const T[::1], intp, intp, intp, intp, intp, intp, const int64[:, ::1], const int64[::1], T[::1]", T=FLOATS)
def attend(
    begin: int, end: int, scale: Array, out_cell: int, level_cell: int, q_cell: int, k_cell: int, v_cell: int,
    mask_cell: int, places: Array, shape: Array, memory: Array,
) -> None:  # fmt: skip
    """(Matrix, block of queries) begin to end."""
    out, level, q, k, v, mask = pointers_in((out_cell, level_cell, q_cell, k_cell, v_cell, mask_cell), scale)
    width, queries, ev = 2 * lanes(memory), shape[_L], shape[_EV]
    chunk = min(KEYS, -(-shape[_S] // width) * width)
    values = chunk * shape[_E]
    scores = values + chunk * (-(-ev // width) * width)
    top, total = np.empty(QUERIES, memory.dtype), np.empty(QUERIES, memory.dtype)
    zeros, blocks, held = np.zeros(chunk, memory.dtype), -(-queries // QUERIES), -1
    for unit in range(begin, end):
        matrix, row = unit // blocks, unit % blocks * QUERIES
        count, to = min(QUERIES, queries - row), (matrix * queries + row) * ev
        top[:], total[:] = -np.inf, 0
        for i in range(to, to + count * ev):
            out[i] = 0
        for first in range(0, _last_key(row + count, shape), chunk):
            wide = min(chunk, shape[_S] - first)
            if held != matrix or shape[_S] > chunk:
                _pack_turned(memory, 0, k, places[1, matrix] + first * shape[_K_ROW], shape[_K_ROW], wide, shape[_E])
                _scale(memory, chunk * shape[_E], scale[0])  # scores come out of the product as they are wanted
                _pack_straight(memory, values, v, places[2, matrix] + first * shape[_V_ROW], shape[_V_ROW], wide, ev)
            _scores(memory, scores, chunk, zeros, q, places[0, matrix] + row * shape[_Q_ROW], shape[_Q_ROW], 0, count,
                    wide, shape[_E])  # fmt: skip
            for i in range(count):
                at = scores + i * chunk
                keys = _counted(row + i, first, wide, shape)
                if shape[_MASKED]:
                    _add_mask(memory, at, mask, places[3, matrix] + (row + i) * shape[_MASK_ROW] + first, keys)
                highest = max(top[i], row_max(memory, at, keys))
                if highest == -np.inf:
                    memory[at : at + wide] = 0
                    continue
                share = exp(top[i] - highest)
                _exponentials(memory, at, highest, keys, wide)
                total[i] = total[i] * share + row_sum(memory, at, keys)
                top[i] = highest
                if first > 0:
                    for j in range(to + i * ev, to + i * ev + ev):
                        out[j] *= share
            _add_product(out, to, ev, memory, scores, chunk, values, count, ev, wide)
        held = matrix
        for i in range(count):
            is_empty = total[i] == 0 and shape[_SAFE]
            share = memory.dtype.type(0) if is_empty else 1 / total[i]
            level[matrix * queries + row + i] = 0 if is_empty else top[i] + log(total[i])
            for j in range(to + i * ev, to + i * ev + ev):
                out[j] *= share


@kernel(
    "const T[::1], intp, intp, intp, intp, intp, intp, intp, intp, intp, intp, const int64[:, ::1], const int64[::1], "
    "T[::1]",
    T=FLOATS,
)
def attend_back(
    begin: int, end: int, scale: Array, gq_cell: int, gk_cell: int, gv_cell: int, g_cell: int, out_cell: int,
    level_cell: int, q_cell: int, k_cell: int, v_cell: int, mask_cell: int, places: Array, shape: Array, memory: Array,
) -> None:  # fmt: skip
    """Matrices begin to end."""
    gq, gk, gv, g, out = pointers_in((gq_cell, gk_cell, gv_cell, g_cell, out_cell), scale)
    level, q, k, v, mask = pointers_in((level_cell, q_cell, k_cell, v_cell, mask_cell), scale)
    width, queries, keys_, e, ev = 2 * lanes(memory), shape[_L], shape[_S], shape[_E], shape[_EV]
    chunk = min(KEYS, -(-keys_ // width) * width)
    wide_e, wide_ev = -(-e // width) * width, -(-ev // width) * width
    values = chunk * e  # and where the other parts of memory begin
    keys = values + chunk * ev
    weights = keys + chunk * wide_e
    slopes = weights + QUERIES * chunk
    q_panels = slopes + QUERIES * chunk
    g_panels = q_panels + QUERIES * wide_e
    turned = g_panels + QUERIES * wide_ev
    zeros, along, zero = np.zeros(chunk, memory.dtype), np.empty(QUERIES, memory.dtype), memory.dtype.type(0)
    for matrix in range(begin, end):
        to_q, to_k, to_v, to = matrix * queries * e, matrix * keys_ * e, matrix * keys_ * ev, matrix * queries * ev
        for i in range(queries * e):
            gq[to_q + i] = 0
        for i in range(keys_ * e):
            gk[to_k + i] = 0
        for i in range(keys_ * ev):
            gv[to_v + i] = 0
        for first in range(0, keys_, chunk):
            wide = min(chunk, keys_ - first)
            at_k, at_v = places[1, matrix] + first * shape[_K_ROW], places[2, matrix] + first * shape[_V_ROW]
            _pack_turned(memory, 0, k, at_k, shape[_K_ROW], wide, e)
            _scale(memory, chunk * e, scale[0])
            _pack_turned(memory, values, v, at_v, shape[_V_ROW], wide, ev)
            _pack_straight(memory, keys, k, at_k, shape[_K_ROW], wide, e)
            for row in range(0, queries, QUERIES):
                count = min(QUERIES, queries - row)
                if first >= _last_key(row + count, shape):
                    continue
                at_q, at_g = places[0, matrix] + row * shape[_Q_ROW], to + row * ev
                _scores(memory, weights, chunk, zeros, q, at_q, shape[_Q_ROW], 0, count, wide, e)
                _scores(memory, slopes, chunk, zeros, g, at_g, ev, values, count, wide, ev)
                for i in range(count):
                    counted = _counted(row + i, first, wide, shape)
                    at = weights + i * chunk
                    if shape[_MASKED]:
                        _add_mask(memory, at, mask, places[3, matrix] + (row + i) * shape[_MASK_ROW] + first, counted)
                    _exponentials(memory, at, level[matrix * queries + row + i], counted, wide)
                    along[i] = row_product(g, at_g + i * ev, zero, out, at_g + i * ev, zero, ev)
                    _slopes(memory, slopes + i * chunk, at, along[i], scale[0], wide)
                _pack_straight(memory, q_panels, q, at_q, shape[_Q_ROW], count, e)
                _pack_straight(memory, g_panels, g, at_g, ev, count, ev)
                _add_turned(gv, to_v + first * ev, ev, memory, weights, chunk, turned, g_panels, wide, ev, count)
                _add_turned(gk, to_k + first * e, e, memory, slopes, chunk, turned, q_panels, wide, e, count)
                _add_product(gq, to_q + row * e, e, memory, slopes, chunk, keys, count, e, wide)


@inline
def _last_key(end: int, shape: Array) -> Any:
    """From which key on none counts for queries before `end`."""
    return min(shape[_S], end) if shape[_CAUSAL] else shape[_S]


@inline
def _counted(query: int, first: int, wide: int, shape: Array) -> Any:
    """How many keys of a chunk that begins at `first` count for a query."""
    return max(0, min(wide, query + 1 - first)) if shape[_CAUSAL] else wide


@separate
def _pack_turned(memory: Array, to: int, x: Any, at: int, step: int, rows: int, columns: int) -> None:
    """(rows, columns) as the transposed right factor of a product: [panel of rows][column][row]."""
    width = 2 * lanes(memory)
    for first in range(0, rows, width):
        seen = min(width, rows - first)
        if seen < width:
            memory[to + first * columns : to + (first + width) * columns] = 0
        transpose(memory, to + first * columns, width, x, at + first * step, step, seen, columns)


@separate
def _pack_straight(memory: Array, to: int, x: Any, at: int, step: int, rows: int, columns: int) -> None:
    """(rows, columns) as the right factor of a product: [panel of columns][row][column]."""
    width = 2 * lanes(memory)
    for first in range(0, columns, width):
        pack_columns(memory, to + first * rows, x, at + first, step, rows, columns - first)


@separate
def _scores(
    memory: Array, to: int, ld: int, zeros: Array, x: Any, at: int, step: int, packed: int, rows: int, columns: int,
    steps: int,
) -> None:  # fmt: skip
    width = 2 * lanes(memory)
    gemm_taps(memory, to, ld, zeros, 0, 0, x, at, step, memory, packed, steps * width, width, rows, columns, 1, 0, 0,
              steps)  # fmt: skip


@separate
def _add_product(
    out: Any, to: int, ld: int, memory: Array, at: int, step: int, packed: int, rows: int, columns: int, steps: int
) -> None:
    width = 2 * lanes(memory)
    gemm_taps(out, to, ld, out, to, ld, memory, at, step, memory, packed, steps * width, width, rows, columns, 1, 0, 0,
              steps)  # fmt: skip


@separate
def _add_turned(
    out: Any, to: int, ld: int, memory: Array, at: int, step: int, turned: int, packed: int, rows: int, columns: int,
    steps: int,
) -> None:  # fmt: skip
    """out += Aᵀ·B, A (steps, rows) at `at`, B packed; a tile of A at a time is copied to `turned`."""
    width = 2 * lanes(memory)
    for i in range(0, rows, turned_rows()):
        pack_rows(memory, turned, memory, at + i, step, steps, rows - i)
        for j in range(0, columns, width):
            place = to + i * ld + j
            turned_tile(out, place, ld, out, place, ld, memory, turned, turned_rows(), memory, packed + j * steps,
                        width, rows - i, columns - j, steps)  # fmt: skip


@separate
def _scale(memory: Array, count: int, scale: float) -> None:
    for i in range(count):
        memory[i] *= scale


@separate
def _add_mask(memory: Array, at: int, mask: Any, at_mask: int, count: int) -> None:
    row = memory[at : at + count]
    for j in range(count):
        row[j] += mask[at_mask + j]


@separate
def _exponentials(memory: Array, at: int, level: float, count: int, wide: int) -> None:
    """exp(score - level) of those that count, zeros up to `wide`."""
    row = memory[at : at + wide]
    for j in range(count):
        row[j] = exp_below(row[j] - level)
    for j in range(count, wide):
        row[j] = 0


@separate
def _slopes(memory: Array, at: int, at_weights: int, along: float, scale: float, count: int) -> None:
    """The gradients of scores, where those of weights stand."""
    row, weights = memory[at : at + count], memory[at_weights : at_weights + count]
    for j in range(count):
        row[j] = weights[j] * (row[j] - along) * scale
