"""The largest numbers, or the sums, of all pixels of a window, channels side by side in vectors; and the way back.

The pixels of a window lie on a grid of three dimensions: `counts` of them, `steps` apart, the first one at `pixel`. For
each vector of channels the loop over the grid runs with its result in registers. (With the loop over channels inside,
left to the compiler, the results went through memory once for each pixel: pooling 2×2 of 32 channels took 2.2 times as
long.)
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import numpy as np

from minidl.device.inline import intrinsic
from minidl.device.vectors import (
    counted_loop,
    data_pointer,
    integer,
    load,
    load_masked,
    mask_below,
    splat,
    store,
    store_masked,
    vector_type,
    zeros,
)


def _over_grid(builder: Any, pixel: Any, counts: Any, steps: Any, values: list[Any], body: Any) -> list[Any]:
    """values = body(p, values) for every pixel p of the grid."""

    def along(dim: int, first: Any, values: list[Any]) -> list[Any]:
        def inner(k: Any, values: list[Any]) -> list[Any]:
            p = builder.add(first, builder.mul(k, steps[dim]))
            return body(p, values) if dim == 2 else along(dim + 1, p, values)

        return counted_loop(builder, integer(0), counts[dim], 1, values, inner)[1]

    return along(0, pixel, values)


Loop = Callable[[list[Any], Callable[[Any, list[Any]], list[Any]]], list[Any]]


def _for_grid(
    builder: Any, pixel: Any, counts: Any, steps: Any, use: Callable[[Loop], None], sides: Sequence[int] = (2, 3)
) -> None:  # fmt: skip
    """use(loop), where loop(values, body) is values = body(p, values) for every pixel p; unrolled for such squares."""
    if not sides:
        use(lambda values, body: _over_grid(builder, pixel, counts, steps, values, body))
        return
    side, *others = sides
    is_square = functools.reduce(
        builder.and_, [builder.icmp_signed("==", counts[d], integer(n)) for d, n in enumerate((1, side, side))]
    )
    with builder.if_else(is_square) as (square, other):
        with square:
            pixels = [
                builder.add(pixel, builder.add(builder.mul(integer(a), steps[1]), builder.mul(integer(b), steps[2])))
                for a in range(side)
                for b in range(side)
            ]
            use(lambda values, body: functools.reduce(lambda found, p: body(p, found), pixels, values))
        with other:
            _for_grid(builder, pixel, counts, steps, use, others)


def for_vectors(builder: Any, vector: Any, channels: Any, work: Callable[[Any, Any], None]) -> None:
    """work(c, mask) for every vector of channels; mask is None for whole ones."""
    whole = builder.and_(channels, integer(-vector.count))

    def all_lanes(c: Any, values: list[Any]) -> list[Any]:
        work(c, None)
        return values

    def some_lanes(c: Any, values: list[Any]) -> list[Any]:
        work(c, mask_below(builder, vector, builder.sub(channels, c)))
        return values

    c, _ = counted_loop(builder, integer(0), whole, vector.count, [], all_lanes)
    counted_loop(builder, c, channels, vector.count, [], some_lanes)


def read(builder: Any, vector: Any, pointer: Any, mask: Any) -> Any:
    return load(builder, vector, pointer) if mask is None else load_masked(builder, vector, pointer, mask)


def write(builder: Any, value: Any, pointer: Any, mask: Any) -> None:
    if mask is None:
        store(builder, value, pointer)
    else:
        store_masked(builder, value, pointer, mask)


def _emit_max(
    typing_context: Any, best: Any, place: Any, at: Any, x: Any, image: Any, pixel: Any, counts: Any, steps: Any,
    channels: Any,
) -> Any:  # fmt: skip
    from llvmlite import ir
    from numba.core import cgutils, types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, _, at, _, image, pixel, counts, steps, channels = args
        vector = vector_type(x)
        places = ir.VectorType(ir.IntType(place.dtype.bitwidth), vector.count)
        tops, wheres, numbers = (
            data_pointer(context, builder, kind, args[i]) for kind, i in ((best, 0), (place, 1), (x, 3))
        )
        counts, steps = (cgutils.unpack_tuple(builder, t, 3) for t in (counts, steps))

        def narrow(p: Any) -> Any:
            return p if place.dtype.bitwidth == 64 else builder.trunc(p, places.element)

        def work(loop: Loop, c: Any, mask: Any) -> None:
            def see(p: Any, values: list[Any]) -> list[Any]:
                index = builder.add(builder.mul(builder.add(image, p), channels), c)
                value = read(builder, vector, builder.gep(numbers, [index]), mask)
                wins = builder.or_(
                    builder.fcmp_ordered(">", value, values[0]), builder.fcmp_unordered("uno", value, value)
                )
                here = splat(builder, places, narrow(p))
                return [builder.select(wins, value, values[0]), builder.select(wins, here, values[1])]

            lowest = ir.Constant(vector, [-np.inf] * vector.count)  # what is no larger leaves the first pixel its place
            top, where = loop([lowest, splat(builder, places, narrow(pixel))], see)
            target = builder.add(at, c)
            write(builder, top, builder.gep(tops, [target]), mask)
            write(builder, where, builder.gep(wheres, [target]), mask)

        use = functools.partial(for_vectors, builder, vector, channels)
        _for_grid(builder, pixel, counts, steps, lambda loop: use(functools.partial(work, loop)))
        return context.get_dummy_value()

    grid = cast(Any, types).UniTuple(types.intp, 3)
    return types.void(best, place, types.intp, x, types.intp, types.intp, grid, grid, types.intp), code


def _write_sums(
    builder: Any, vector: Any, target: Any, at: Any, image: Any, first: Any, counts: Any, steps: Any, channels: Any,
    sides: Sequence[int], term: Callable[[Any, Any, Any], Any], finish: Callable[[Any], Any] = lambda total: total,
) -> None:  # fmt: skip
    """target[at + c] = finish(the sum of term(p, index, mask) over all p of the grid), index being that of (p, c)."""
    from numba.core import cgutils

    counts, steps = (cgutils.unpack_tuple(builder, t, 3) for t in (counts, steps))

    def work(loop: Loop, c: Any, mask: Any) -> None:
        def see(p: Any, values: list[Any]) -> list[Any]:
            index = builder.add(builder.mul(builder.add(image, p), channels), c)
            return [builder.fadd(values[0], term(p, index, mask))]

        (total,) = loop([zeros(vector)], see)
        write(builder, finish(total), builder.gep(target, [builder.add(at, c)]), mask)

    use = functools.partial(for_vectors, builder, vector, channels)
    _for_grid(builder, first, counts, steps, lambda loop: use(functools.partial(work, loop)), sides)


def _emit_spread(
    typing_context: Any, gx: Any, at: Any, g: Any, place: Any, image: Any, here: Any, window: Any, counts: Any,
    steps: Any, channels: Any,
) -> Any:  # fmt: skip
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, at, _, _, image, here, window, counts, steps, channels = args
        vector, size = vector_type(g), place.dtype.bitwidth // 8
        places = ir.VectorType(ir.IntType(8 * size), vector.count)
        slopes, numbers, wheres = (
            data_pointer(context, builder, kind, args[i]) for kind, i in ((gx, 0), (g, 2), (place, 3))
        )
        own = splat(builder, places, here if size == 8 else builder.trunc(here, places.element))

        def term(w: Any, index: Any, mask: Any) -> Any:
            won = builder.icmp_signed("==", read(builder, places, builder.gep(wheres, [index]), mask), own)
            return builder.select(won, read(builder, vector, builder.gep(numbers, [index]), mask), zeros(vector))

        _write_sums(builder, vector, slopes, at, image, window, counts, steps, channels, (1, 2), term)
        return context.get_dummy_value()

    grid = cast(Any, types).UniTuple(types.intp, 3)
    return types.void(gx, types.intp, g, place, *[types.intp] * 3, grid, grid, types.intp), code


def _emit_sum(
    typing_context: Any, out: Any, at: Any, x: Any, image: Any, pixel: Any, counts: Any, steps: Any, channels: Any,
    count: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, at, _, image, pixel, counts, steps, channels, count = args
        vector = vector_type(x)
        means, numbers = (data_pointer(context, builder, kind, args[i]) for kind, i in ((out, 0), (x, 2)))

        def term(p: Any, index: Any, mask: Any) -> Any:
            return read(builder, vector, builder.gep(numbers, [index]), mask)

        def finish(total: Any) -> Any:
            return builder.fdiv(total, splat(builder, vector, count))

        _write_sums(builder, vector, means, at, image, pixel, counts, steps, channels, (2, 3), term, finish)
        return context.get_dummy_value()

    grid = cast(Any, types).UniTuple(types.intp, 3)
    return types.void(out, types.intp, x, types.intp, types.intp, grid, grid, types.intp, x.dtype), code


def _emit_share(
    typing_context: Any, gx: Any, at: Any, g: Any, sizes: Any, image: Any, window: Any, counts: Any, steps: Any,
    channels: Any,
) -> Any:  # fmt: skip
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        _, at, _, _, image, window, counts, steps, channels = args
        vector = vector_type(g)
        slopes, numbers, divisors = (
            data_pointer(context, builder, kind, args[i]) for kind, i in ((gx, 0), (g, 2), (sizes, 3))
        )

        def term(w: Any, index: Any, mask: Any) -> Any:
            size = splat(builder, vector, builder.load(builder.gep(divisors, [w])))
            return builder.fdiv(read(builder, vector, builder.gep(numbers, [index]), mask), size)

        _write_sums(builder, vector, slopes, at, image, window, counts, steps, channels, (1, 2, 3), term)
        return context.get_dummy_value()

    grid = cast(Any, types).UniTuple(types.intp, 3)
    return types.void(gx, types.intp, g, sizes, types.intp, types.intp, grid, grid, types.intp), code


Three = tuple[int, int, int]


def _grid(pixel: int, counts: Three, steps: Three) -> Iterator[int]:
    for a in range(counts[0]):
        for b in range(counts[1]):
            for c in range(counts[2]):
                yield pixel + a * steps[0] + b * steps[1] + c * steps[2]


@intrinsic(_emit_max)
def window_max(
    best: Any, place: Any, at: int, x: Any, image: int, pixel: int, counts: Three, steps: Three, channels: int
) -> None:
    """best[at + c], place[at + c] = the largest x[(image + p) * channels + c] of all pixels p, and its p.

    The first of equals wins, and NaN wins over all.
    """
    best[at : at + channels], place[at : at + channels] = -np.inf, pixel
    for p in _grid(pixel, counts, steps):
        values = x[(image + p) * channels : (image + p + 1) * channels]
        wins = (values > best[at : at + channels]) | (values != values)
        best[at : at + channels][wins], place[at : at + channels][wins] = values[wins], p


@intrinsic(_emit_sum)
def window_mean(
    out: Any, at: int, x: Any, image: int, pixel: int, counts: Three, steps: Three, channels: int, count: Any
) -> None:
    """out[at + c] = the sum of x[(image + p) * channels + c] over all pixels p, divided by `count`."""
    out[at : at + channels] = 0
    for p in _grid(pixel, counts, steps):
        out[at : at + channels] += x[(image + p) * channels : (image + p + 1) * channels]
    out[at : at + channels] /= count


@intrinsic(_emit_spread)
def window_spread(
    gx: Any, at: int, g: Any, place: Any, image: int, here: int, window: int, counts: Three, steps: Three, channels: int
) -> None:
    """gx[at + c] = the sum of g[(image + w) * channels + c] over the windows w of a grid whose place is `here`."""
    gx[at : at + channels] = 0
    for w in _grid(window, counts, steps):
        there = slice((image + w) * channels, (image + w + 1) * channels)
        gx[at : at + channels] += np.where(place[there] == here, g[there], 0)


@intrinsic(_emit_share)
def window_share(
    gx: Any, at: int, g: Any, sizes: Any, image: int, window: int, counts: Three, steps: Three, channels: int
) -> None:
    """gx[at + c] = the sum of g[(image + w) * channels + c] / sizes[w] over the windows w of a grid."""
    gx[at : at + channels] = 0
    for w in _grid(window, counts, steps):
        gx[at : at + channels] += g[(image + w) * channels : (image + w + 1) * channels] / sizes[w]
