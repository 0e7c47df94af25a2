"""Images sampled in one pass: a vector of places is looked up, and the pixels read, with all weights in registers.

For images; `look_up.py` has the definition, and the bits are those of `mix_taps` over its tables.
(By way of the tables a place of a plane took 3.2 ns, of which 1.3 were the reading.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.device.inline import intrinsic
from minidl.device.tapped_lines import mix_taps
from minidl.device.vector_math import Lanes
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    load_gathered,
    mask_below,
    multiply_add,
    rounded,
    splat,
    store_scattered,
    vector_type,
    zeros,
)
from minidl.device.window_vectors import for_vectors, read, write
from minidl.ops.grid_sample.look_up import (
    ALIGNED,
    CHANNELS,
    CHUNK,
    CUBIC,
    DIMS,
    FAR,
    LENGTHS,
    LINEAR,
    MOST,
    NEAREST,
    NEIGHBOURS,
    PADDING,
    REFLECTION,
    ZEROS,
    cubic_weights,
    join,
    look_up,
)  # fmt: skip

# Of one dimension: a pixel's number in each lane, whether there is such a pixel, and its weight.
Tap = tuple[Any, Any, Any]


class _Axis:
    """One dimension of an image, as numbers in all lanes."""

    def __init__(self, builder: Any, vector: Any, length: Any, padding: Any, aligned: Any) -> None:
        from llvmlite import ir

        self.builder, self.vector, self.padding = builder, vector, padding
        n = builder.sitofp(length, vector.element)
        last = builder.fsub(n, ir.Constant(vector.element, 1.0))
        span = builder.select(aligned, last, n)
        shift = builder.select(aligned, ir.Constant(vector.element, 0.0), ir.Constant(vector.element, 0.5))
        speed = builder.fmul(span, ir.Constant(vector.element, 0.5))
        self.length, self.last, self.span, self.shift, self.speed = (
            splat(builder, vector, number) for number in (n, last, span, shift, speed)
        )

    def number(self, value: float) -> Any:
        from llvmlite import ir

        return ir.Constant(self.vector, [value] * self.vector.count)

    def nearest(self, x: Any) -> list[Tap]:
        """The one pixel that counts at `x`, from -1 to 1, and its weight."""
        low = rounded(self.builder, self._near(self._inside(self._place(x)), -1.0), "rint")
        return [(*self._pixel(low), self.number(1.0))]

    def linear(self, x: Any) -> list[Tap]:
        """The two pixels that count at `x`, and their weights."""
        b, one = self.builder, self.number(1.0)
        q = self._near(self._inside(self._place(x)), -2.0)
        low = rounded(b, q, "floor")
        share = b.fsub(q, low)
        return [(*self._pixel(low), b.fsub(one, share)), (*self._pixel(b.fadd(low, one)), share)]

    def cubic(self, x: Any) -> list[Tap]:
        """The four pixels that count at `x`, each moved onto the image by itself, and their weights."""
        b, far = self.builder, self.number(FAR)
        p = self._place(x)
        low = rounded(b, p, "floor")
        is_near = b.and_(b.fcmp_ordered(">", low, b.fneg(far)), b.fcmp_ordered("<", low, far))
        first = b.select(is_near, low, b.fneg(far))
        pixels = [self._inside(b.fadd(first, self.number(k - 1.0)), round_off=True) for k in range(CUBIC)]
        t = Lanes(b, b.fsub(p, low))
        return [(*self._pixel(q), w.value) for q, w in zip(pixels, cubic_weights(t), strict=True)]

    def _place(self, x: Any) -> Any:
        """Where -1 to 1 lies among the pixels."""
        b = self.builder
        return b.fsub(b.fmul(b.fadd(x, self.number(1.0)), self.speed), self.shift)

    def _inside(self, p: Any, round_off: bool = False) -> Any:
        """`p`, moved onto the image as the padding says; then perhaps to a whole number again."""
        b = self.builder

        def clipped(p: Any) -> Any:
            return rounded(b, self._clipped(p), "rint") if round_off else self._clipped(p)

        p = self._if(b.icmp_signed("==", self.padding, integer(REFLECTION)), p, self._reflected)
        return self._if(b.icmp_signed("!=", self.padding, integer(ZEROS)), p, clipped)

    def _near(self, p: Any, nowhere: float) -> Any:
        """`p`, or a place outside where it is too far to be counted in whole numbers, or NaN."""
        b = self.builder
        is_near = b.and_(b.fcmp_ordered(">", p, self.number(-2.0)), b.fcmp_ordered("<", p, self.number(FAR)))
        return b.select(is_near, p, self.number(nowhere))

    def _pixel(self, low: Any) -> tuple[Any, Any]:
        from llvmlite import ir

        b = self.builder
        is_one = b.and_(b.fcmp_ordered(">=", low, zeros(self.vector)), b.fcmp_ordered("<", low, self.length))
        return b.fptosi(low, ir.VectorType(ir.IntType(32), self.vector.count)), is_one

    def _reflected(self, p: Any) -> Any:
        b, half = self.builder, self.number(0.5)
        start = b.fneg(self.shift)
        away = rounded(b, b.fsub(p, start), "fabs")
        turns = rounded(b, b.fdiv(away, self.span), "floor")
        turns = b.select(b.fcmp_ordered(">", self.span, zeros(self.vector)), turns, zeros(self.vector))
        rest = b.fsub(away, b.fmul(turns, self.span))
        even = b.fmul(self.number(2.0), rounded(b, b.fmul(turns, half), "floor"))
        return b.fadd(b.select(b.fcmp_ordered("==", turns, even), rest, b.fsub(self.span, rest)), start)

    def _clipped(self, p: Any) -> Any:
        b, zero = self.builder, zeros(self.vector)
        return b.select(b.fcmp_ordered(">=", p, self.last), self.last, b.select(b.fcmp_ordered(">", p, zero), p, zero))

    def _if(self, condition: Any, p: Any, change: Any) -> Any:
        """`change(p)` where a condition, which is the same in all lanes, is true."""
        b, before = self.builder, self.builder.block
        with b.if_then(condition):
            changed, end = change(p), b.block
        both = b.phi(self.vector)
        both.add_incoming(changed, end)
        both.add_incoming(p, before)
        return both


def _pairs(builder: Any, vector: Any, grid: Any, count: Any) -> tuple[Any, Any]:
    """The first and the second numbers of a vector of pairs; `count` of them exist, or all if it is None."""
    from llvmlite import ir

    double = builder.add(count, count) if count is not None else None
    halves = []
    for half in range(2):
        begin = half * vector.count
        mask = None if double is None else mask_below(builder, vector, builder.sub(double, integer(begin)))
        halves.append(read(builder, vector, builder.gep(grid, [integer(begin)]), mask))
    lanes = ir.VectorType(ir.IntType(32), vector.count)
    x, y = (
        builder.shuffle_vector(*halves, ir.Constant(lanes, list(range(odd, 2 * vector.count, 2)))) for odd in (0, 1)
    )
    return x, y


def _emit(
    typing_context: Any, out: Any, to: Any, step_out: Any, apart_out: Any, x: Any, at: Any, step_x: Any, apart_x: Any,
    grid: Any, count: Any, sizes: Any,
) -> Any:  # fmt: skip
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, to, step_out, apart_out, _, at, step_x, apart_x, places, count, sizes = args
        vector = vector_type(x)
        whole = ir.VectorType(ir.IntType(32), vector.count)
        results = builder.gep(data_pointer(context, builder, out, args[0]), [to])
        pixels = builder.gep(data_pointer(context, builder, x, args[4]), [at])
        height, width, channels, neighbours, padding, aligned = (
            builder.load(builder.gep(sizes, [integer(k)]))
            for k in (LENGTHS + 1, LENGTHS + 2, CHANNELS, NEIGHBOURS, PADDING, ALIGNED)
        )
        is_aligned = builder.icmp_signed("!=", aligned, integer(0))
        rows, columns = (_Axis(builder, vector, length, padding, is_aligned) for length in (height, width))
        line = splat(builder, whole, builder.trunc(builder.mul(width, apart_x), whole.element))
        apart = splat(builder, whole, builder.trunc(apart_x, whole.element))
        own = builder.mul(
            splat(builder, whole, builder.trunc(apart_out, whole.element)),
            ir.Constant(whole, list(range(vector.count))),
        )
        is_dense = builder.icmp_signed("==", apart_out, integer(1))

        def tap(row: Tap, column: Tap) -> Tap:
            place = builder.add(builder.mul(row[0], line), builder.mul(column[0], apart))
            return place, builder.and_(row[1], column[1]), builder.fmul(row[2], column[2])

        def keep(value: Any, target: Any, mask: Any) -> None:
            with builder.if_else(is_dense) as (dense, spread):
                with dense:
                    write(builder, value, target, mask)
                with spread:
                    store_scattered(builder, value, target, own, mask)

        def all_channels(taps: list[Tap], q: Any, mask: Any) -> None:
            taps = [(p, here if mask is None else builder.and_(here, mask), w) for p, here, w in taps]

            def one(c: Any, nothing: list[Any]) -> list[Any]:
                image = builder.gep(pixels, [builder.mul(c, step_x)])
                total = None
                for place, here, weight in taps:
                    value = load_gathered(builder, vector, image, place, here)
                    if total is None:
                        total = builder.fmul(value, weight)
                    else:
                        total = multiply_add(builder, value, weight, total)
                at = builder.add(builder.mul(c, step_out), builder.mul(q, apart_out))
                keep(total, builder.gep(results, [at]), mask)
                return nothing

            counted_loop(builder, integer(0), channels, 1, [], one, hide=True)

        def work(find: Callable[[_Axis, Any], list[Tap]], q: Any, mask: Any) -> None:
            left = None if mask is None else builder.sub(count, q)
            along, down = _pairs(builder, vector, builder.gep(places, [builder.add(q, q)]), left)
            of_row, of_column = find(rows, down), find(columns, along)
            all_channels([tap(row, column) for row in of_row for column in of_column], q, mask)

        for mode, find in ((NEAREST, _Axis.nearest), (LINEAR, _Axis.linear), (CUBIC, _Axis.cubic)):
            with builder.if_then(builder.icmp_signed("==", neighbours, integer(mode))):
                for_vectors(builder, vector, count, functools.partial(work, find))
        return context.get_dummy_value()

    number = types.intp
    kind = types.void(out, number, number, number, x, number, number, number, grid, number, sizes)
    return kind, code


@intrinsic(_emit)
def sample_places(
    out: Any, to: int, step_out: int, apart_out: int, x: Any, at: int, step_x: int, apart_x: int, grid: Any, count: int,
    sizes: Any,
) -> None:  # fmt: skip
    """`count` places from the pointer `grid` on, of all channels of an image.

    Args:
        out: channel c of place q goes to out[to + c * step_out + q * apart_out].
        x: channel c of pixel p stands at x[at + c * step_x + p * apart_x].
        sizes: pointer to what `look_up` calls its shape.
    """
    dims, length = sizes[DIMS], MOST * CHUNK
    pixels, weights = np.zeros(3 * length, np.int32), np.zeros(3 * length, out.dtype)
    weights[:length] = 1
    places, shares = np.empty(count * 4, np.int32), np.empty(count * 4, out.dtype)
    for d in range(3 - dims, 3):
        look_up.py_func(pixels, weights, weights.copy(), grid, count, d, sizes, False)
    taps = join.py_func(places, shares, pixels, weights, weights, count, -1, apart_x, sizes)
    room = np.empty(count, out.dtype)
    for c in range(sizes[CHANNELS]):
        mix_taps.py_func(room, 0, x[at + c * step_x :], places, shares, taps, count)
        for q in range(count):
            out[to + c * step_out + q * apart_out] = room[q]
