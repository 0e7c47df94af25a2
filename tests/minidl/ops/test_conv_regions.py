"""Regions: together they hold each pair of a window and a tap on the image exactly once."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from minidl.ops.conv.regions import (
    COUNT,
    OUT,
    OUT_STEP,
    PER_DIM,
    PLACE,
    SEEN,
    SEEN_STEP,
    TAP_STEP,
    TAPS,
    backward_way,
    forward_way,
    ground_of,
    regions_of,
    units_of,
)

CASES = [
    # image, kernel, stride, padding, dilation
    ((1, 1, 9), (1, 1, 3), (1, 1, 1), (0, 0, 1), (1, 1, 1)),
    ((1, 7, 8), (1, 3, 3), (1, 2, 2), (0, 1, 1), (1, 1, 1)),
    ((1, 5, 6), (1, 2, 2), (1, 3, 3), (0, 3, 4), (1, 1, 3)),
    ((4, 5, 6), (3, 1, 2), (2, 1, 3), (2, 0, 1), (1, 2, 2)),
    ((1, 4, 4), (1, 7, 7), (1, 1, 1), (0, 3, 3), (1, 1, 1)),
    ((3, 6, 2), (2, 3, 1), (1, 1, 1), (0, 4, 0), (2, 1, 1)),
]


def windows_of(case) -> tuple[int, ...]:
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(*case, strict=True))


def seen_by(region: np.ndarray):
    """(result, pixel, place of the weight) of every window and tap of a region."""
    dims = []
    for d in np.split(region[: 3 * PER_DIM], 3):
        pairs = itertools.product(range(d[COUNT]), range(d[TAPS]))
        dims.append([(d[OUT] + u * d[OUT_STEP], d[SEEN] + u * d[SEEN_STEP] + t * d[TAP_STEP], d[PLACE] + t)
                     for u, t in pairs])  # fmt: skip
    for combination in itertools.product(*dims):
        yield tuple(tuple(int(part[i]) for part in combination) for i in range(3))


def by_definition(case):
    image, kernel, stride, padding, dilation = case
    for window in itertools.product(*map(range, windows_of(case))):
        for tap in itertools.product(*map(range, kernel)):
            pixel = tuple(
                w * s - p + t * d for w, s, p, t, d in zip(window, stride, padding, tap, dilation, strict=True)
            )
            if all(0 <= i < n for i, n in zip(pixel, image, strict=True)):
                yield window, pixel, tap


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_regions_hold_every_pair_once(case) -> None:
    found = [
        pair for region in regions_of(forward_way(*case[1:]), case[0], windows_of(case)) for pair in seen_by(region)
    ]
    assert sorted(found) == sorted(by_definition(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_backward_regions_hold_the_same_pairs_the_other_way_round(case) -> None:
    way = backward_way(*case[1:])
    taps = [[tap for line in lines for tap in line.taps] for lines in way.lines]
    found = [
        (window, pixel, tuple(order[i] for order, i in zip(taps, place, strict=True)))
        for region in regions_of(way, windows_of(case), case[0])
        for pixel, window, place in seen_by(region)
    ]
    assert sorted(found) == sorted(by_definition(case))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_result_is_in_one_region(case) -> None:
    """Those that see nothing as well: they get the bias."""
    for way, pixels, results in [
        (forward_way(*case[1:]), case[0], windows_of(case)),
        (backward_way(*case[1:]), windows_of(case), case[0]),
    ]:
        assert regions_of(way, pixels, results)[:, COUNT::PER_DIM].prod(1).sum() == np.prod(results)


def test_a_padded_copy_is_made_where_regions_are_many_and_small() -> None:
    seven, three = ((1, 7, 7), (1, 1, 1), (0, 3, 3), (1, 1, 1)), ((1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1))
    assert ground_of(forward_way(*seven), 1, (1, 14, 14), (1, 14, 14), 64, 6).around == ((0, 0), (3, 3), (3, 3))
    assert ground_of(forward_way(*three), 8, (1, 64, 64), (1, 64, 64), 64, 6).around is None


def test_a_padded_copy_has_the_image_in_its_middle() -> None:
    x = np.arange(1, 1 + 14 * 14 * 8, dtype=np.float32).reshape(1, 14, 14, 8)
    seven = forward_way((1, 7, 7), (1, 1, 1), (0, 3, 3), (1, 1, 1))
    copy = ground_of(seven, 1, (1, 14, 14), (1, 14, 14), 64, 6).of(x)
    np.testing.assert_array_equal(copy[0, 0], np.pad(x[0], ((3, 3), (3, 3), (0, 0))))


def test_units_count_chunks_of_some_images_at_a_time() -> None:
    regions = regions_of(forward_way((1, 3, 3), (1, 1, 1), (0, 1, 1), (1, 1, 1)), (1, 28, 28), (1, 28, 28))
    units = units_of(regions, 32, 100 << 10, 96, 3)
    assert (units.together, units.each, units.total) == (2, 3 * (15 + 4 * 1 + 4 * 1), 16 * units.each)
