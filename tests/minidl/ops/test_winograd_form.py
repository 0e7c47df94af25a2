"""The matrices of Winograd's forms, against sums of products, and which form a convolution takes."""

from __future__ import annotations

import numpy as np
import pytest

from minidl.ops.conv.winograd_form import FORMS, LINE, PATCH, SMALL, Side, turned
from minidl.ops.conv.winograd_way import backward_way, forward_way

SIDES = sorted({side for form in FORMS for side in form} | {Side(2, 3), Side(3, 2), Side(4, 1)})


@pytest.mark.parametrize("side", SIDES, ids=str)
def test_a_side_makes_the_results_of_a_window_that_slides(side) -> None:
    rng = np.random.default_rng(0)
    pixels, window, slope = (
        rng.standard_normal(side.reach),
        rng.standard_normal(side.taps),
        rng.standard_normal(side.tile),
    )
    seen, weighed = np.array(side.bt) @ pixels, np.array(side.g) @ window
    np.testing.assert_allclose(np.array(side.at) @ (seen * weighed), np.correlate(pixels, window, "valid"), rtol=1e-12)
    back = np.array(turned(side.g)) @ (seen * (np.array(turned(side.at)) @ slope))
    np.testing.assert_allclose(back, np.correlate(pixels, slope, "valid"), rtol=1e-12)


@pytest.mark.parametrize("side", SIDES, ids=str)
def test_every_row_is_in_one_pair(side) -> None:
    assert sorted(row for pair in side.pairs for row in pair) == list(range(side.reach))


@pytest.mark.parametrize(
    ("kernel", "stride", "form", "cost"),
    [
        ((3, 3), (1, 1), PATCH, 36 / 16),
        ((5, 5), (1, 1), PATCH, 4 * 36 / 16),
        ((3, 3), (2, 2), SMALL, 4 * 25 / 16),
        ((4, 4), (2, 2), SMALL, 4 * 25 / 16),
        ((2, 2), (1, 1), SMALL, 25 / 16),
        ((3,), (1,), LINE, 6 / 4),
        ((7,), (2,), LINE, 3 * 6 / 4),
        ((1, 3), (1, 1), LINE, 6 / 4),
        ((3, 3, 3), (1, 1, 1), PATCH, 3 * 36 / 16),
    ],
    ids=str,
)
def test_the_form_with_the_fewest_multiplications_is_taken(kernel, stride, form, cost) -> None:
    way = forward_way(kernel, stride, (0,) * len(kernel), (1,) * len(kernel))
    assert (way.form, way.cost) == (form, cost)


def test_a_step_back_multiplies_for_each_pixel_of_the_image() -> None:
    way = backward_way((4, 4), (2, 2), (1, 1), (1, 1))
    assert (way.form, len(way.phases), way.cost) == (PATCH, 4, 36 / 16)
