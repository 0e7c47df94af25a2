"""Surface distances against brute force over all pairs of points, and against shapes whose distances are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from medapps.errors import InputError
from medapps.metrics import surface_distances
from tests.medapps.metrics.shapes import ball, blobs, box

SPACINGS = [None, (1.0, 1.0, 1.0), (3.0, 0.7, 0.5)]


def points(mask, spacing):
    """Surface voxels in mm, found voxel by voxel: one of the face neighbours is outside mask or image."""
    axes = range(1, 3) if len(mask) == 1 else range(3)
    found = []
    for at in np.argwhere(mask):
        for axis in axes:
            for step in (-1, 1):
                to = at.copy()
                to[axis] += step
                if not (0 <= to[axis] < mask.shape[axis]) or not mask[tuple(to)]:
                    found.append(tuple(at))
    return np.array(sorted(set(found))) * np.array(spacing or (1.0, 1.0, 1.0))


@pytest.mark.parametrize("spacing", SPACINGS, ids=str)
@pytest.mark.parametrize("shape", [(1, 17, 15), (7, 9, 8)], ids=["picture", "volume"])
@pytest.mark.parametrize("seed", range(3))
def test_all_distances_are_those_of_brute_force(shape, spacing, seed):
    truth, prediction = blobs(shape, seed, 0.3), blobs(shape, seed + 100, 0.1)
    found = surface_distances(truth, prediction, spacing)
    table = cdist(points(truth, spacing), points(prediction, spacing))
    there, back = table.min(1), table.min(0)
    np.testing.assert_allclose(np.sort(found.to_prediction), np.sort(there), atol=1e-12)
    np.testing.assert_allclose(np.sort(found.to_truth), np.sort(back), atol=1e-12)
    assert found.hausdorff95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))
    assert found.average == pytest.approx(np.concatenate([there, back]).mean())
    assert found.within(1.0) == pytest.approx((np.concatenate([there, back]) <= 1.0).mean())


def test_the_hausdorff_distance_is_the_larger_side_and_not_the_percentile_of_both():
    """A point 9 mm beside a large box: one side has 1 distance, the other 36 small ones."""
    truth = box((1, 40, 40), (0, 2, 2), (1, 12, 12))
    prediction = truth | box((1, 40, 40), (0, 5, 20), (1, 6, 21))
    near = surface_distances(truth, prediction)
    far = surface_distances(box((1, 40, 40), (0, 5, 20), (1, 6, 21)), truth)
    assert near.hausdorff95 == 0.0  # the point is 1 of 37
    assert far.hausdorff95 == pytest.approx(np.percentile(far.to_truth, 95))
    assert far.hausdorff95 > np.percentile(np.concatenate([far.to_truth, far.to_prediction]), 95)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.5, 0.8, 1.2)])
def test_a_plate_moved_along_its_normal_is_that_far_away_everywhere(axis, spacing):
    """Plates of one voxel: every voxel of one lies straight above one of the other."""
    low, high = [1, 1, 1], [11, 11, 11]
    low[axis], high[axis] = 3, 4
    truth = box((12, 12, 12), low, high)
    low[axis], high[axis] = 8, 9
    prediction = box((12, 12, 12), low, high)
    found = surface_distances(truth, prediction, spacing)
    assert found.hausdorff95 == pytest.approx(5 * spacing[axis])
    assert found.average == pytest.approx(5 * spacing[axis])
    assert (found.within(5 * spacing[axis] - 0.01), found.within(5 * spacing[axis] + 0.01)) == (0.0, 1.0)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 1.0, 0.5)])
def test_concentric_balls_are_apart_by_the_difference_of_their_radii(spacing):
    """A surface voxel's centre lies inside its ball by less than a voxel's diagonal, on either side."""
    shape = tuple(int(50 / s) for s in spacing)
    found = surface_distances(ball(shape, spacing, 12.0), ball(shape, spacing, 20.0), spacing)
    diagonal = math.dist(spacing, (0, 0, 0))
    for distance in (found.hausdorff95, found.average):
        assert abs(distance - 8.0) < diagonal
    assert abs(found.average - 8.0) < diagonal / 2  # errors of both surfaces cancel in the mean


def test_what_leaves_the_image_has_a_surface_at_its_border():
    whole = np.ones((4, 4, 4), bool)
    assert len(surface_distances(whole, whole).to_truth) == 64 - 8


def test_a_picture_is_flat_but_a_thin_region_in_a_volume_is_not():
    picture = np.ones((1, 5, 5), bool)
    assert len(surface_distances(picture, picture, (9.0, 1.0, 1.0)).to_truth) == 16
    thin = box((3, 5, 5), (1, 0, 0), (2, 5, 5))
    assert len(surface_distances(thin, thin).to_truth) == 25


def test_an_empty_mask_is_infinitely_far_and_two_have_no_distance():
    full, empty = box((1, 5, 5), (0, 1, 1), (1, 3, 3)), np.zeros((1, 5, 5), bool)
    for found in (surface_distances(full, empty), surface_distances(empty, full)):
        assert (found.hausdorff95, found.average, found.within(1e9)) == (math.inf, math.inf, 0.0)
    nothing = surface_distances(empty, empty)
    assert all(math.isnan(v) for v in (nothing.hausdorff95, nothing.average, nothing.within(1.0)))


def test_equal_masks_are_at_distance_zero():
    mask = blobs((5, 9, 9), 3)
    found = surface_distances(mask, mask, (3.0, 1.0, 1.0))
    assert (found.hausdorff95, found.average, found.within(0.0)) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("shapes", "spacing", "message"),
    [
        (((2, 3, 4), (2, 3, 5)), None, "of one shape"),
        (((3, 4), (3, 4)), None, r"must be \(z, y, x\)"),
        (((2, 3, 4), (2, 3, 4)), (1.0, 1.0), "three positive numbers"),
        (((2, 3, 4), (2, 3, 4)), (0.0, 1.0, 1.0), "three positive numbers"),
        (((2, 3, 4), (2, 3, 4)), (math.nan, 1.0, 1.0), "three positive numbers"),
    ],
)
def test_bad_input_is_refused(shapes, spacing, message):
    with pytest.raises(InputError, match=message):
        surface_distances(*(np.zeros(s, bool) for s in shapes), spacing)
