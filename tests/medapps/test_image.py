"""Image and Display, against pydicom's windowing and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medapps.errors import ImageError
from medapps.image import Display, Image


def test_shape_and_plane_follow_the_axis_order():
    image = Image(np.arange(24).reshape(1, 2, 3, 4), spacing_mm=(5.0, 0.5, 0.25))
    assert image.shape == (1, 2, 3, 4)
    assert image.plane(1)[0, 2, 3] == 23
    assert image.with_array(image.array * 2).spacing_mm == (5.0, 0.5, 0.25)


def test_geometry_is_never_invented():
    image = Image(np.zeros((1, 1, 2, 2)))
    assert (image.spacing_mm, image.origin_mm, image.direction) == (None, None, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"array": np.zeros((4, 4))}, r"array must be \(C, z, y, x\)"),
        ({"array": np.zeros((2, 1, 4, 4))}, "C = 1 or 3"),
        ({"array": np.zeros((1, 1, 0, 4))}, "array must be"),
        ({"array": np.zeros((1, 1, 4, 4)), "spacing_mm": (1.0, 0.0, 1.0)}, "spacing_mm must be positive"),
        ({"array": np.zeros((1, 1, 4, 4)), "direction": ((1, 0, 0), (1, 0, 0), (0, 0, 1))}, "right angles"),
    ],
)
def test_impossible_images_are_refused(arguments, message):
    with pytest.raises(ImageError, match=message):
        Image(**arguments)


def test_a_plane_that_does_not_exist_is_named():
    with pytest.raises(ImageError, match="z must be below 2, got 2"):
        Image(np.zeros((1, 2, 3, 3))).plane(2)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("center", "width"), [(40.0, 400.0), (-600.0, 1500.0), (0.0, 2.0), (7.5, 1.0)])
def test_windows_agree_with_pydicom(function, center, width):
    from pydicom.dataset import Dataset
    from pydicom.pixels import apply_windowing

    stored = np.arange(-1024, 1024, 3, dtype=np.int16)
    header = Dataset()
    header.PhotometricInterpretation, header.BitsStored, header.PixelRepresentation = "MONOCHROME2", 12, 1
    header.WindowCenter, header.WindowWidth, header.VOILUTFunction = center, width, function
    with np.errstate(over="ignore"):
        expected = (apply_windowing(stored, header) + 2048) / 4095
    np.testing.assert_allclose(Display(function, center=center, width=width).fraction(stored), expected, atol=1e-12)


def test_inversion_comes_after_the_window():
    values = np.array([0, 50, 100, 200])
    shown = Display("LINEAR_EXACT", center=50, width=100)
    inverted = Display("LINEAR_EXACT", center=50, width=100, inverted=True)
    np.testing.assert_array_equal(inverted.fraction(values), 1 - shown.fraction(values))


def test_missing_values_are_shown_black():
    values = np.array([np.nan, 0.0, 1.0])
    assert Display().fraction(values).tolist() == [0.0, 0.0, 1.0]
    assert Display(inverted=True).fraction(values).tolist() == [0.0, 1.0, 0.0]


def test_eight_bit_pictures_are_shown_as_they_are():
    grey = np.array([[[[3, 200]]]], np.uint8)
    assert Image(grey).to_uint8().tolist() == grey.tolist()
    assert Image(grey, display=Display(inverted=True)).to_uint8().ravel().tolist() == [252, 55]


def test_a_constant_image_is_shown_black_without_a_warning():
    assert not Image(np.full((1, 1, 2, 2), 7.0)).to_uint8().any()
