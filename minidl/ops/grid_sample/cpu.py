"""Images read between their pixels: linear in two or three dimensions, or the nearest pixel.

A place is looked up once for all channels, which lie side by side: up to eight pixels around it (an image is a volume
of depth 1), each with a weight. Forward is then a weighted sum of lines; backward adds the gradient, times the weight,
to each of them, and the gradient of the place is the sum over pixels of (gradient times pixel) times the slope of the
weight. About 2 operations for each pixel and channel forward, 4 backward; the lines come from anywhere in the image.

One unit of the way back is an image, whose gradient nobody else adds to; so the bits do not depend on threads.
"""

from __future__ import annotations

import math

import numpy as np

from minidl.core import Array
from minidl.device import inline, kernel, parallel
from minidl.device.mixed_lines import add_scaled_line, sum_lines
from minidl.device.row_sums import row_product

ZEROS, BORDER, REFLECTION = range(3)
PADDINGS = {"zeros": ZEROS, "border": BORDER, "reflection": REFLECTION}
NARROW = 4  # channels for which a vector would mostly be empty
FLOATS = ("float32", "float64")


def sample(out: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool) -> None:
    """out (N, *places, C) from x (N, *space, C) and grid (N, *places, dims)."""
    shape = _shape(x, grid, mode, padding_mode, align_corners)
    parallel(_sample, grid.size // grid.shape[-1], out.reshape(-1), x.reshape(-1), grid.reshape(-1), shape)


def sample_back(
    gx: Array, g: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> None:
    """The gradient of x."""
    shape = _shape(x, grid, mode, padding_mode, align_corners)
    parallel(_sample_back, len(x), gx.reshape(-1), g.reshape(-1), grid.reshape(-1), shape, block=1)


def sample_places_back(
    ggrid: Array, g: Array, x: Array, grid: Array, *, mode: str, padding_mode: str, align_corners: bool
) -> None:
    """The gradient of grid."""
    if mode == "nearest":
        ggrid[...] = 0
        return
    shape = _shape(x, grid, mode, padding_mode, align_corners)
    flat = (a.reshape(-1) for a in (ggrid, g, x, grid))
    parallel(_sample_places_back, grid.size // grid.shape[-1], *flat, shape)


def _shape(x: Array, grid: Array, mode: str, padding_mode: str, align_corners: bool) -> Array:
    dims, space = grid.shape[-1], x.shape[1:-1]
    places = math.prod(grid.shape[1:-1])
    lengths = (1,) * (3 - dims) + space
    return np.array((dims, *lengths, x.shape[-1], places, mode == "nearest", PADDINGS[padding_mode], align_corners))


# What `shape` holds, by position; lengths are those of depth, height and width.
_DIMS, _LENGTHS, _C, _PLACES, _NEAREST, _PADDING, _ALIGNED = 0, 1, 4, 5, 6, 7, 8


@inline
def _look_up(low: Array, share: Array, speed: Array, grid: Array, at: int, shape: Array) -> None:
    """For each dimension the lower pixel, the weight of the upper one, and how fast the place moves with the grid."""
    one, half, zero = grid.dtype.type(1), grid.dtype.type(0.5), grid.dtype.type(0)
    for d in range(3):
        low[d], share[d], speed[d] = 0, zero, zero
    for d in range(3 - shape[_DIMS], 3):
        n = grid.dtype.type(shape[_LENGTHS + d])
        x = grid[at + 2 - d]
        last = n - one
        if shape[_ALIGNED]:
            p, move = (x + one) * (last * half), last * half
        else:
            p, move = ((x + one) * n - one) * half, n * half
        if shape[_PADDING] == REFLECTION:
            start, span = (zero, last) if shape[_ALIGNED] else (-half, n)
            if span == zero:
                p, move = zero, zero
            else:
                away = abs(p - start)
                if p < start:
                    move = -move
                turns = np.floor(away / span)
                rest = away - turns * span
                if turns % 2 == 0:
                    p = rest + start
                else:
                    p, move = span - rest + start, -move
        if shape[_PADDING] != ZEROS:
            if not p > zero:  # NaN too
                p, move = zero, zero
            elif p >= last:
                p, move = last, zero
        if not (p > -one - one and p < n + one):  # far outside, and not to be counted in whole numbers
            low[d], share[d], speed[d] = -2, zero, zero
        elif shape[_NEAREST]:
            low[d] = np.int64(np.rint(p))
        else:
            floor = np.floor(p)
            low[d], share[d], speed[d] = np.int64(floor), p - floor, move


@inline
def _is_inside(place: int, n: int) -> bool:
    return 0 <= place < n


@inline
def _corners(places: Array, weights: Array, corner: Array, low: Array, share: Array, shape: Array) -> int:
    """The pixels that count, by number, their weights, and which of the eight corners each is; how many there are."""
    one, count = share.dtype.type(1), 0
    uppers = 1 if shape[_NEAREST] else 2
    depth, height, width = shape[_LENGTHS], shape[_LENGTHS + 1], shape[_LENGTHS + 2]
    for a in range(uppers if shape[_DIMS] == 3 else 1):
        z = low[0] + a
        if not _is_inside(z, depth):
            continue
        of_z = share[0] if a else one - share[0]
        for b in range(uppers):
            y = low[1] + b
            if not _is_inside(y, height):
                continue
            of_y = of_z * (share[1] if b else one - share[1])
            for c in range(uppers):
                x = low[2] + c
                if _is_inside(x, width):
                    places[count] = (z * height + y) * width + x
                    weights[count] = of_y * (share[2] if c else one - share[2])
                    corner[count] = 4 * a + 2 * b + c
                    count += 1
    return count


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _sample(begin: int, end: int, out: Array, x: Array, grid: Array, shape: Array) -> None:
    """Places begin to end."""
    low, share, speed = np.zeros(3, np.int64), np.zeros(3, x.dtype), np.zeros(3, x.dtype)
    places, weights, corner = np.zeros(8, np.int64), np.zeros(8, x.dtype), np.zeros(8, np.int64)
    channels = shape[_C]
    image = shape[_LENGTHS] * shape[_LENGTHS + 1] * shape[_LENGTHS + 2] * channels
    for place in range(begin, end):
        _look_up(low, share, speed, grid, place * shape[_DIMS], shape)
        count = _corners(places, weights, corner, low, share, shape)
        first = place // shape[_PLACES] * image
        if channels >= NARROW:
            sum_lines(out, place * channels, x, first, places, weights, 0, count, channels)
        else:
            for j in range(channels):
                total = x.dtype.type(0)
                for k in range(count):
                    total += x[first + places[k] * channels + j] * weights[k]
                out[place * channels + j] = total


@kernel("T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _sample_back(begin: int, end: int, gx: Array, g: Array, grid: Array, shape: Array) -> None:
    """Images begin to end."""
    low, share, speed = np.zeros(3, np.int64), np.zeros(3, g.dtype), np.zeros(3, g.dtype)
    places, weights, corner = np.zeros(8, np.int64), np.zeros(8, g.dtype), np.zeros(8, np.int64)
    channels = shape[_C]
    image = shape[_LENGTHS] * shape[_LENGTHS + 1] * shape[_LENGTHS + 2] * channels
    gx[begin * image : end * image] = 0
    for place in range(begin * shape[_PLACES], end * shape[_PLACES]):
        _look_up(low, share, speed, grid, place * shape[_DIMS], shape)
        count = _corners(places, weights, corner, low, share, shape)
        first = place // shape[_PLACES] * image
        if channels >= NARROW:
            for k in range(count):
                add_scaled_line(gx, first + places[k] * channels, g, place * channels, weights[k], channels)
        else:
            for k in range(count):
                for j in range(channels):
                    gx[first + places[k] * channels + j] += g[place * channels + j] * weights[k]


@kernel("T[::1], const T[::1], const T[::1], const T[::1], const int64[::1]", T=FLOATS)
def _sample_places_back(begin: int, end: int, ggrid: Array, g: Array, x: Array, grid: Array, shape: Array) -> None:
    """Places begin to end."""
    low, share, speed = np.zeros(3, np.int64), np.zeros(3, x.dtype), np.zeros(3, x.dtype)
    places, weights, corner = np.zeros(8, np.int64), np.zeros(8, x.dtype), np.zeros(8, np.int64)
    channels, dims, zero, one = shape[_C], shape[_DIMS], x.dtype.type(0), x.dtype.type(1)
    image = shape[_LENGTHS] * shape[_LENGTHS + 1] * shape[_LENGTHS + 2] * channels
    for place in range(begin, end):
        _look_up(low, share, speed, grid, place * dims, shape)
        count = _corners(places, weights, corner, low, share, shape)
        first = place // shape[_PLACES] * image
        along_z, along_y, along_x = zero, zero, zero
        for k in range(count):
            at = first + places[k] * channels
            if channels >= NARROW:
                both = row_product(g, place * channels, zero, x, at, zero, channels)
            else:
                both = zero
                for j in range(channels):
                    both += g[place * channels + j] * x[at + j]
            a, b, c = corner[k] >> 2, corner[k] >> 1 & 1, corner[k] & 1
            of_z, of_y, of_x = (share[0] if a else one - share[0]), (share[1] if b else one - share[1]), (
                share[2] if c else one - share[2]
            )  # fmt: skip
            along_z += (both if a else -both) * of_y * of_x
            along_y += (both if b else -both) * of_z * of_x
            along_x += (both if c else -both) * of_z * of_y
        ggrid[place * dims] = along_x * speed[2]
        ggrid[place * dims + 1] = along_y * speed[1]
        if dims == 3:
            ggrid[place * dims + 2] = along_z * speed[0]
