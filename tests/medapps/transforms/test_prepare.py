"""Preparation steps against SciPy, formulas and planted defects."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from medapps.errors import InputError
from medapps.readers import read_dataset
from medapps.transforms import Clean, Compose, Grey, GreyMap, MedianDenoise, Standardise, clean
from tests.data import data_path


def smooth(shape=(1, 1, 40, 40), seed=0, noise=5.0):
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 0, 6, 6))
    return (1000 * field / field.std() * 0.2 + noise * rng.standard_normal(shape)).astype(np.float32)


def test_planted_defects_are_found_counted_and_repaired():
    image = smooth()
    bad, rng = image.copy(), np.random.default_rng(1)
    places = rng.choice(1600, 24, replace=False)
    ys, xs = places // 40, places % 40
    kinds = np.repeat([0, 1, 2], 8)
    bad[0, 0, ys, xs] = np.where(kinds == 0, np.nan, np.where(kinds == 1, 9000, -9000))
    repaired, report = clean(bad)
    assert (report.missing, report.hot, report.dead, report.pixels) == (8, 8, 8, 1600)
    assert "24 of 1600 pixels repaired" in str(report)
    untouched = np.ones((40, 40), bool)
    untouched[ys, xs] = False
    np.testing.assert_array_equal(repaired[0, 0][untouched], image[0, 0][untouched])
    assert np.abs(repaired - image)[0, 0, ys, xs].max() < 200  # of a structure with standard deviation 200


def test_pairs_of_hot_pixels_are_found():
    image = smooth()
    image[0, 0, 10, 10:12] = 9000
    assert clean(image)[1].hot == 2


def test_lines_edges_and_points_of_vessels_survive():
    image = smooth(noise=3.0)
    image[0, 0, 5:35, 20] += 800  # a vessel one pixel wide
    image[0, 0, :, 30:] += 2000  # an organ's edge
    image[0, 0, 12:14, 5:7] += 1500  # a small vessel cut across
    repaired, report = clean(image)
    assert report.changed <= 2  # at most the two ends of the line
    np.testing.assert_array_equal(repaired[0, 0, 6:34, 20], image[0, 0, 6:34, 20])


def test_an_image_without_defects_is_not_touched():
    report = clean(smooth(shape=(8, 1, 40, 40)))[1]
    assert report.changed == 0


def test_real_images_are_left_nearly_alone():
    images = read_dataset(data_path("medmnist/pneumoniamnist.npz")).val.images
    repaired, report = clean(images)
    assert report.changed < 1e-3 * report.pixels
    assert repaired.dtype == np.uint8


def test_large_gaps_are_filled_from_their_rim():
    image = np.full((1, 20, 20), 7.0)
    image[0, 5:15, 5:15] = np.nan
    image[0, 0, 0] = np.inf
    repaired, report = clean(image)
    assert (repaired == 7).all()
    assert report.missing == 101
    assert (clean(np.full((1, 4, 4), np.nan))[0] == 0).all()


@settings(max_examples=100, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=9),
    )
)
def test_clean_keeps_shape_dtype_and_input_and_is_finite(images):
    before = images.copy()
    repaired, report = clean(images)
    assert (repaired.shape, repaired.dtype) == (images.shape, images.dtype)
    assert np.isfinite(repaired).all()
    np.testing.assert_array_equal(images, before)
    assert report.missing == (~np.isfinite(images)).sum()


def test_clean_refuses_nonsense():
    with pytest.raises(InputError, match="threshold must be positive"):
        clean(np.zeros((3, 3)), threshold=0)
    with pytest.raises(InputError, match=r"must be \(\.\.\., H, W\)"):
        clean(np.zeros(3))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_median_agrees_with_numpy(size):
    image = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    padded = np.pad(image, ((0, 0), (0, 0), (size // 2,) * 2, (size // 2,) * 2), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(2, 3))
    np.testing.assert_array_equal(MedianDenoise(size).apply(image), np.median(windows, axis=(-2, -1)))


def test_median_needs_an_odd_window():
    with pytest.raises(InputError, match="odd number of pixels, got 4"):
        MedianDenoise(4)


finite = st.floats(-1e6, 1e6, width=32)


@given(finite, st.floats(1e-3, 1e6), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_grey_round_trips_hold_as_stated(low, span, shares):
    map_ = GreyMap(low, low + span)
    greys = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(map_.to_grey(map_.to_value(greys)), greys)
    values = low + span * np.array(shares)
    # 1e-9: rounding in float64 of numbers up to 2e6
    assert (np.abs(map_.to_value(map_.to_grey(values)) - values) <= map_.error * (1 + 1e-6) + 1e-9).all()


@given(st.integers(-2000, 2000), st.integers(1, 255))
def test_integers_that_span_255_come_back_exactly(low, span):
    map_ = GreyMap(low, low + span)
    values = np.arange(low, low + span + 1)
    np.testing.assert_array_equal(np.rint(map_.to_value(map_.to_grey(values))), values)


def test_grey_clips_and_blackens_missing_values():
    grey = GreyMap(0, 100).to_grey(np.array([-5, 0, 100, 500, np.nan, np.inf, -np.inf]))
    assert grey.tolist() == [0, 0, 255, 255, 0, 255, 0]


def test_grey_step_fits_its_range_once():
    train = np.linspace(-10, 10, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    step = Grey(percentile=0).fit(train)
    assert (step.low, step.high) == (-10, 10)
    assert step.fit(train * 5) == step
    assert Grey().fit(train.astype(np.uint8)).map == GreyMap(0, 255)
    with pytest.raises(InputError, match="fit it on the training images"):
        Grey().apply(train)
    with pytest.raises(InputError, match="low must be below high"):
        GreyMap(3, 3)
    with pytest.raises(InputError, match="no finite value"):
        GreyMap.of(np.array([np.nan]))


def test_standardise_gives_zero_mean_and_unit_sd_on_the_training_images_only():
    rng = np.random.default_rng(0)
    train = rng.normal([[[50]], [[-3]]], [[[9]], [[2]]], (40, 2, 7, 7)).astype(np.float32)
    step = Standardise().fit(train)
    out = step.apply(train)
    np.testing.assert_allclose(out.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((0, 2, 3)), 1, atol=1e-5)
    np.testing.assert_allclose(step.apply(train[0]), out[0])  # one image gives what it gives in a batch
    assert Standardise().fit(np.full((1, 1, 2, 2), 9.0)).sd == (1.0,)


def test_standardise_says_what_is_missing():
    with pytest.raises(InputError, match="fit it on the training images"):
        Standardise().apply(np.zeros((1, 1, 2, 2)))
    with pytest.raises(InputError, match="must have 1 channels, got 3"):
        Standardise((0.0,), (1.0,)).apply(np.zeros((1, 3, 2, 2)))
    with pytest.raises(InputError, match="step `clean` before"):
        Standardise().fit(np.full((1, 1, 2, 2), np.nan))


def test_a_chain_survives_the_trip_through_plain_data():
    import json

    train = smooth(shape=(4, 1, 12, 12))
    chain = Compose((Clean(), MedianDenoise(), Grey(), Standardise())).fit(train)
    again = Compose.from_list(json.loads(json.dumps(chain.to_list())))
    assert again == chain
    np.testing.assert_array_equal(again.apply(train), chain.apply(train))
    np.testing.assert_allclose(chain.apply(train[2]), chain.apply(train)[2])
    assert chain.apply(train).dtype == np.float32


def test_values_near_the_end_of_the_number_range_stay_finite():
    image = np.array([[3.4e38, -3.4e38, 3.4e38, 3.4e38], [0, 3.4e38, 3.4e38, np.inf]], np.float32)
    repaired, report = clean(image)
    assert np.isfinite(repaired).all()
    assert report.missing == 1
