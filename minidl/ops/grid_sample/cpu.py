"""Images read between their pixels: nearest, linear in two or three dimensions, or cubic.

A chunk of places is looked up once for all channels (`look_up.py`): the taps of each place, up to 16 pixels around it
with their weights. Forward is then a weighted sum of pixels; backward adds the gradient, times the weight, to each of
them, and the gradient of the place is the sum over pixels of (gradient times pixel) times the slope of the weight.
About 2 operations for each tap and channel forward, 4 backward; the pixels come from anywhere in the image.

Images that lie channels first are read plane by plane, each place of a chunk in a lane of its own; channels-last, line
by line. Of the gradient of the image a unit is a group of channels, to which nobody else adds; so the bits do not
depend on threads.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, inline, kernel, parallel
from minidl.device.layout import channels_last_view
from minidl.device.mixed_lines import add_scaled_line, sum_lines
from minidl.device.pointers import pointer_to
from minidl.device.row_sums import row_product
from minidl.device.sampled_places import (
    BORDER,
    CHANNELS,
    CUBIC,
    DIMS,
    LENGTHS,
    LINEAR,
    NEAREST,
    NEIGHBOURS,
    PLACES,
    REFLECTION,
    ZEROS,
    sample_places,
)
from minidl.device.tapped_lines import add_tap_products, mix_taps
from minidl.device.turn import contiguous, copy_into
from minidl.device.vectors import lanes, lanes_of
from minidl.ops.grid_sample.look_up import CHUNK, MOST, join, look_up

PADDINGS = {"zeros": ZEROS, "border": BORDER, "reflection": REFLECTION}
MODES = {"nearest": NEAREST, "bilinear": LINEAR, "bicubic": CUBIC}
NARROW = 4  # channels for which a vector would mostly be empty
GROUPS = 4  # of images or their channels, for threads to share out
FLOATS = ("float32", "float64")


def sample(out: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool) -> None:
    """out (N, C, *places) from x (N, C, *space) and grid (N, *places, dims)."""
    is_last = not out.flags.c_contiguous
    shape, chunks = _shape(x, grid, mode, padding_mode, align_corners)
    flat, channels = (*_flat(is_last, out, x), contiguous(grid).reshape(-1), shape), x.shape[1]
    if x.ndim == 4 and (not is_last or channels < lanes_of(x.dtype)):
        parallel(_sample_images, len(x) * chunks, *flat, channels if is_last else 1)
    else:
        parallel(_sample_lines if is_last else _sample_planes, len(x) * chunks, *flat)


def sample_back(
    gx: Array, g: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> None:
    """The gradient of x."""
    is_last = not gx.flags.c_contiguous
    shape, _ = _shape(x, grid, mode, padding_mode, align_corners)
    group = -(-x.shape[1] // max(1, GROUPS // len(x)))
    units = len(x) * -(-x.shape[1] // group)
    run = _sample_lines_back if is_last else _sample_planes_back
    parallel(run, units, *_flat(is_last, gx, g), contiguous(grid).reshape(-1), shape, group, block=1)


def sample_places_back(
    ggrid: Array, g: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> None:
    """The gradient of grid."""
    if mode == "nearest":
        ggrid[...] = 0
        return
    straight = ggrid if ggrid.flags.c_contiguous else empty(CPU, ggrid.shape, ggrid.dtype)
    is_last = not x.flags.c_contiguous
    shape, chunks = _shape(x, grid, mode, padding_mode, align_corners)
    run = _lines_places_back if is_last else _planes_places_back
    flat = straight.reshape(-1), *_flat(is_last, g, x), contiguous(grid).reshape(-1)
    parallel(run, len(x) * chunks, *flat, shape)
    if straight is not ggrid:
        copy_into(ggrid, straight)


def _flat(is_last: bool, *images: Array) -> tuple[Array, ...]:
    return tuple([contiguous(channels_last_view(a) if is_last else a).reshape(-1) for a in images])


def _shape(x: Array, grid: Array, mode: str, padding_mode: str, align_corners: bool) -> tuple[Array, int]:
    """What kernels are told about sizes, and the chunks of an image's places."""
    dims, places = grid.shape[-1], math.prod(grid.shape[1:-1])
    lengths = (1,) * (3 - dims) + x.shape[2:]
    told = dims, *lengths, x.shape[1], places, MODES[mode], PADDINGS[padding_mode], align_corners
    return np.array(told), -(-places // CHUNK)


@inline
def _tables(like: Array, taps: int) -> Any:
    """For a chunk of places: their pixels and taps, and the shares and slopes of each dimension and the weights."""
    pixels, places = np.empty(3 * MOST * CHUNK, np.int32), np.empty(taps * CHUNK, np.int32)
    of_axis, slopes = np.empty(3 * MOST * CHUNK, like.dtype), np.empty(3 * MOST * CHUNK, like.dtype)
    for i in range(CHUNK):  # the dimension that images lack beside volumes: its one pixel counts for all places
        pixels[i], of_axis[i] = 0, 1
    return pixels, places, of_axis, slopes, np.empty(taps * CHUNK, like.dtype)


@inline
def _looked_up(
    pixels: Array, places: Array, of_axis: Array, slopes: Array, weights: Array, grid: Array, first: int, count: int,
    step: int, shape: Any, needs_slopes: bool,
) -> int:  # fmt: skip
    """Look `count` places up from number `first` of all images on, pixels `step` apart; gives the taps of each."""
    source = pointer_to(grid, first * shape[DIMS])
    for d in range(3 - shape[DIMS], 3):
        look_up(pixels, of_axis, slopes, source, count, d, shape, needs_slopes)
    taps: int = join(places, weights, pixels, of_axis, slopes, count, -1, step, shape)
    return taps


@inline
def _taps(shape: Any) -> int:
    each: int = shape[NEIGHBOURS]
    return each * each * (each if shape[DIMS] == 3 else 1)


@inline
def _collect(where: Array, shares: Array, places: Array, weights: Array, i: int, taps: int, count: int) -> int:
    """The taps of place i that lie in the image, side by side; how many there are."""
    found = 0
    for t in range(taps):
        place = places[t * count + i]
        if place >= 0:
            where[found], shares[found] = place, weights[t * count + i]
            found += 1
    return found


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=FLOATS)
def _sample_images(begin: int, end: int, out: Array, x: Array, grid: Array, shape: Array, apart: int) -> None:
    """One unit is a chunk of the places of an image, whose pixels lie so many numbers apart: channels-last if not 1."""
    sizes = pointer_to(shape, 0)
    all_places, channels, image = sizes[PLACES], sizes[CHANNELS], sizes[LENGTHS + 1] * sizes[LENGTHS + 2]
    step_out, step_x, chunks = all_places, image, (all_places + CHUNK - 1) // CHUNK
    if apart != 1:
        step_out, step_x = 1, 1
    for unit in range(begin, end):
        n, first = unit // chunks, unit % chunks * CHUNK
        to, at, count = n * all_places * channels + first * apart, n * image * channels, min(CHUNK, all_places - first)
        source = pointer_to(grid, 2 * (n * all_places + first))
        sample_places(out, to, step_out, apart, x, at, step_x, apart, source, count, sizes)


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _sample_planes(begin: int, end: int, out: Array, x: Array, grid: Array, shape: Array) -> None:
    """One unit is a chunk of the places of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2]
    pixels, places, of_axis, slopes, weights = _tables(x, most)
    chunks = (all_places + CHUNK - 1) // CHUNK
    for unit in range(begin, end):
        n, first = unit // chunks, unit % chunks * CHUNK
        count = min(CHUNK, all_places - first)
        taps = _looked_up(pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count,
                          1, sizes, False)  # fmt: skip
        for plane in range(n * channels, (n + 1) * channels):
            line = pointer_to(x, plane * image)
            mix_taps(out, plane * all_places + first, line, places, weights, taps, count)


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _sample_lines(begin: int, end: int, out: Array, x: Array, grid: Array, shape: Array) -> None:
    """One unit is a chunk of the places of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2] * channels
    pixels, places, of_axis, slopes, weights = _tables(x, most)
    chunks = (all_places + CHUNK - 1) // CHUNK
    where, shares, room = np.empty(most, np.int64), np.empty(most, x.dtype), np.empty(CHUNK, x.dtype)
    is_few = channels < lanes(x)
    for unit in range(begin, end):
        n, first = unit // chunks, unit % chunks * CHUNK
        count, to = min(CHUNK, all_places - first), (n * all_places + first) * channels
        taps = _looked_up(pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count,
                          channels if is_few else 1, sizes, False)  # fmt: skip
        if is_few:
            for c in range(channels):
                mix_taps(room, 0, pointer_to(x, n * image + c), places, weights, taps, count)
                for i in range(count):
                    out[to + i * channels + c] = room[i]
        else:
            for i in range(count):
                found = _collect(where, shares, places, weights, i, taps, count)
                sum_lines(out, to + i * channels, x, n * image, where, shares, 0, found, channels)


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=FLOATS)
def _sample_planes_back(begin: int, end: int, gx: Array, g: Array, grid: Array, shape: Array, group: int) -> None:
    """One unit is a group of channels of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2]
    pixels, places, of_axis, slopes, weights = _tables(g, most)
    groups = (channels + group - 1) // group
    for unit in range(begin, end):
        n, channel = unit // groups, unit % groups * group
        planes = range(n * channels + channel, n * channels + min(channel + group, channels))
        gx[planes.start * image : planes.stop * image] = 0
        for first in range(0, all_places, CHUNK):
            count = min(CHUNK, all_places - first)
            taps = _looked_up(
                pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count, 1, sizes, False
            )
            for plane in planes:
                target, slope = pointer_to(gx, plane * image), pointer_to(g, plane * all_places + first)
                for t in range(taps):
                    for i in range(count):
                        place = places[t * count + i]
                        if place >= 0:
                            target[place] += slope[i] * weights[t * count + i]


@kernel("T[::1], const T[::1], const T[::1], const int64[::1], intp", T=FLOATS)
def _sample_lines_back(begin: int, end: int, gx: Array, g: Array, grid: Array, shape: Array, group: int) -> None:
    """One unit is a group of channels of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2]
    pixels, places, of_axis, slopes, weights = _tables(g, most)
    groups = (channels + group - 1) // group
    for unit in range(begin, end):
        n, channel = unit // groups, unit % groups * group
        size = min(group, channels - channel)
        for pixel in range(n * image, (n + 1) * image):
            for j in range(pixel * channels + channel, pixel * channels + channel + size):
                gx[j] = 0
        for first in range(0, all_places, CHUNK):
            count = min(CHUNK, all_places - first)
            taps = _looked_up(
                pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count, 1, sizes, False
            )
            for i in range(count):
                at = (n * all_places + first + i) * channels + channel
                for t in range(taps):
                    place, weight = places[t * count + i], weights[t * count + i]
                    to = (n * image + place) * channels + channel
                    if place >= 0 and size >= NARROW:
                        add_scaled_line(gx, to, g, at, weight, size)
                    elif place >= 0:
                        for j in range(size):
                            gx[to + j] += g[at + j] * weight


@inline
def _finish(
    ggrid: Any, products: Array, places: Array, weights: Array, pixels: Array, of_axis: Array, slopes: Array,
    count: int, shape: Any,
) -> None:  # fmt: skip
    """The gradients of a chunk of places from the sums over channels of (gradient times pixel) for each tap."""
    dims = shape[DIMS]
    for d in range(3 - dims, 3):
        taps = join(places, weights, pixels, of_axis, slopes, count, d, 1, shape)
        for i in range(count):
            total = products.dtype.type(0)
            for t in range(taps):
                total += products[t * count + i] * weights[t * count + i]
            ggrid[i * dims + 2 - d] = total


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _planes_places_back(begin: int, end: int, ggrid: Array, g: Array, x: Array, grid: Array, shape: Array) -> None:
    """One unit is a chunk of the places of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2]
    pixels, places, of_axis, slopes, weights = _tables(x, most)
    chunks = (all_places + CHUNK - 1) // CHUNK
    products = np.empty(most * CHUNK, x.dtype)
    for unit in range(begin, end):
        n, first = unit // chunks, unit % chunks * CHUNK
        count = min(CHUNK, all_places - first)
        taps = _looked_up(pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count,
                          1, sizes, True)  # fmt: skip
        products[: taps * count] = 0
        for plane in range(n * channels, (n + 1) * channels):
            line = pointer_to(x, plane * image)
            add_tap_products(products, line, places, g, plane * all_places + first, taps, count)
        target = pointer_to(ggrid, (n * all_places + first) * sizes[DIMS])
        _finish(target, products, places, weights, pixels, of_axis, slopes, count, sizes)


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _lines_places_back(begin: int, end: int, ggrid: Array, g: Array, x: Array, grid: Array, shape: Array) -> None:
    """One unit is a chunk of the places of an image."""
    sizes = pointer_to(shape, 0)
    most, all_places, channels = _taps(sizes), sizes[PLACES], sizes[CHANNELS]
    image = sizes[LENGTHS] * sizes[LENGTHS + 1] * sizes[LENGTHS + 2] * channels
    pixels, places, of_axis, slopes, weights = _tables(x, most)
    chunks = (all_places + CHUNK - 1) // CHUNK
    products, room, zero = np.empty(most * CHUNK, x.dtype), np.empty(CHUNK, x.dtype), x.dtype.type(0)
    is_few = channels < lanes(x)
    for unit in range(begin, end):
        n, first = unit // chunks, unit % chunks * CHUNK
        count, at = min(CHUNK, all_places - first), (n * all_places + first) * channels
        taps = _looked_up(pixels, places, of_axis, slopes, weights, grid, n * all_places + first, count,
                          channels if is_few else 1, sizes, True)  # fmt: skip
        if is_few:
            products[: taps * count] = 0
            for c in range(channels):
                for i in range(count):
                    room[i] = g[at + i * channels + c]
                add_tap_products(products, pointer_to(x, n * image + c), places, room, 0, taps, count)
        else:
            for i in range(count):
                for t in range(taps):
                    place, both = places[t * count + i], zero
                    if place >= 0:
                        there = n * image + place * channels
                        both = row_product(g, at + i * channels, zero, x, there, zero, channels)
                    products[t * count + i] = both
        target = pointer_to(ggrid, (n * all_places + first) * sizes[DIMS])
        _finish(target, products, places, weights, pixels, of_axis, slopes, count, sizes)
