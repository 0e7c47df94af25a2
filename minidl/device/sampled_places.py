"""Images sampled in one pass: a vector of places is looked up, and the pixels read, with all weights in registers.

For images, that is in two dimensions. (By way of tables of pixels and weights, read by `mix_taps`, a place of a plane
took 3.2 ns, of which 1.3 were the reading; the bits are the same.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from minidl.device.inline import intrinsic
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

ZEROS, BORDER, REFLECTION = range(3)
NEAREST, LINEAR, CUBIC = 1, 2, 4  # neighbours along a dimension
# What `sizes` holds, by position; lengths are those of depth, height and width.
DIMS, LENGTHS, CHANNELS, PLACES, NEIGHBOURS, PADDING, ALIGNED = 0, 1, 4, 5, 6, 7, 8
FAR = 2.0**30  # beyond it places are not counted in whole numbers of 32 bits

# Of one dimension: a pixel's number in each lane, whether there is such a pixel, and its weight.
Tap = tuple[Any, Any, Any]


def cubic_weights(t: Any, a: float = -0.75) -> tuple[Any, Any, Any, Any]:
    """The weights of the four nearest pixels for a place `t` between the two middle ones.

    Source: Keys, IEEE Trans. ASSP 29 (1981), with PyTorch's slope -3/4.
    """
    u = 1 - t
    return a * t * u * u, ((a + 2) * t - (a + 3)) * t * t + 1, ((a + 2) * u - (a + 3)) * u * u + 1, a * u * t * t


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


def _neighbours(place: Any, length: int, sizes: Any) -> list[tuple[float, float]]:
    """The pixels that count at a place from -1 to 1, in Python, and their weights."""
    span, start = (length - 1.0, 0.0) if sizes[ALIGNED] else (float(length), -0.5)

    def inside(p: float) -> float:
        if sizes[PADDING] == REFLECTION:
            turns, rest = divmod(abs(p - start), span) if span else (0.0, abs(p - start))
            p = (span - rest if turns % 2 else rest) + start
        if sizes[PADDING] == ZEROS:
            return p
        return min(max(p, 0.0), length - 1.0) if p == p else 0.0

    p = (float(place) + 1) * span / 2 + start
    if sizes[NEIGHBOURS] == CUBIC:
        low = float(np.floor(p))
        first = low if abs(low) < FAR else -FAR
        return [(np.rint(inside(first + k - 1)), w) for k, w in enumerate(cubic_weights(p - low))]
    p = inside(p)
    p = p if -2 < p < FAR else -2.0
    low = float(np.floor(p))
    return [(np.rint(p), 1.0)] if sizes[NEIGHBOURS] == NEAREST else [(low, 1 - (p - low)), (low + 1, p - low)]


@intrinsic(_emit)
def sample_places(
    out: Any, to: int, step_out: int, apart_out: int, x: Any, at: int, step_x: int, apart_x: int, grid: Any, count: int,
    sizes: Any,
) -> None:  # fmt: skip
    """`count` places from the pointer `grid` on, of all channels of an image.

    Args:
        out: channel c of place q goes to out[to + c * step_out + q * apart_out].
        x: channel c of pixel p stands at x[at + c * step_x + p * apart_x].
        sizes: pointer to the numbers that DIMS and the others name.
    """
    height, width = sizes[LENGTHS + 1], sizes[LENGTHS + 2]
    for q in range(count):
        rows, columns = _neighbours(grid[2 * q + 1], height, sizes), _neighbours(grid[2 * q], width, sizes)
        taps = [
            (
                int(row * width + column) * apart_x if 0 <= row < height and 0 <= column < width else -1,
                of_row * of_column,
            )
            for row, of_row in rows
            for column, of_column in columns
        ]
        for c in range(sizes[CHANNELS]):
            to_c, at_c = to + c * step_out, at + c * step_x
            out[to_c + q * apart_out] = sum([(x[at_c + p] if p >= 0 else 0) * weight for p, weight in taps])
