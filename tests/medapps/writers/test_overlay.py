"""The overlay picture: grey stays grey, regions have their colours and outlines, the notice is there."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
import pytest

from medapps.image import Display, Image
from medapps.writers import Algorithm, write_mask
from medapps.writers.colours import colour
from medapps.writers.overlay import overlay_bytes, shown_slices, tinted

CLASSES = ("background", "liver", "a long name of a class", "spleen")


def picture(mask, image) -> np.ndarray:
    return np.asarray(PIL.Image.open(io.BytesIO(overlay_bytes(mask, image, CLASSES))))


def scan(shape, **fields) -> Image:
    values = np.linspace(-200, 240, int(np.prod(shape))).reshape(1, *shape).astype(np.float32)
    return Image(values, display=Display("LINEAR", center=40, width=400), **fields)


def test_regions_are_tinted_and_outlined_and_the_rest_is_left():
    grey = np.full((1, 8, 8), 100, np.uint8)
    mask = np.zeros((8, 8), np.uint8)
    mask[2:7, 2:7] = 2
    shown = tinted(grey, mask)
    assert (shown[mask == 0] == 100).all()
    assert shown[2, 2].tolist() == list(colour(2))
    inside = 100 + 0.35 * (np.array(colour(2)) - 100)
    np.testing.assert_allclose(shown[4, 4], inside, atol=0.5)  # rounded to whole numbers


def test_slices_with_regions_are_shown_twenty_at_most():
    mask = np.zeros((50, 2, 2), np.uint8)
    mask[5:45] = 1
    shown = shown_slices(mask)
    assert len(shown) == 20
    assert (shown[0], shown[-1]) == (5, 44)


def test_the_window_of_the_file_is_used():
    image = scan((1, 300, 300))
    shown = picture(np.zeros((1, 300, 300), np.uint8), image)
    tile = shown[6:306, 6:306]
    np.testing.assert_array_equal(tile, np.repeat(image.to_uint8()[0, 0][..., None], 3, 2))


def test_pixels_keep_their_proportions():
    image = scan((1, 100, 100), spacing_mm=(None, 3.0, 1.0))
    mask = np.zeros((1, 100, 100), np.uint8)
    mask[0, 20:60, 20:60] = 1
    shown = picture(mask, image)[:306]
    painted = np.argwhere((shown == colour(1)).all(-1))
    tall, wide = np.ptp(painted, axis=0) + 1
    assert tall == pytest.approx(3 * wide, rel=0.02)


def test_a_sheet_names_slices_classes_and_the_notice(tmp_path):
    mask = np.zeros((6, 40, 40), np.uint8)
    mask[1:5, 5:20, 5:20], mask[2:, 25:30, 25:30] = 1, 3
    path = write_mask(tmp_path / "a.png", mask, scan((6, 40, 40)), CLASSES, algorithm=Algorithm("x", "1"))
    with PIL.Image.open(path) as shown:
        assert shown.size[0] > 3 * 256
        strip = np.asarray(shown)[-70:]
    for label, there in ((1, True), (2, False), (3, True)):
        assert (strip == colour(label)).all(-1).any() == there
    assert (strip[-20:] > 200).sum() > 100  # the notice, in light ink


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 3, 2000), (30, 700, 700)])
def test_odd_sizes_are_drawn(shape):
    assert max(picture(np.ones(shape, np.uint8), scan(shape)).shape[:2]) <= 4400
