"""Regions: the windows of a convolution sorted by which of their taps lie on the image.

Most windows have all taps; those at a border have fewer, and those of one border have the same ones. Along one
dimension the windows fall into a few stretches with the same taps, and the products of these stretches are boxes of
windows that one set of taps serves: no pixel is ever padded, and nothing is multiplied by zero. For a 3×3 window with
padding 1 there are nine such regions: the inside, four edges and four corners.

The input gradient is sorted in the same way. Pixel i of the image gets g[o]·w[a] from every window o and tap a for
which o s - p + a d = i. For each of the s remainders of i the taps that fit are evenly spaced in o, so each remainder
("phase") is a convolution of its own with part of the taps (Dumoulin and Visin 2016, arXiv:1603.07285, section 4, fills
g with zeros instead, which costs s² times as much).

Everything is written for three dimensions; images with fewer have length 1 in the others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from minidl.core import Array
from minidl.device import CPU, empty, inline
from minidl.ops.conv.volumes import space_of
from minidl.ops.windows import Sizes

# A region along one dimension: results out + out_step·u, u < count, see the pixels seen + seen_step·u + tap_step·t,
# t < taps, with the weights from `place` on.
OUT, OUT_STEP, COUNT, SEEN, SEEN_STEP, PLACE, TAPS, TAP_STEP = range(8)
PER_DIM = 8
FIRST_UNIT, CHUNKS = 24, 25  # behind the three dimensions
COLUMNS = 26
CALL_OPERATIONS = 1 << 20
TOGETHER_BYTES = 256 << 10  # of images that are finished before the next ones
PAD_COST = 20  # copying a pixel's channel into a padded image takes as long as so many multiply-adds


class Line(NamedTuple):
    """One phase along one dimension: result out_step·u + start sums pixels in_step·u + first + t·step over its taps."""

    start: int
    first: int
    step: int
    taps: Sizes  # which taps of the window they are


class Way(NamedTuple):
    """A convolution, or the adjoint of one, along three dimensions."""

    lines: tuple[tuple[Line, ...], ...]
    in_step: Sizes
    out_step: Sizes

    def tap_order(self, kernel: Sizes) -> list[int]:
        """The numbers of the taps in the order in which they are used, phase by phase."""
        orders = [[tap for line in lines for tap in line.taps] for lines in self.lines]
        return [(a * kernel[1] + b) * kernel[2] + c for a, b, c in itertools.product(*orders)]

    def overhang(self, pixels: Sizes, results: Sizes) -> tuple[tuple[int, int], ...]:
        """How many pixels before and behind the image its windows see, along each dimension."""
        around = []
        for lines, n, length, in_step, out_step in zip(
            self.lines, pixels, results, self.in_step, self.out_step, strict=True
        ):
            used = [line for line in lines if line.taps and line.start < length]
            lasts = [line.first + (length - 1 - line.start) // out_step * in_step + line.step * (len(line.taps) - 1)
                     for line in used]  # fmt: skip
            around.append((max(0, *[-line.first for line in used], 0), max(0, *[last + 1 - n for last in lasts], 0)))
        return tuple(around)

    def moved(self, around: tuple[tuple[int, int], ...]) -> Way:
        """The same over an image with so many zeros around."""
        lines = [
            tuple(line._replace(first=line.first + before) for line in lines)
            for lines, (before, _) in zip(self.lines, around, strict=True)
        ]
        return self._replace(lines=tuple(lines))


def forward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way:
    lines = [(Line(0, -p, d, tuple(range(k))),) for k, p, d in zip(kernel, padding, dilation, strict=True)]
    return Way(tuple(lines), stride, (1, 1, 1))


def backward_way(kernel: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes) -> Way:
    lines = [_phases(*sizes) for sizes in zip(kernel, stride, padding, dilation, strict=True)]
    return Way(tuple(lines), (1, 1, 1), stride)


def _phases(kernel: int, stride: int, padding: int, dilation: int) -> tuple[Line, ...]:
    lines = []
    for start in range(stride):
        taps = [a for a in reversed(range(kernel)) if (start + padding - a * dilation) % stride == 0]
        windows = [(start + padding - a * dilation) // stride for a in taps]
        step = windows[1] - windows[0] if len(taps) > 1 else 1
        lines.append(Line(start, windows[0] if taps else 0, step, tuple(taps)))
    return tuple(lines)


def regions_of(way: Way, pixels: Sizes, results: Sizes) -> Array:
    """The regions as rows of numbers, three times `PER_DIM`, those with the most windows first."""
    dims = []
    for lines, *lengths in zip(way.lines, pixels, results, way.in_step, way.out_step, strict=True):
        places = itertools.accumulate([len(line.taps) for line in lines], initial=0)
        dims.append([s for line, place in zip(lines, places, strict=False) for s in _stretches(line, place, *lengths)])
    rows = [np.concatenate(row) for row in itertools.product(*dims)]
    rows.sort(key=lambda row: -int(row[COUNT::PER_DIM].prod()))
    return np.array(rows, np.int64).reshape(-1, 3 * PER_DIM)


def _stretches(line: Line, place: int, pixels: int, results: int, in_step: int, out_step: int) -> Iterator[Array]:
    count, taps = -(-(results - line.start) // out_step), len(line.taps)
    if count <= 0:
        return
    seen = np.arange(count) * in_step + line.first
    first = np.clip(-(seen // line.step), 0, taps)
    last = np.clip(-((seen - pixels) // line.step), first, taps)
    none = first == last
    first[none], last[none] = 0, 0
    begins = [0, *(np.flatnonzero(np.diff(first) | np.diff(last)) + 1).tolist(), count]
    for u, stop in itertools.pairwise(begins):
        low, used = int(first[u]), int(last[u] - first[u])
        at = int(seen[u]) + low * line.step if used else 0
        yield np.array((line.start + u * out_step, out_step, stop - u, at, in_step if used else 0, place + low,
                        used, line.step))  # fmt: skip


class Ground(NamedTuple):
    """Where windows are read: the image, or a copy of it with zeros around."""

    regions: Array
    pixels: Sizes
    around: tuple[tuple[int, int], ...] | None

    def of(self, images: Array) -> Array:
        """Images (N, *space, C) as they are, or as volumes with zeros around them."""
        if self.around is None:
            return images
        result = empty(CPU, (len(images), *self.pixels, images.shape[-1]), images.dtype)
        result[...] = 0
        space = space_of(images.shape)
        inside = [slice(before, before + n) for n, (before, _) in zip(space, self.around, strict=True)]
        result[(slice(None), *inside)] = images.reshape(len(images), *space, images.shape[-1])
        return result


def ground_of(way: Way, images: int, pixels: Sizes, results: Sizes, filters: int, tile: int) -> Ground:
    """The image itself, unless its regions waste more windows in tiles of `tile` than a padded copy would cost."""
    inside = Ground(regions_of(way, pixels, results), pixels, None)
    around = way.overhang(pixels, results)
    if not any(map(any, around)):
        return inside
    longer = tuple(before + n + after for n, (before, after) in zip(pixels, around, strict=True))
    copied = Ground(regions_of(way.moved(around), longer, results), longer, around)
    cost = PAD_COST * images * math.prod(longer) // filters
    return copied if work(copied.regions, images, tile) + cost < work(inside.regions, images, tile) else inside


def calls_for(operations: int, most: int) -> int:
    """Into how many calls of a kernel so many operations are cut: each lists its windows anew, which takes 1 us."""
    return max(1, min(most, operations // CALL_OPERATIONS))


class Units(NamedTuple):
    """Units of work: for some images at a time, each region's windows in chunks, and each chunk in shares."""

    regions: Array  # with the first unit and the number of chunks of each
    together: int  # images
    each: int  # units of so many images
    total: int


def units_of(regions: Array, images: int, image_bytes: int, chunk: int, shares: int) -> Units:
    """Chunks of about `chunk` windows. Images of which some fit the cache are finished before the next ones."""
    per_image = regions[:, COUNT::PER_DIM].prod(1)
    together = max(TOGETHER_BYTES // image_bytes, -(-2 * chunk // max(1, int(per_image.sum()))))
    groups = -(-images // min(images, together))
    together = -(-images // groups)
    chunks = -(-together * per_image // chunk)
    firsts = np.concatenate(([0], np.cumsum(chunks * shares)))
    each = int(firsts[-1])
    return Units(np.column_stack((regions, firsts[:-1], chunks)), together, each, each * -(-images // together))


def work(regions: Array, images: int, rows: int) -> int:
    """Windows times taps, in tiles of so many rows."""
    windows = images * regions[:, COUNT::PER_DIM].prod(1)
    return int((-(-windows // rows) * rows * regions[:, TAPS::PER_DIM].prod(1)).sum())


@inline
def region_of(regions: Array, unit: int) -> int:
    """The region that a unit belongs to."""
    low, high = 0, len(regions)
    while high - low > 1:
        middle = (low + high) // 2
        if regions[middle, FIRST_UNIT] <= unit:
            low = middle
        else:
            high = middle
    return low


@inline
def windows_of(region: Array, number: int, image: int, images: int, together: int) -> tuple[int, int]:
    """The windows, first and one past the last, of chunk `number` of the images from `image` on; 0 is image 0's."""
    per_image = region[COUNT] * region[PER_DIM + COUNT] * region[2 * PER_DIM + COUNT]
    total = per_image * min(together, images - image)
    first, last = total * number // region[CHUNKS], total * (number + 1) // region[CHUNKS]
    return per_image * image + first, per_image * image + last


@inline
def list_windows(
    table: Array, region: Array, begin: int, end: int, spare: int, pixels: Array, pitch: int, results: Array,
    out_pitch: int,
) -> None:  # fmt: skip
    """Pairs of offsets of the windows begin to end of all images: of the pixel of their first tap, and of the result.

    `pixels` and `results` are the three lengths of an image, `pitch` and `out_pitch` the numbers of a pixel. The last
    pair is repeated `spare` times.
    """
    across, down, deep = region[2 * PER_DIM + COUNT], region[PER_DIM + COUNT], region[COUNT]
    q, r, e, image = (
        begin % across,
        begin // across % down,
        begin // across // down % deep,
        begin // across // down // deep,
    )
    step, out_step = region[2 * PER_DIM + SEEN_STEP] * pitch, region[2 * PER_DIM + OUT_STEP] * out_pitch
    i, count = 0, end - begin
    while i < count:
        row = (image * pixels[0] + region[SEEN] + e * region[SEEN_STEP]) * pixels[1]
        row = (row + region[PER_DIM + SEEN] + r * region[PER_DIM + SEEN_STEP]) * pixels[2]
        at = (row + region[2 * PER_DIM + SEEN]) * pitch
        row = (image * results[0] + region[OUT] + e * region[OUT_STEP]) * results[1]
        row = (row + region[PER_DIM + OUT] + r * region[PER_DIM + OUT_STEP]) * results[2]
        to = (row + region[2 * PER_DIM + OUT]) * out_pitch
        stop = min(across, q + count - i)
        while q < stop:
            table[2 * i], table[2 * i + 1] = at + q * step, to + q * out_step
            q += 1
            i += 1
        q, r = 0, r + 1
        if r == down:
            r, e = 0, e + 1
        if e == deep:
            e, image = 0, image + 1
    for i in range(count, count + spare):
        table[2 * i], table[2 * i + 1] = table[2 * count - 2], table[2 * count - 1]


@inline
def list_taps(table: Array, region: Array, pixels: Array, pitch: int, kernel: Array, size: int, joined: bool) -> int:
    """Pairs of offsets of a region's taps, in the image and in weights with `size` numbers for each; gives their count.

    `joined`: those of a row count as one.
    """
    count = 0
    across = min(1, region[2 * PER_DIM + TAPS]) if joined else region[2 * PER_DIM + TAPS]
    for a in range(region[TAPS]):
        for b in range(region[PER_DIM + TAPS]):
            for c in range(across):
                row = a * region[TAP_STEP] * pixels[1] + b * region[PER_DIM + TAP_STEP]
                place = (region[PLACE] + a) * kernel[1] + region[PER_DIM + PLACE] + b
                table[2 * count] = (row * pixels[2] + c * region[2 * PER_DIM + TAP_STEP]) * pitch
                table[2 * count + 1] = (place * kernel[2] + region[2 * PER_DIM + PLACE] + c) * size
                count += 1
    return count
