"""A mask written as NIfTI lies where its image lies: by our reader, and by nibabel alone."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from medapps.errors import InputError
from medapps.image import Image
from medapps.readers import read_nifti
from medapps.writers import Algorithm, write_mask

TOOL = Algorithm("test", "1")
MASK = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
CLASSES = ("background", "liver", "spleen")


def image(angles=(0, 0, 0), mirror=1.0, **place) -> Image:
    direction = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * (1, 1, mirror)
    known = {"spacing_mm": (2.5, 1.1, 0.7), "origin_mm": (-3.0, 14.0, 99.5), "direction": direction.tolist()}
    return Image(np.zeros((1, *MASK.shape), np.int16), **(known | place))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("mirror", [1.0, -1.0])
@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 90, 0), (90, 0, 0), (20, -35, 50)])
def test_a_mask_lies_where_its_image_lies(tmp_path, suffix, mirror, angles):
    on = image(angles, mirror)
    path = write_mask(tmp_path / f"mask{suffix}", MASK, on, CLASSES, algorithm=TOOL)
    again = read_nifti(path)
    np.testing.assert_array_equal(again.array[0], MASK)
    assert again.array.dtype == np.uint8
    # NIfTI keeps float32: 24 bits of about 100 mm
    np.testing.assert_allclose(again.direction, on.direction, atol=1e-6)
    np.testing.assert_allclose(again.spacing_mm, on.spacing_mm, rtol=1e-6)
    np.testing.assert_allclose(again.origin_mm, on.origin_mm, atol=1e-5)
    alone = nibabel.load(path)
    z, y, x = 3, 1, 4
    there = np.asarray(on.origin_mm) + np.asarray(on.direction) @ (x * 0.7, y * 1.1, z * 2.5)
    for affine in (alone.get_sform(), alone.get_qform()):
        np.testing.assert_allclose(nibabel.affines.apply_affine(affine, (x, y, z)) * (-1, -1, 1), there, atol=2e-5)
    assert alone.dataobj[x, y, z] == MASK[z, y, x]


def test_the_same_mask_gives_the_same_bytes(tmp_path):
    a, b = (write_mask(tmp_path / n, MASK, image(), CLASSES, algorithm=TOOL) for n in ("a.nii.gz", "b.nii.gz"))
    assert a.read_bytes() == b.read_bytes()


def test_what_is_unknown_stays_unknown(tmp_path):
    nowhere = image(spacing_mm=None, origin_mm=None, direction=None)
    again = read_nifti(write_mask(tmp_path / "a.nii", MASK, nowhere, CLASSES, algorithm=TOOL))
    assert (again.spacing_mm, again.origin_mm, again.direction) == (None, None, None)
    unplaced = image(origin_mm=None, direction=None)
    again = read_nifti(write_mask(tmp_path / "b.nii", MASK, unplaced, CLASSES, algorithm=TOOL))
    assert again.spacing_mm == pytest.approx((2.5, 1.1, 0.7))
    assert again.direction is None
    with pytest.raises(InputError, match="distance between slices is not known"):
        write_mask(tmp_path / "c.nii", MASK, image(spacing_mm=(None, 1.0, 1.0)), CLASSES, algorithm=TOOL)


@pytest.mark.parametrize(
    ("mask", "name", "message"),
    [
        (MASK[1:], "a.nii", r"mask must be \(z, y, x\) = \(4, 5, 6\)"),
        (MASK.astype(np.float32), "a.nii", "whole numbers"),
        (MASK.astype(np.int16) + 1, "a.nii", "labels must be 0 to 2, got 1 to 3"),
        (MASK.astype(np.int16) - 1, "a.nii", "labels must be 0 to 2, got -1 to 1"),
        (MASK, "a.mha", r"a\.mha: masks are written as .*\.nii"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, mask, name, message):
    with pytest.raises(InputError, match=message):
        write_mask(tmp_path / name, mask, image(), CLASSES, algorithm=TOOL)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_there_is_kept_unless_asked(tmp_path):
    path = tmp_path / "a.nii"
    path.write_bytes(b"mine")
    with pytest.raises(InputError, match="is there already"):
        write_mask(path, MASK, image(), CLASSES, algorithm=TOOL)
    assert path.read_bytes() == b"mine"
    write_mask(path, MASK, image(), CLASSES, algorithm=TOOL, overwrite=True)
    assert read_nifti(path).shape == (1, 4, 5, 6)
