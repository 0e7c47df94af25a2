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
Heads = tuple[int, int] | None  # how many, and the dimension of the places; None for one head in the last two


def cut(a: Array, heads: Heads) -> Array:
    """The heads of (N, L, H E) or (L, N, H E) side by side, (N, H, L, E); what has one head is as it is."""
    if heads is None:
        return a
    count, along = heads
    apart: Array = a.reshape(*a.shape[:2], count, a.shape[2] // count)
    return apart.transpose((0, 2, 1, 3) if along else (1, 2, 0, 3))


def forward(
    out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None,
    *, scale: float, is_causal: bool, is_safe: bool, heads: Heads,
) -> Run:  # fmt: skip
    """What attends in arrays that lie like these: run(out, q, k, v, mask=None).

    out is the result (..., L, Ev), and (..., L), the logarithm of each query's sum of exponentials: C-contiguous.

    Args:
        q, k, v: (..., L, E), (..., S, E), (..., S, Ev), of any strides.
        mask: added to the scores, broadcasts to (..., L, S); of any strides.
        is_safe: a query for which no key counts gets zeros, not NaN.
    """
    copied, seen = _seen((q, k, v), mask, heads)
    factor, shown = np.array((scale,), q.dtype), cut(out[0], heads)
    places, shape = _layout([*seen, shown], (is_causal, is_safe, mask is not None))
    (queries, e), (keys, ev), width = seen[0].shape[-2:], seen[2].shape[-2:], panel_columns(q.dtype)
    memory = _chunk(keys, width) * (e + _up(ev, width) + QUERIES) + 2 * width
    call = Blocks(attend, places.shape[1] * -(-queries // QUERIES), scratch_size=memory, size=_work(seen[0], keys))

    def run(out: tuple[Array, Array], q: Array, k: Array, v: Array, mask: Array | None = None) -> None:
        if copied is not None:
            q, k, v, mask = _in_rows((q, k, v, mask), copied)
        to = cell_of(out[0])
        call(factor, to, cell_of(out[1]), cell_of(q), cell_of(k), cell_of(v), to if mask is None else cell_of(mask),
             places, shape)  # fmt: skip

    return run


def backward(
    grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
    mask: Array | None = None, *, scale: float, is_causal: bool, heads: Heads,
) -> Run:  # fmt: skip
    """What makes the gradients of q, k and v, C-contiguous, given that of out: run(grads, g, q, k, v, out, ...)."""
    copied, (*rows, seen_out, seen_g, seen_mask) = _seen((q, k, v, out, g), mask, heads)
    factor, shown = np.array((scale,), q.dtype), [cut(a, heads) for a in grads]
    places, shape = _layout([*rows, seen_mask, seen_out, seen_g, *shown], (is_causal, False, mask is not None))
    width, e, (keys, ev) = panel_columns(q.dtype), rows[0].shape[-1], rows[2].shape[-2:]
    memory = _chunk(keys, width) * (e + ev + _up(e, width) + 2 * QUERIES)
    memory += QUERIES * (_up(e, width) + _up(ev, width) + tile_rows(2)) + 4 * width
    call = Blocks(attend_back, places.shape[1], scratch_size=memory, size=2 * _work(rows[0], keys))

    def run(
        grads: tuple[Array, Array, Array], g: Array, q: Array, k: Array, v: Array, out: Array, level: Array,
        mask: Array | None = None,
    ) -> None:  # fmt: skip
        if copied is not None:
            q, k, v, out, g, mask = _in_rows((q, k, v, out, g, mask), copied)
        level, to = np.ascontiguousarray(level), cell_of(out)
        call(factor, *map(cell_of, grads), cell_of(g), to, cell_of(level), cell_of(q), cell_of(k), cell_of(v),
             to if mask is None else cell_of(mask), places, shape)  # fmt: skip

    return run


def _work(q: Array, keys: int) -> int:
    """What stands for bytes where `Blocks` asks what to share out: four operations take as long as a byte."""
    return int(q.size * keys + q.nbytes // max(q.shape[-1], 1) * keys)


def _seen(arrays: tuple[Array, ...], mask: Array | None, heads: Heads) -> tuple[Shapes | None, list[Array]]:
    """How kernels see q, k and others, and the mask (q if there is none).

    First the shapes of those whose rows do not each lie in one piece, and which are copied therefore, if there are any;
    then all of them, or arrays that lie as their copies will, cut into heads.
    """
    shapes = [None if _is_in_rows(a) else a.shape for a in arrays]
    given = [a if shape is None else np.empty(shape, a.dtype) for a, shape in zip(arrays, shapes, strict=True)]
    seen = [cut(a, heads) for a in given]
    wide = seen[0] if mask is None else np.broadcast_to(mask, (*seen[0].shape[:-1], seen[1].shape[-2]))
    shapes.append(None if mask is None or _is_in_rows(wide) else wide.shape)
    seen.append(wide if shapes[-1] is None else np.empty(wide.shape, wide.dtype))
    return tuple(shapes) if any(shapes) else None, seen


def _is_in_rows(a: Array) -> bool:
    return bool(a.strides[-1] == a.itemsize or a.shape[-1] == 1)


def _in_rows(arrays: tuple[Array | None, ...], copied: Shapes) -> Any:
    """The arrays, or copies in the shapes that are given."""
    return [a if a is None or shape is None else np.ascontiguousarray(np.broadcast_to(a, shape))
            for a, shape in zip(arrays, copied, strict=True)]  # fmt: skip


def _up(n: int, width: int) -> int:
    return -(-n // width) * width


def _chunk(keys: int, width: int) -> int:
    return min(KEYS, _up(keys, width))


def _layout(arrays: list[Array], how: tuple[bool, ...]) -> tuple[Array, Array]:
    """Where the matrices of all these begin; lengths, `how`, and the steps from row to row of each."""
    (q, _, v), item = arrays[:3], arrays[0].itemsize
    places = np.stack([matrix_places(q.shape[:-2], a.shape[:-2], a.strides[:-2], item) for a in arrays])
    steps = [a.strides[-2] // item for a in arrays]
    return places, np.array((q.shape[-2], v.shape[-2], q.shape[-1], v.shape[-1], *how, *steps), np.int64)


# What `shape` holds for the kernels, by position, and the rows of `places`: the step of each stands in `shape` too.
_L, _S, _E, _EV, _CAUSAL, _SAFE, _MASKED, _STEP = range(8)
_Q, _K, _V, _MASK, _OUT, _G, _GQ, _GK, _GV = range(9)


@kernel("const T[::1], intp, intp, intp, intp, intp, intp, const int64[:, ::1], const int64[::1], T[::1]", T=FLOATS)
def attend(
    begin: int, end: int, scale: Array, out_cell: int, level_cell: int, q_cell: int, k_cell: int, v_cell: int,
    mask_cell: int, places: Array, shape: Array, memory: Array,
) -> None:  # fmt: skip
    """(Matrix, block of queries) begin to end."""
    out, level, q, k, v, mask = pointers_in((out_cell, level_cell, q_cell, k_cell, v_cell, mask_cell), scale)
    width, queries, ev, step = 2 * lanes(memory), shape[_L], shape[_EV], shape[_STEP + _OUT]
    chunk = min(KEYS, -(-shape[_S] // width) * width)
    values = chunk * shape[_E]
    scores = values + chunk * (-(-ev // width) * width)
    top, total = np.empty(QUERIES, memory.dtype), np.empty(QUERIES, memory.dtype)
    highest, share, added = np.empty_like(top), np.empty_like(top), np.empty_like(top)
    zeros, blocks, held = np.zeros(chunk, memory.dtype), -(-queries // QUERIES), -1
    for unit in range(begin, end):
        matrix, row = unit // blocks, unit % blocks * QUERIES
        count, to = min(QUERIES, queries - row), places[_OUT, matrix] + row * step
        top[:], total[:] = -np.inf, 0
        _clear(out, to, step, count, ev)
        for first in range(0, _last_key(row + count, shape), chunk):
            wide = min(chunk, shape[_S] - first)
            if held != matrix or shape[_S] > chunk:
                at, k_step = places[_K, matrix] + first * shape[_STEP + _K], shape[_STEP + _K]
                _pack_turned(memory, 0, k, at, k_step, wide, shape[_E])
                _scale(memory, chunk * shape[_E], scale[0])  # scores come out of the product as they are wanted
                at, v_step = places[_V, matrix] + first * shape[_STEP + _V], shape[_STEP + _V]
                _pack_straight(memory, values, v, at, v_step, wide, ev)
            at, q_step = places[_Q, matrix] + row * shape[_STEP + _Q], shape[_STEP + _Q]
            _scores(memory, scores, chunk, zeros, q, at, q_step, 0, count, wide, shape[_E])
            for i in range(count):  # each number for all rows in turn: a row by itself would wait for its own
                keys = _counted(row + i, first, wide, shape)
                if shape[_MASKED]:
                    at = _at_mask(places, shape, matrix, row + i) + first
                    _add_mask(memory, scores + i * chunk, mask, at, keys)
                highest[i] = max(top[i], row_max(memory, scores + i * chunk, keys))
            for i in range(count):
                keys = _counted(row + i, first, wide, shape) if highest[i] > -np.inf else 0
                _exponentials(memory, scores + i * chunk, highest[i], keys, wide)
            for i in range(count):
                added[i] = row_sum(memory, scores + i * chunk, wide)
            for i in range(count):
                share[i] = exp(top[i] - highest[i]) if highest[i] > -np.inf else 1
                total[i] = total[i] * share[i] + added[i]
                top[i] = highest[i]
            for i in range(count if first > 0 else 0):
                for j in range(to + i * step, to + i * step + ev):
                    out[j] *= share[i]
            _add_product(out, to, step, memory, scores, chunk, values, count, ev, wide)
        held = matrix
        for i in range(count):
            is_empty = total[i] == 0 and shape[_SAFE]
            share[i] = 0 if is_empty else 1 / total[i]
            level[matrix * queries + row + i] = 0 if is_empty else top[i] + log(total[i])
        for i in range(count):
            for j in range(to + i * step, to + i * step + ev):
                out[j] *= share[i]


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
    q_row, g_row, out_row = shape[_STEP + _Q], shape[_STEP + _G], shape[_STEP + _OUT]
    q_step, k_step, v_step = shape[_STEP + _GQ], shape[_STEP + _GK], shape[_STEP + _GV]
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
        _clear(gq, places[_GQ, matrix], q_step, queries, e)
        _clear(gk, places[_GK, matrix], k_step, keys_, e)
        _clear(gv, places[_GV, matrix], v_step, keys_, ev)
        for first in range(0, keys_, chunk):
            wide = min(chunk, keys_ - first)
            at_k, k_row = places[_K, matrix] + first * shape[_STEP + _K], shape[_STEP + _K]
            at_v, v_row = places[_V, matrix] + first * shape[_STEP + _V], shape[_STEP + _V]
            _pack_turned(memory, 0, k, at_k, k_row, wide, e)
            _scale(memory, chunk * e, scale[0])
            _pack_turned(memory, values, v, at_v, v_row, wide, ev)
            _pack_straight(memory, keys, k, at_k, k_row, wide, e)
            for row in range(0, queries, QUERIES):
                count = min(QUERIES, queries - row)
                if first >= _last_key(row + count, shape):
                    continue
                at_q, at_g = places[_Q, matrix] + row * q_row, places[_G, matrix] + row * g_row
                at_out = places[_OUT, matrix] + row * out_row
                _scores(memory, weights, chunk, zeros, q, at_q, q_row, 0, count, wide, e)
                _scores(memory, slopes, chunk, zeros, g, at_g, g_row, values, count, wide, ev)
                for i in range(count):
                    counted = _counted(row + i, first, wide, shape)
                    at = weights + i * chunk
                    if shape[_MASKED]:
                        _add_mask(memory, at, mask, _at_mask(places, shape, matrix, row + i) + first, counted)
                    _exponentials(memory, at, level[matrix * queries + row + i], counted, wide)
                    along[i] = row_product(g, at_g + i * g_row, zero, out, at_out + i * out_row, zero, ev)
                    _slopes(memory, slopes + i * chunk, at, along[i], scale[0], wide)
                _pack_straight(memory, q_panels, q, at_q, q_row, count, e)
                _pack_straight(memory, g_panels, g, at_g, g_row, count, ev)
                to = places[_GV, matrix] + first * v_step
                _add_turned(gv, to, v_step, memory, weights, chunk, turned, g_panels, wide, ev, count)
                to = places[_GK, matrix] + first * k_step
                _add_turned(gk, to, k_step, memory, slopes, chunk, turned, q_panels, wide, e, count)
                to = places[_GQ, matrix] + row * q_step
                _add_product(gq, to, q_step, memory, slopes, chunk, keys, count, e, wide)


@inline
def _last_key(end: int, shape: Array) -> Any:
    """From which key on none counts for queries before `end`."""
    return min(shape[_S], end) if shape[_CAUSAL] else shape[_S]


@inline
def _counted(query: int, first: int, wide: int, shape: Array) -> Any:
    """How many keys of a chunk that begins at `first` count for a query."""
    return max(0, min(wide, query + 1 - first)) if shape[_CAUSAL] else wide


@inline
def _at_mask(places: Array, shape: Array, matrix: int, query: int) -> Any:
    return places[_MASK, matrix] + query * shape[_STEP + _MASK]


@separate
def _clear(out: Any, to: int, step: int, rows: int, columns: int) -> None:
    for i in range(rows):
        for j in range(columns):
            out[to + i * step + j] = 0


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
