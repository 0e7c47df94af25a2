"""NIfTI against nibabel and SciPy's rotations: place, values, choice of volume, and files made to do harm."""

from __future__ import annotations

import contextlib
import gzip
import io

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from medapps.errors import ImageError
from medapps.image import Image
from medapps.readers import Limits, decode_image, read_image, read_nifti
from medapps.readers.nifti import decode_nifti
from tests.data import data_path

RNG = np.random.default_rng(3)
VOXELS = RNG.integers(0, 900, (4, 5, 6)).astype(np.int16)  # (x, y, z)


def oblique(spacing=(0.7, 1.1, 2.5), flip=1.0) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() @ np.diag(spacing)
    affine[:3, 2] *= flip
    affine[:3, 3] = (-30.5, 12.25, 99.0)
    return affine


def file(voxels=VOXELS, affine=None, *, kind=nibabel.Nifti1Image, packed=False, **fields) -> bytes:
    made = kind(voxels, oblique() if affine is None else affine)
    made.header.set_sform(made.affine, code=1)
    made.header.set_qform(made.affine, code=1)
    made.header.set_xyzt_units("mm")
    data = made.to_bytes()
    if fields:  # set afterwards: nibabel writes the place anew
        header = kind.header_class.from_fileobj(io.BytesIO(data))
        for name, value in fields.items():
            header[name] = value
        data = header.binaryblock + data[len(header.binaryblock) :]
    return gzip.compress(data) if packed else data


def world_of(image: Image, index_zyx) -> np.ndarray:
    """LPS mm of a voxel, from the definition of Image's fields."""
    z, y, x = index_zyx
    sz, sy, sx = image.spacing_mm
    return np.asarray(image.origin_mm) + np.asarray(image.direction) @ (x * sx, y * sy, z * sz)


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(ImageError) as raised:
        decode_nifti(data, "x.nii", **options)
    (message,) = raised.value.args
    assert message.startswith("x.nii: ")
    assert "\n" not in message
    return str(message)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_every_voxel_lies_where_nibabel_says(kind, packed, flip):
    affine = oblique(flip=flip)
    image = decode_image(file(affine=affine, kind=kind, packed=packed), "a")
    assert image.array.dtype == np.int16
    for x, y, z in [(0, 0, 0), (3, 0, 0), (0, 4, 0), (1, 2, 5)]:
        assert image.array[0, z, y, x] == VOXELS[x, y, z]
        ras = nibabel.affines.apply_affine(affine, (x, y, z))
        # float32 affine of the header: 24 bits of about 100 mm
        np.testing.assert_allclose(world_of(image, (z, y, x)), ras * (-1, -1, 1), atol=2e-5)


def test_the_sform_wins_over_the_qform_and_the_qform_over_nothing():
    both = file(qoffset_x=7.0)
    assert decode_nifti(both, "a").meta["geometry"] == "sform"
    assert decode_nifti(both, "a").origin_mm[0] == pytest.approx(30.5)
    only = decode_nifti(file(sform_code=0, qoffset_x=7.0), "a")
    assert only.meta["geometry"] == "qform"
    assert only.origin_mm[0] == pytest.approx(-7.0)
    neither = decode_nifti(file(sform_code=0, qform_code=0), "a")
    assert (neither.origin_mm, neither.direction) == (None, None)
    assert neither.spacing_mm == pytest.approx((2.5, 1.1, 0.7))
    silent = file(affine=np.eye(4), sform_code=0, qform_code=0, xyzt_units=0)
    assert decode_nifti(silent, "a").spacing_mm is None


def test_shear_gives_way_to_the_qform_or_is_refused():
    sheared = {"srow_x": (1.0, 0.4, 0.0, 0.0)}
    assert decode_nifti(file(affine=np.eye(4), **sheared), "a").meta["geometry"] == "qform"
    assert "not at right angles" in refusal(file(affine=np.eye(4), qform_code=0, **sheared))


def test_other_units_become_millimetres():
    image = decode_nifti(file(affine=oblique((700.0, 1100.0, 2500.0)), xyzt_units=3), "a")
    assert image.spacing_mm == pytest.approx((2.5, 1.1, 0.7))
    assert image.origin_mm[2] == pytest.approx(0.099)


def test_slope_and_intercept_are_applied_as_nibabel_does():
    data = file(scl_slope=0.5, scl_inter=-10.0)
    expected = nibabel.Nifti1Image.from_bytes(data).get_fdata()
    image = decode_nifti(data, "a")
    assert image.array.dtype == np.float32
    np.testing.assert_array_equal(image.array[0], expected.transpose(2, 1, 0).astype(np.float32))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_type_stays_what_it_is(dtype, order):
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype))
    voxels = (VOXELS % 100).astype(dtype)
    made = nibabel.Nifti1Image(voxels, np.eye(4), header, dtype=np.dtype(dtype))
    image = decode_nifti(made.to_bytes(), "a")
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0], voxels.transpose(2, 1, 0))


def test_colour_is_read_and_complex_numbers_are_refused():
    rgb = np.zeros((2, 3, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"] = 9
    image = decode_nifti(nibabel.Nifti1Image(rgb, np.eye(4)).to_bytes(), "a")
    assert image.shape == (3, 4, 3, 2)
    assert image.array[:, 0, 0, 0].tolist() == [0, 9, 0]
    assert "complex64" in refusal(file(VOXELS.astype(np.complex64)))


@pytest.mark.parametrize("packed", [False, True])
def test_one_volume_of_several_is_read(packed):
    series = RNG.integers(0, 99, (3, 4, 5, 6)).astype(np.uint8)
    data = file(series, packed=packed)
    assert "holds 6 volumes; choose one with read_nifti(path, volume=0)" in refusal(data)
    assert "no volume 6" in refusal(data, volume=6)
    assert "no volume -1" in refusal(data, volume=-1)
    for volume in (0, 4):
        image = decode_nifti(data, "a", volume=volume)
        np.testing.assert_array_equal(image.array[0], series[..., volume].transpose(2, 1, 0))
    assert "5-D" in refusal(file(np.zeros((2, 2, 2, 1, 3), np.uint8)))


def test_a_gzip_bomb_is_refused_before_it_is_inflated():
    header = nibabel.Nifti1Header()
    header.set_data_shape((4096, 4096, 4096))
    header.set_data_dtype(np.uint8)
    header["magic"], header["vox_offset"] = b"n+1", 352
    bomb = gzip.compress(header.binaryblock + bytes(4) + bytes(64 << 20))
    assert len(bomb) < 100_000
    assert "65536 MiB decoded, more than the 512 MiB allowed" in refusal(bomb)
    header.set_data_shape((2, 2, 2))
    header["vox_offset"] = 2**40
    assert "begin at byte" in refusal(gzip.compress(header.binaryblock + bytes(64)))
    header["vox_offset"] = -8
    assert "begin at byte -8" in refusal(header.binaryblock + bytes(64))


def test_what_lies_behind_the_voxels_is_not_inflated():
    whole = file() + bytes(1 << 20)
    packed = gzip.compress(whole)
    broken = packed[:-20] + bytes(20)  # the end is damaged; nobody looks there
    np.testing.assert_array_equal(decode_nifti(broken, "a").array, decode_nifti(file(), "a").array)


def test_limits_hold():
    assert "more than the 0 MiB allowed" in refusal(file(), limits=Limits(decoded_bytes=100))
    assert "6 frames, more than the 5 allowed" in refusal(file(), limits=Limits(frames=5))


@pytest.mark.parametrize("packed", [False, True])
def test_truncated_and_damaged_files_are_named(packed):
    data = file(packed=packed)
    for keep in (0, 3, 100, 347, len(data) // 2, len(data) - 20):
        assert len(refusal(data[:keep])) > 20


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 351), value=st.integers(0, 255))
def test_a_wrong_byte_in_the_header_gives_an_image_or_one_sentence(at, value):
    data = bytearray(file())
    data[at] = value
    with contextlib.suppress(ImageError):  # nothing else may come out
        assert decode_nifti(bytes(data), "x.nii").array.size <= len(data)


def test_a_header_with_its_voxels_elsewhere_is_named():
    data = bytearray(file())
    data[344:348] = b"ni1\0"
    assert "save both as one .nii file" in refusal(bytes(data))


def test_hippocampus_is_read_as_nibabel_reads_it():
    folder = data_path("hippocampus")
    for path in sorted((folder / "images").glob("*.nii.gz"))[:3]:
        for name in (path, folder / "labels" / path.name):
            image, expected = read_image(name), nibabel.load(name)
            np.testing.assert_array_equal(image.array[0].transpose(2, 1, 0), np.asanyarray(expected.dataobj))
            np.testing.assert_allclose(image.spacing_mm[::-1], expected.header.get_zooms(), rtol=1e-6)
    labels = read_image(name)
    assert labels.array.dtype == np.uint8


def test_read_nifti_names_the_file(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(file(packed=True))
    assert read_nifti(tmp_path / "a.nii.gz").shape == (1, 6, 5, 4)
    (tmp_path / "b.nii").write_bytes(b"hello")
    with pytest.raises(ImageError, match=r"b\.nii: not a NIfTI file"):
        read_nifti(tmp_path / "b.nii")
    with pytest.raises(ImageError, match="no such file"):
        read_nifti(tmp_path / "c.nii")
