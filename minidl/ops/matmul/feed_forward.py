"""feed_forward: two linear maps with an activation between them, the dense part of transformers, at rest.

A block of rows goes through both maps at once, so that what is between, mostly four times as wide as the rows, stays in
the second-level cache of one core and is never written to memory. Nobody calls it: `ops/fusion.py` makes it, and the
sum with a residual behind it, of what is written as single layers.

2·M·H·(K + N) operations for M rows of K numbers, H hidden ones and N results, on M·(K + N) + H·(K + N) numbers. Both
weights are packed in panels, once for as long as they do not change (`core/remember.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.core import AlikeOp, Array, Run, Spec, registry
from minidl.core.remember import remembered
from minidl.device import CPU, empty, kernel
from minidl.device.dtypes import DType
from minidl.device.inline import separate
from minidl.device.microkernel import panel_columns, tile_rows
from minidl.device.pointers import cell_of, pointer_to, pointers_in
from minidl.device.threads import Blocks
from minidl.device.vectors import lanes
from minidl.ops.matmul import Linear
from minidl.ops.matmul.blocks import FLOATS, panels, straight_rows
from minidl.ops.matmul.cut import STEPS
from minidl.ops.matmul.finish import ACTIVATIONS, NONE, finish_row
from minidl.ops.matmul.plan import FEW, How, Plan, plan_of, straight

__all__: list[str] = []

MOST_ROWS, HELD_BYTES = 96, 1 << 18  # in a block, and of hidden numbers in it
UNITS = 4  # of which there is a multiple, so that threads have as much to do as each other
LOW, NEAR_BYTES = 32, 1 << 20  # a block of fewer rows is not worth it for weights that are not near
_ROWS, _INPUTS, _HIDDEN, _OUTPUTS, _HEIGHT, _ACTIVATION, _ADDED = range(7)  # what `shape` holds


class FeedForward(AlikeOp):
    """activation(x W1ᵀ + b1) W2ᵀ + b2, plus a residual of the result's shape; without a gradient."""

    name = "feed_forward"

    @staticmethod
    def infer(
        x: Spec, weight1: Spec, bias1: Spec, weight2: Spec, bias2: Spec, residual: Spec | None = None,
        *, activation: str,
    ) -> Spec:  # fmt: skip
        return Linear.infer(Linear.infer(x, weight1, bias1), weight2, bias2)

    @staticmethod
    def reference(
        xp: Any, out: Array, x: Array, weight1: Array, bias1: Array, weight2: Array, bias2: Array,
        residual: Array | None = None, *, activation: str,
    ) -> None:  # fmt: skip
        hidden = xp.empty((*x.shape[:-1], len(weight1)), out.dtype)
        Linear.reference(xp, hidden, x, weight1, bias1)
        registry.ops[activation].reference(xp, hidden, hidden.copy())
        Linear.reference(xp, out, hidden, weight2, bias2)
        if residual is not None:
            xp.add(out, residual, out=out)

    @staticmethod
    def bind(
        out: Array, x: Array, weight1: Array, bias1: Array, weight2: Array, bias2: Array,
        residual: Array | None = None, *, activation: str,
    ) -> Run:  # fmt: skip
        (hidden, inputs), outputs, rows = weight1.shape, len(weight2), x.size // x.shape[-1]
        height = _height(rows, hidden * x.itemsize)
        shape = np.array((rows, inputs, hidden, outputs, height, ACTIVATIONS.index(activation), residual is not None))
        call = Blocks(both_maps, -(-rows // height), block=1, scratch_size=height * hidden + 2 * panel_columns(x.dtype),
                      size=rows * hidden * (inputs + outputs) // 4)  # fmt: skip
        pack = _packer(_plans(rows, inputs, hidden, outputs, x.dtype), x.dtype)

        def run(
            out: Array, x: Array, weight1: Array, bias1: Array, weight2: Array, bias2: Array,
            residual: Array | None = None,
        ) -> None:  # fmt: skip
            packed1, packed2 = remembered("panels of both maps", (weight1, weight2), lambda: pack(weight1, weight2))
            call(bias1, bias2, packed1, packed2, cell_of(out), cell_of(x),
                 cell_of(x if residual is None else residual), shape)  # fmt: skip

        return run


@functools.lru_cache(maxsize=1024)
def joined(x: Spec, weight1: Spec, bias1: Spec, weight2: Spec, bias2: Spec, *, is_invariant: bool) -> Spec | None:
    """What both maps give as one op; None where that is not worth it, or they would not make their sums in one piece.

    Raises:
        ShapeError: if shapes do not fit.
    """
    out = FeedForward.infer(x, weight1, bias1, weight2, bias2, activation="none")
    (hidden, inputs), outputs, item = weight1.shape, weight2.shape[0], x.dtype.itemsize
    if any(spec.dtype != out.dtype for spec in (x, weight1, bias1, weight2, bias2)) or out.dtype.name not in FLOATS:
        return None
    rows = x.numel // inputs if inputs else 0
    if rows <= FEW or not hidden or not outputs or tile_rows(2) * hidden * item > HELD_BYTES:
        return None
    if _height(rows, hidden * item) < LOW and hidden * (inputs + outputs) * item > NEAR_BYTES:
        return None
    plans = _plans(rows, inputs, hidden, outputs, x.dtype, is_invariant)
    return out if all(plan.cut is not None and plan.cut.pieces == 1 for plan in plans) else None


def _plans(
    rows: int, inputs: int, hidden: int, outputs: int, dtype: DType, is_invariant: bool = False
) -> tuple[Plan, Plan]:
    """Those of the two products by themselves."""
    item, how = dtype.itemsize, How(NONE, False, False, False)

    def plan(steps: int, columns: int) -> Plan:
        out, x, (shape, strides) = (straight(s, item) for s in ((rows, columns), (rows, steps), (columns, steps)))
        return plan_of(out, x, (shape[::-1], strides[::-1]), dtype, is_invariant, how)

    return plan(inputs, hidden), plan(hidden, outputs)


def _height(rows: int, hidden_bytes: int) -> int:
    """Rows of a block."""
    tile = tile_rows(2)
    most = max(1, min(MOST_ROWS, HELD_BYTES // hidden_bytes))
    units = -(-rows // most)
    units += -units % UNITS
    return -(-rows // units // tile) * tile


def _packer(plans: tuple[Plan, Plan], dtype: DType) -> Callable[..., tuple[Array, ...]]:
    """What gives both weights, transposed, in panels."""
    width = panel_columns(dtype)
    calls = []
    for plan in plans:
        _, _, steps = plan.sizes[:3]
        size = plan.panels * width * steps
        calls.append((Blocks(panels, plan.panels, size=size * dtype.itemsize), size, plan.numbers(False)))

    def pack(*weights: Array) -> tuple[Array, ...]:
        packed = tuple([empty(CPU, (size,), dtype) for _, size, _ in calls])
        for (call, _, numbers), room, weight in zip(calls, packed, weights, strict=True):
            call(room, cell_of(weight), numbers)
        return packed

    return pack


@kernel("const T[::1], const T[::1], const T[::1], const T[::1], intp, intp, intp, const int64[::1], T[::1]", T=FLOATS)
def both_maps(
    begin: int, end: int, bias1: Array, bias2: Array, packed1: Array, packed2: Array, out_cell: int, x_cell: int,
    residual_cell: int, shape: Array, memory: Array,
) -> None:  # fmt: skip
    """Blocks of rows begin to end."""
    (out, x, residual), room = pointers_in((out_cell, x_cell, residual_cell), bias1), pointer_to(memory, 0)
    inputs, hidden, outputs = shape[_INPUTS], shape[_HIDDEN], shape[_OUTPUTS]
    for block in range(begin, end):
        row = block * shape[_HEIGHT]
        rows = min(shape[_HEIGHT], shape[_ROWS] - row)
        _map(room, 0, pointer_to(bias1, 0), x, row * inputs, pointer_to(packed1, 0), rows, hidden, inputs)
        finish_row(room, 0, room, 0, rows * hidden, shape[_ACTIVATION], 0)
        to = row * outputs
        _map(out, to, pointer_to(bias2, 0), room, 0, pointer_to(packed2, 0), rows, outputs, hidden)
        if shape[_ADDED]:
            for j in range(to, to + rows * outputs):
                out[j] += residual[j]


@separate
def _map(out: Any, to: int, bias: Any, a: Any, at: int, packed: Any, rows: int, columns: int, steps: int) -> None:
    """`rows` rows of a linear map, by its panels."""
    width = 2 * lanes(out)
    for k in range(0, steps, STEPS):
        run = min(STEPS, steps - k)
        if k == 0:
            straight_rows(out, to, columns, bias, 0, 1, 0, a, at, steps, packed, 0, steps * width, width, rows, columns,
                          run)  # fmt: skip
        else:
            straight_rows(out, to, columns, out, to, 1, columns, a, at + k, steps, packed, k * width, steps * width,
                          width, rows, columns, run)  # fmt: skip
