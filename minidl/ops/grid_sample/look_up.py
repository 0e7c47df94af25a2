"""Where places lie between pixels: the pixels that count for each, their weights, and how fast these change.

A chunk of places is looked up at once, in vectors: along each dimension one neighbour of a place (nearest), two
(linear) or four (cubic), and from these the taps, one for each combination. An image is a volume of depth 1. A table
lies tap by tap, `count` numbers each, in the first cache, and serves all channels. A pixel outside of the image has
number -1. What all threads read comes as a pointer: arrays that a function is given are counted as used at each call,
by all threads in turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device.inline import inline, separate
from minidl.device.pointers import pointer_to, put, taken
from minidl.device.sampled_places import (
    ALIGNED,
    CUBIC,
    DIMS,
    FAR,
    LENGTHS,
    LINEAR,
    NEAREST,
    NEIGHBOURS,
    PADDING,
    REFLECTION,
    ZEROS,
)
from minidl.device.scalar_math import typed

MOST = 4
CHUNK = 256  # places, at most


@inline
def _reflected(p: Any, start: Any, span: Any) -> Any:
    """`p` reflected at `start` and at `start + span` until it lies between; and -1 where it then runs back, else 1."""
    zero, one, two = typed(0, p), typed(1, p), typed(2, p)
    away = abs(p - start)
    turns = np.floor(away / span) if span > zero else zero
    rest = away - turns * span
    is_even = turns == two * np.floor(turns / two)
    return (rest if is_even else span - rest) + start, one if is_even == (p >= start) else -one


@inline
def _clipped(p: Any, last: Any) -> Any:
    """`p` from 0 to `last`; NaN becomes 0."""
    zero = typed(0, p)
    return last if p >= last else p if p > zero else zero


@inline
def _cubic_weights(t: Any) -> Any:
    """`cubic_weights` for kernels."""
    a, one = typed(-0.75, t), typed(1, t)
    u, b, c = one - t, typed(1.25, t), typed(2.25, t)
    return a * t * u * u, (b * t - c) * t * t + one, (b * u - c) * u * u + one, a * u * t * t


@inline
def _cubic_slopes(t: Any, speed: Any) -> Any:
    """How fast the weights change where `t` moves with this speed."""
    a, two, b, c = typed(-0.75, t), typed(2, t), typed(3.75, t), typed(4.5, t)
    u = typed(1, t) - t
    return (
        a * u * (u - two * t) * speed,
        (b * t - c) * t * speed,
        (c - b * u) * u * speed,
        a * t * (two * u - t) * speed,
    )


@inline
def _pixel_of(p: Any, length: int) -> Any:
    """A whole number as that of a pixel, or -1."""
    return np.int32(p) if p >= typed(0, p) and p < typed(length, p) else np.int32(-1)


@separate
def look_up(
    pixels: Array, weights: Array, slopes: Array, grid: Any, count: int, d: int, shape: Any, needs_slopes: bool
) -> None:
    """Dimension d of `count` places from the pointer `grid` on: (neighbours, count) pixels, weights and slopes.

    They begin d * MOST * CHUNK numbers from the first, whatever the count: those of the depth that images lack are
    written once and serve all chunks.
    """
    number = weights.dtype.type
    zero, one, half = number(0), number(1), number(0.5)
    dims, neighbours, padding, aligned = shape[DIMS], shape[NEIGHBOURS], shape[PADDING], shape[ALIGNED] != 0
    length = shape[LENGTHS + d]
    n = number(length)
    last, far = n - one, number(FAR)
    start, span = (zero, last) if aligned else (-half, n)
    speed = (last if aligned else n) * half
    axis, first = 2 - d, d * MOST * CHUNK
    pixel = pointer_to(pixels, first)
    # Places lie in the first row of weights, and how fast they move in that of slopes, until both are known.
    p, move = pointer_to(weights, first), pointer_to(slopes, first)
    shift = zero if aligned else half
    if dims == 2:  # apart for each, or LLVM makes no vectors of it
        for i in range(count):
            p[i] = (grid[2 * i + axis] + one) * speed - shift
    else:
        for i in range(count):
            p[i] = (grid[3 * i + axis] + one) * speed - shift
    if needs_slopes:
        for i in range(count):
            move[i] = speed
    if neighbours != CUBIC and padding == REFLECTION:
        if needs_slopes:
            for i in range(count):
                _, way = _reflected(p[i], start, span)
                move[i] = way * speed if span > zero else zero
        for i in range(count):
            p[i], _ = _reflected(p[i], start, span)
    if neighbours != CUBIC and padding != ZEROS:
        if needs_slopes:
            for i in range(count):
                move[i] = move[i] if p[i] > zero and p[i] < last else zero
        for i in range(count):
            p[i] = _clipped(p[i], last)
    if neighbours == NEAREST:
        for i in range(count):
            q = p[i]
            pixel[i] = _pixel_of(np.rint(q if q > -one - one and q < far else -one), length)
            p[i] = one
    elif neighbours == LINEAR:
        whole = (pixel, pointer_to(pixels, first + count))
        for i in range(count):
            q = p[i]
            low = np.floor(q if q > -one - one and q < far else -one - one)
            put(whole, i, (_pixel_of(low, length), _pixel_of(low + one, length)))
        shares = (p, pointer_to(weights, first + count))
        for i in range(count):
            q, _ = taken(shares, i)
            q = q if q > -one - one and q < far else -one - one
            share = q - np.floor(q)
            put(shares, i, (one - share, share))
        if needs_slopes:
            rises = (move, pointer_to(slopes, first + count))
            for i in range(count):
                rise, _ = taken(rises, i)
                put(rises, i, (-rise, rise))
    else:
        for k in range(CUBIC):
            pixel, shift = pointer_to(pixels, first + k * count), number(k - 1)
            for i in range(count):
                low = np.floor(p[i])
                tap = (low if low > -far and low < far else -far) + shift
                if padding == REFLECTION:
                    tap, _ = _reflected(tap, start, span)
                if padding != ZEROS:
                    tap = np.rint(_clipped(tap, last))
                pixel[i] = _pixel_of(tap, length)
        if needs_slopes:
            changes = (move, pointer_to(slopes, first + count), pointer_to(slopes, first + 2 * count),
                       pointer_to(slopes, first + 3 * count), p)  # fmt: skip
            for i in range(count):
                rise, _, _, _, q = taken(changes, i)
                put(changes, i, _cubic_slopes(q - np.floor(q), rise))
        four = (p, pointer_to(weights, first + count), pointer_to(weights, first + 2 * count),
                pointer_to(weights, first + 3 * count))  # fmt: skip
        for i in range(count):
            q, _, _, _ = taken(four, i)
            put(four, i, _cubic_weights(q - np.floor(q)))


@separate
def join(
    places: Array, weights: Array, pixels: Array, of_axis: Array, slopes: Array, count: int, along: int, step: int,
    shape: Any,
) -> int:  # fmt: skip
    """The taps of a chunk: their places in the image, or -1, and their weights; how many there are.

    Args:
        along: a dimension whose slopes take the place of its weights; -1 for none.
        step: numbers from a pixel to the next one.
    """
    each, taps = shape[NEIGHBOURS], 0
    of_row = shape[LENGTHS + 2] * step
    of_image = shape[LENGTHS + 1] * of_row
    for a in range(each if shape[DIMS] == 3 else 1):
        for b in range(each):
            for c in range(each):
                z, y, x = a * count, MOST * CHUNK + b * count, 2 * MOST * CHUNK + c * count
                whole = (pointer_to(places, taps * count), pointer_to(pixels, z), pointer_to(pixels, y),
                         pointer_to(pixels, x))  # fmt: skip
                for i in range(count):
                    _, k, j, i_ = taken(whole, i)
                    place = k * of_image + j * of_row + i_ * step
                    put(whole, i, (np.int32(place if (k | j | i_) >= 0 else -1),))
                factors = (pointer_to(weights, taps * count), pointer_to(slopes if along == 0 else of_axis, z),
                           pointer_to(slopes if along == 1 else of_axis, y),
                           pointer_to(slopes if along == 2 else of_axis, x))  # fmt: skip
                for i in range(count):
                    _, of_z, of_y, of_x = taken(factors, i)
                    put(factors, i, (of_z * of_y * of_x,))
                taps += 1
    return taps
