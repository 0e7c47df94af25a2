"""Augmentation: exact where it can be, reproducible always, and the same for one image as in a batch."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.ndimage

from medapps.errors import InputError
from medapps.transforms import (
    Augmentation,
    Brightness,
    Contrast,
    Crop,
    Flip,
    Gamma,
    Rotate,
    augmentations,
    augmented,
    draws,
    preparations,
    transform_from_dict,
    transform_names,
)

ALL = [Contrast(), Brightness(), Gamma(), Rotate(degrees=15, zoom=0.1), Flip(("x", "y")), Crop(3)]
IMAGES = np.random.default_rng(0).integers(0, 255, (12, 2, 9, 11)).astype(np.uint8)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: t.name)
def test_one_image_and_a_batch_agree_and_inputs_stay(transform):
    rng = np.random.default_rng(1)
    images = IMAGES.astype(np.float32)
    params = [transform.params(rng, image) for image in images]
    before = images.copy()
    batch = transform.apply_batch(images, params)
    np.testing.assert_array_equal(images, before)
    assert (batch.dtype, batch.shape) == (np.float32, images.shape)
    for i in range(len(images)):
        np.testing.assert_allclose(transform.apply(IMAGES[i], params[i]), batch[i], rtol=1e-6)
    json.dumps(params)  # draws are plain data: they can be logged and replayed
    assert not np.array_equal(batch, images)


@pytest.mark.parametrize("transform", ALL, ids=lambda t: t.name)
def test_every_transform_survives_the_trip_through_plain_data(transform):
    assert transform_from_dict(json.loads(json.dumps(transform.to_dict()))) == transform


@pytest.mark.parametrize(
    "transform", [Contrast(0), Brightness(0), Gamma(0), Rotate(0), Flip(()), Crop(0)], ids=lambda t: t.name
)
def test_strength_zero_changes_nothing(transform):
    out = augmented(IMAGES, [transform], 0, 0, range(12))
    np.testing.assert_allclose(out, IMAGES, atol=1e-3)  # 1e-3 of 255: gamma goes through a power in float32


def test_draws_depend_on_seed_epoch_and_index_only():
    whole = augmented(IMAGES, ALL, 5, 2, range(12))
    order = np.array([7, 3, 11, 0])
    np.testing.assert_array_equal(augmented(IMAGES[order], ALL, 5, 2, order), whole[order])
    np.testing.assert_array_equal(augmented(IMAGES[4:5], ALL, 5, 2, [4])[0], whole[4])
    for seed, epoch in ((6, 2), (5, 3)):
        assert not np.array_equal(augmented(IMAGES, ALL, seed, epoch, range(12)), whole)
    same_picture = np.repeat(IMAGES[:1], 2, axis=0)
    one, two = augmented(same_picture, ALL, 5, 2, [0, 1])
    assert not np.array_equal(one, two)


def test_draws_of_neighbours_are_independent():
    factors = np.log([d[0]["factor"] for d in draws(np.zeros((4000, 1, 1, 1)), [Contrast(1.0)], 0, 0, range(4000))])
    assert abs(np.corrcoef(factors[:-1], factors[1:])[0, 1]) < 0.05  # 3 standard errors of 4000 pairs
    # Even on the log scale from half to double.
    np.testing.assert_allclose(np.quantile(factors, [0.25, 0.5, 0.75]) / np.log(2), [-0.5, 0, 0.5], atol=0.06)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_quarter_turns_are_exact(quarter):
    image = np.random.default_rng(0).random((1, 8, 8)).astype(np.float32)
    out = Rotate().apply(image, {"degrees": 90.0 * quarter, "zoom": 1.0})
    np.testing.assert_allclose(out[0], np.rot90(image[0], quarter), atol=1e-5)


def test_rotation_agrees_with_scipy():
    image = np.random.default_rng(0).random((1, 21, 21)).astype(np.float32)
    out = Rotate(border="constant").apply(image, {"degrees": 17.0, "zoom": 1.0})[0]
    expected = scipy.ndimage.rotate(image[0], 17.0, reshape=False, order=1, mode="constant")
    np.testing.assert_allclose(out, expected, atol=1e-5)


def test_zoom_agrees_with_linear_interpolation():
    ramp = np.tile(np.arange(21, dtype=np.float32), (21, 1))[None]
    out = Rotate().apply(ramp, {"degrees": 0.0, "zoom": 2.0})[0]
    np.testing.assert_allclose(out[5], 10 + (np.arange(21) - 10) / 2, atol=1e-5)


def test_flips_and_crops_move_pixels_exactly():
    image = IMAGES[0].astype(np.float32)
    np.testing.assert_array_equal(Flip().apply(image, {"x": True, "y": True}), image[:, ::-1, ::-1])
    np.testing.assert_array_equal(Flip().apply(image, {"x": False}), image)
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    crop = Crop(2, border="reflect")
    np.testing.assert_array_equal(crop.apply(image, {"top": 1, "left": 4}), padded[:, 1:10, 4:15])
    np.testing.assert_array_equal(crop.apply(image, {"top": 2, "left": 2}), image)


def test_intensity_formulas():
    image = IMAGES[1].astype(np.float64)
    mean = image.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(Contrast().apply(image, {"factor": 1.3}), mean + 1.3 * (image - mean), rtol=1e-5)
    np.testing.assert_allclose(Brightness().apply(image, {"shift": 0.4}), image + 0.4 * image.std(), rtol=1e-5)
    low, high = image.min(), image.max()
    expected = low + (high - low) * ((image - low) / (high - low)) ** 1.7
    np.testing.assert_allclose(Gamma().apply(image, {"gamma": 1.7}), expected, rtol=1e-4, atol=1e-3)
    assert (Gamma().apply(np.full((1, 3, 3), 4.0), {"gamma": 0.5}) == 4).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "warp"}, r"no transform is called 'warp'; known: brightness, clean"),
        ({}, "no transform is called None"),
        ({"name": "flip", "axis": "x"}, "flip: has no argument 'axis'; it takes axes, p"),
        ({"name": "flip", "axes": ["z"]}, "axes must be among"),
        ({"name": "flip", "p": 2}, "p must be a probability"),
        ({"name": "rotate", "degrees": 400}, "degrees must be 0 to 180"),
        ({"name": "rotate", "border": "wrap"}, "border must be one of nearest, reflect, constant"),
        ({"name": "crop", "padding": -1}, "padding must be 0 pixels or more"),
        ({"name": "contrast", "strength": -1}, "must not be negative"),
    ],
)
def test_bad_recipes_are_named(data, message):
    with pytest.raises(InputError, match=message):
        transform_from_dict(data)


def test_preparation_and_augmentation_are_not_mixed_up():
    with pytest.raises(InputError, match="clean: is not one of the augmentation steps"):
        augmentations([{"name": "clean"}])
    with pytest.raises(InputError, match="flip: is not one of the preparation steps"):
        preparations([{"name": "flip"}])
    assert all(isinstance(t, Augmentation) for t in augmentations([t.to_dict() for t in ALL]))


def test_every_name_is_known():
    assert {"clean", "median_denoise", "grey", "standardise", "contrast", "rotate", "flip", "crop"} <= set(
        transform_names()
    )


def test_a_whole_data_set_in_place_of_a_batch_is_named():
    with pytest.raises(InputError, match="images must be the batch of indices"):
        augmented(IMAGES, ALL, 0, 0, [1, 2])
