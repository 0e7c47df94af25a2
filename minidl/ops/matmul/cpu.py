"""Products of matrices on the micro-kernel, with bias and activation before the result leaves the cache.

A is read where it lies, or, where it lies step by step a page apart, packed a block at a time. B is read where it lies
too if it is met by few rows; else it is packed in panels of two vectors of columns, so that the micro-kernel reads it
in order (Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication"). `cut.py` says how the work
is cut. Every number of C is summed in the order of k, or in pieces that are added up in order and depend on sizes
alone, so threads do not change a bit.

Matrices may lie anywhere, with any step from one to the next (views of heads, transposed or broadcast operands):
kernels get pointers to the arrays and are told where each matrix of the batch begins. What follows from that is found
once (`bound_product`), and a call does not look at the arrays at all (64 by 64 numbers with a bias: 2.9 us for one row,
of which 1.5 are the kernel's; 6.0 before).

2·M·N·K operations on M·K + K·N + M·N numbers, and K·N once more to pack. Two cores of a Zen 4, float32, GFLOP/s:

| M, K, N | this | MKL |
|---|---|---|
| 512, 512, 512 | 183 | 163 |
| 1024, 1024, 1024 | 194 | 184 |
| 256, 784, 512, B transposed | 171 | 158 |
| 8192, 256, 64, B transposed | 147 | 112 |
| 256, 2048, 256, A transposed | 178 | 155 |
| 64, 25088, 64, A transposed | 144 | 121 |
| 50, 384, 128 | 90 | 123 |

(of a limit of 215). Few rows with a transposed weight, as in inference of one sample, are sums along its rows instead
(`few_rows`): packing would cost more than the product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from minidl.core import Array, Run
from minidl.device import CPU, empty
from minidl.device.determinism import is_batch_invariant
from minidl.device.dtypes import DType
from minidl.device.microkernel import panel_columns
from minidl.device.pointers import cell_of
from minidl.device.scratch import scratch
from minidl.device.threads import Blocks
from minidl.ops.matmul.blocks import blocks, collect, few_rows, panels
from minidl.ops.matmul.finish import NONE
from minidl.ops.matmul.plan import FEW, Form, How, Plan, form_of, plan_of, straight

WORTH, WORTH_OF_FEW = 1 << 19, 1 << 15  # operations of a product, of many rows and of few


def is_worth_it(size: int, y: tuple[int, ...]) -> bool:
    """Whether a product of `size` numbers with matrices `y` is worth a kernel, which takes 3 us more to call.

    OpenBLAS does those below on one thread by itself; on more it would keep the cores busy for 30 ms after each.
    """
    operations = 2 * size * y[-1]
    return is_batch_invariant() or operations >= WORTH or (size <= FEW * y[-2] and operations >= WORTH_OF_FEW)


def bound_multiply(out: Array, x: Array, y: Array, *, is_added: bool = False) -> Run:
    """What multiplies arrays that lie like these, by a kernel or by NumPy: run(out, x, y[, added])."""
    if not is_worth_it(x.size, y.shape):
        return _by_numpy
    multiply = bound_product(out, x, y, is_added=is_added)
    return (lambda out, x, y, added: multiply(out, x, y, None, None, added)) if is_added else multiply


def accumulate(out: Array, x: Array, y: Array) -> None:
    """out += x times y, by a kernel or by NumPy."""
    if len(out) > FEW and is_worth_it(x.size, y.shape):
        bound_product(out, x, y, onto=True)(out, x, y)
    else:
        total = np.empty(out.shape, out.dtype)
        bound_multiply(total, x, y)(total, x, y)
        out += total


def product(
    out: Array, x: Array, y: Array, bias: Array | None = None, activation: int = NONE, kept: Array | None = None,
    *, added: Array | None = None, onto: bool = False,
) -> None:  # fmt: skip
    """out (..., M, N) = activation(x (..., M, K) times y (..., K, N), plus bias (N,) and `added`).

    Leading dimensions broadcast.

    Args:
        bias: C-contiguous, or None.
        activation: its number in `finish.py`.
        kept: C-contiguous and like `out`, to be filled with what the activation is given; or None.
        added: C-contiguous and like `out`, or None.
        onto: sums begin with what is in `out`, whose rows must lie in one piece; without a bias, and for more rows than
            `FEW`.
    """
    run = bound_product(out, x, y, activation=activation, is_kept=kept is not None, is_added=added is not None,
                        onto=onto)  # fmt: skip
    run(out, x, y, bias, kept, added)


def bound_product(
    out: Array, x: Array, y: Array,
    *, activation: int = NONE, is_kept: bool = False, is_added: bool = False, onto: bool = False,
) -> Run:  # fmt: skip
    """What makes the `product` of arrays that lie like these: run(out, x, y, bias=None, kept=None, added=None).

    Of an array that is C-contiguous, or transposed so, it wants to know only where it begins: the same memory in
    another shape does as well.
    """
    how = How(activation, is_kept, is_added, onto)
    return _bound(form_of(out), form_of(x), form_of(y), out.dtype, is_batch_invariant(), how)


@functools.lru_cache(maxsize=1024)
def _bound(out: Form, x: Form, y: Form, dtype: DType, is_invariant: bool, how: How) -> Run:
    item = dtype.itemsize
    if 0 in out[0]:
        return _nothing
    if out[1][-1] != item:
        return _carried(_bound(straight(out[0], item), x, y, dtype, is_invariant, how), out[0], dtype)
    copied = [not _is_in_lines(a, item) for a in (x, y)]
    if any(copied):
        x, y = (straight(a[0], item) if is_copied else a for a, is_copied in zip((x, y), copied, strict=True))
        return _copying(_bound(out, x, y, dtype, is_invariant, how), *copied)
    plan = plan_of(out, x, y, dtype, is_invariant, how)
    if plan.cut is None:
        make: Callable[..., None] = Blocks(few_rows, plan.units, size=plan.size)
    else:
        make = _units(plan, dtype)
        if plan.cut.pieces > 1:
            return _in_pieces(make, plan, dtype)
    zeros, plain, biased, memory = _zeros(dtype), plan.numbers(False), plan.numbers(True), _no_memory(plan, dtype)

    def run(
        out: Array, x: Array, y: Array, bias: Array | None = None, kept: Array | None = None, added: Array | None = None
    ) -> None:
        to = cell_of(out)
        make(zeros if bias is None else bias, to, cell_of(x), cell_of(y), to if kept is None else cell_of(kept),
             to if added is None else cell_of(added), to, plain if bias is None else biased, *memory)  # fmt: skip

    return run


def _units(plan: Plan, dtype: DType) -> Callable[..., None]:
    """The kernel `blocks` for all units, with its memory, and with panels of B that are packed first if so planned."""
    call = Blocks(blocks, plan.units, block=plan.block, scratch_size=plan.scratch, size=plan.size)
    if not plan.packed:
        return call
    pack = Blocks(panels, plan.panels, size=plan.packed * dtype.itemsize)

    def packed(
        start: Array, out: int, x: int, y: int, kept: int, added: int, _: int, numbers: Array, *memory: Array
    ) -> None:
        """(To keep the panels of a weight that does not change takes a look at its numbers, which costs as much.)"""
        with scratch(plan.packed, dtype) as room:
            pack(room, y, numbers)
            call(start, out, x, y, kept, added, cell_of(room), numbers, *memory)

    return packed


def _no_memory(plan: Plan, dtype: DType) -> tuple[Array, ...]:
    """What `blocks` gets last where it needs no memory; else `Blocks` lends it some."""
    return () if plan.scratch or plan.cut is None else (np.empty(0, dtype),)


def _in_pieces(make: Callable[..., None], plan: Plan, dtype: DType) -> Run:
    """The sums of each piece go to memory of their own, and are added up."""
    zeros, plain, room, memory = _zeros(dtype), plan.plain(), plan.sums, _no_memory(plan, dtype)
    collected = {has_bias: plan.numbers(has_bias, places=plan.ends) for has_bias in (False, True)}
    add_up = Blocks(collect, plan.lines, size=room * dtype.itemsize)

    def run(
        out: Array, x: Array, y: Array, bias: Array | None = None, kept: Array | None = None, added: Array | None = None
    ) -> None:
        to = cell_of(out)
        with scratch(room, dtype) as sums:
            of_sums = cell_of(sums)
            make(zeros, of_sums, cell_of(x), cell_of(y), of_sums, of_sums, of_sums, plain, *memory)
            add_up(zeros if bias is None else bias, to, to if kept is None else cell_of(kept),
                   to if added is None else cell_of(added), sums, collected[bias is not None])  # fmt: skip

    return run


def _carried(run: Run, shape: tuple[int, ...], dtype: DType) -> Run:
    """For results whose rows do not lie in one piece."""

    def carried(out: Array, *given: Array | None) -> None:
        result = empty(CPU, shape, dtype)
        run(result, *given)
        out[...] = result

    return carried


def _copying(run: Run, of_x: bool, of_y: bool) -> Run:
    """For factors neither whose rows nor whose columns lie side by side."""

    def copying(out: Array, x: Array, y: Array, *given: Array | None) -> None:
        run(out, np.ascontiguousarray(x) if of_x else x, np.ascontiguousarray(y) if of_y else y, *given)

    return copying


def _nothing(out: Array, *given: Array | None) -> None:
    """The product of a result that is empty."""


def _by_numpy(out: Array, x: Array, y: Array, *added: Array) -> None:
    np.matmul(x, y, out=out)
    for array in added:
        out += array.reshape(out.shape)


def _is_in_lines(a: Form, item: int) -> bool:
    """Whether rows or columns lie side by side."""
    shape, strides = a
    return item in strides[-2:] or 1 in shape[-2:]


@functools.cache
def _zeros(dtype: DType) -> Array:
    return np.zeros(panel_columns(dtype), dtype)
