"""Series: every voxel where the headers put it, checked from the definition and by highdicom; each fault named."""

from __future__ import annotations

import zipfile

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medapps.errors import ImageError, InputError
from medapps.readers import Limits, list_series, read_image, read_series
from medapps.readers.stack import CODES
from tests.data import data_path
from tests.medapps.series_files import ORIGIN, PLANES, SPACING, encoded, series, volume, write

SHUFFLED = [3, 0, 5, 1, 4, 2]
each_plane = pytest.mark.parametrize("plane", PLANES)


def world_of(image, index_zyx) -> np.ndarray:
    z, y, x = index_zyx
    sz, sy, sx = image.spacing_mm
    return np.asarray(image.origin_mm) + np.asarray(image.direction) @ (x * sx, y * sy, z * sz)


@each_plane
@pytest.mark.parametrize("order", [None, SHUFFLED, [5, 4, 3, 2, 1, 0]])
def test_every_voxel_lies_where_its_slice_says(tmp_path, plane, order):
    axes = PLANES[plane]
    folder = write(tmp_path / "s", series(axes=axes), order=order)
    image = read_series(folder)
    assert image.shape == (1, 6, 7, 9)
    assert image.spacing_mm == pytest.approx(SPACING, rel=1e-6)
    np.testing.assert_allclose(image.origin_mm, ORIGIN, atol=1e-6)
    np.testing.assert_array_equal(image.array[0], volume().astype(np.float32) * 2 - 1024)
    assert image.meta["unit"] == "HU"
    z, y, x = 4, 3, 7
    # positions are written with 6 digits after the point
    expected = np.asarray(ORIGIN) + axes @ (x * SPACING[2], y * SPACING[1], z * SPACING[0])
    np.testing.assert_allclose(world_of(image, (z, y, x)), expected, atol=1e-5)


@each_plane
def test_slices_that_run_against_the_normal_are_turned_and_stay_in_place(tmp_path, plane):
    """The first file lies highest; the volume starts at the lowest, so that x, y and z are right-handed."""
    axes = PLANES[plane]
    heights = [-z * SPACING[0] for z in range(6)]
    image = read_series(write(tmp_path / "s", series(axes=axes, heights=heights)))
    np.testing.assert_array_equal(image.array[0, ::-1], volume().astype(np.float32) * 2 - 1024)
    np.testing.assert_allclose(np.linalg.det(image.direction), 1)
    np.testing.assert_allclose(world_of(image, (5, 0, 0)), ORIGIN, atol=1e-5)


@each_plane
def test_highdicom_agrees_about_the_place(tmp_path, plane):
    datasets = series(axes=PLANES[plane])
    image = read_series(write(tmp_path / "s", datasets, order=SHUFFLED))
    theirs = hd.get_volume_from_series([pydicom.dcmread(p) for p in sorted((tmp_path / "s").iterdir())])
    for index in [(0, 0, 0), (5, 6, 8), (2, 0, 4)]:
        ours = world_of(image, index)
        there = theirs.map_reference_to_indices(ours[None])[0]
        np.testing.assert_allclose(there, np.rint(there), atol=1e-4)
        assert theirs.array[tuple(np.rint(there).astype(int))] == image.array[(0, *index)]


def test_a_slope_of_its_own_for_each_slice_is_applied(tmp_path):
    datasets = series()
    for z, ds in enumerate(datasets):
        ds.RescaleSlope = str(z + 1)
    image = read_series(write(tmp_path / "s", datasets))
    expected = volume() * np.arange(1, 7)[:, None, None] - 1024.0
    np.testing.assert_array_equal(image.array[0], expected)


def test_a_folder_a_zip_a_list_and_one_file_are_all_studies(tmp_path):
    folder = write(tmp_path / "s", series())
    (folder / "notes.txt").write_text("words")
    (folder / ".hidden").write_bytes(b"x")
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"s/{path.name}")
    files = sorted(folder.glob("*.dcm"))
    expected = read_series(folder)
    for study in (tmp_path / "s.zip", files, [str(f) for f in reversed(files)]):
        again = read_series(study)
        np.testing.assert_array_equal(again.array, expected.array)
        assert again.origin_mm == expected.origin_mm
    np.testing.assert_array_equal(read_image(folder).array, expected.array)
    assert read_series(files[0]).shape == (1, 1, 7, 9)
    assert list_series(tmp_path / "s.zip")[0].slices == 6


def test_the_listing_says_what_there_is_and_no_more(tmp_path):
    folder = write(tmp_path / "s", series(axes=PLANES["sagittal"], SeriesDescription="for Mrs Person"))
    write(folder, series(uid="1.2.826.0.1.8", Modality="MR", PatientIdentityRemoved="YES")[:1])
    (info, other) = list_series(folder)
    assert (info.number, info.modality, info.kind) == (1, "CT", "CT Image Storage")
    assert (info.files, info.slices, info.rows, info.columns) == (6, 6, 7, 9)
    assert (info.orientation, info.code, info.verdict) == ("sagittal", "", "ok")
    assert info.spacing_mm == pytest.approx(SPACING)
    assert info.warnings == ("names a patient",)
    assert "Person" not in str(info) + str(other)
    assert (other.modality, other.slices, other.spacing_mm, other.warnings) == ("MR", 1, (None, 1.25, 0.75), ())
    assert read_series(folder, other.uid).modality == "MR"
    assert read_series(folder, 2).modality == "MR"


def test_listing_reads_no_pixels(tmp_path, monkeypatch):
    folder = write(tmp_path / "s", series())
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-100])  # pixels cut short
    assert list_series(folder)[0].verdict == "ok"
    with pytest.raises(ImageError, match="truncated"):
        read_series(folder)


# What is refused --------------------------------------------------------------------------------------------------


def refused(folder, code: str, **options) -> str:
    with pytest.raises(InputError) as raised:
        read_series(folder, **options)
    (message,) = raised.value.args
    assert f"{code} {CODES[code]}: " in message
    assert "\n" not in message
    assert "Secret" not in message
    if not options and code not in ("G108",):
        assert code in [info.code for info in list_series(folder)]
    return str(message)


@each_plane
def test_a_missing_slice_is_named(tmp_path, plane):
    kept = [ds for z, ds in enumerate(series(axes=PLANES[plane])) if z != 3]
    message = refused(write(tmp_path / "s", kept), "G101")
    assert "slice 4 of 6 is missing, after 002_" in message


def test_several_missing_slices_are_named(tmp_path):
    kept = [ds for z, ds in enumerate(series(volume((30, 4, 4)))) if z not in (3, 11, 12)]
    assert "slices 4, 12, 13 of 30 are missing" in refused(write(tmp_path / "s", kept), "G101")


def test_a_missing_slice_beside_few_is_found(tmp_path):
    kept = [ds for z, ds in enumerate(series()) if z in (0, 1, 3)]
    assert "slice 3 of 4 is missing" in refused(write(tmp_path / "s", kept), "G101")


def test_a_duplicate_is_named(tmp_path):
    datasets = series()
    datasets[2].ImagePositionPatient = datasets[1].ImagePositionPatient
    assert "001_1.7.200" in refused(write(tmp_path / "s", datasets[:3]), "G102").split("lie at")[0]
    folder = write(tmp_path / "t", series(), order=[0, 1, 2, 3, 4, 5, 2])
    assert "002_1.7.200.dcm and 006_1.7.200.dcm are the same image" in refused(folder, "G102")


def test_phases_are_named(tmp_path):
    datasets = series() + series(uid="1.2.826.0.1.9")
    for ds in datasets:
        ds.SeriesInstanceUID = "1.2.3.200"
        ds.FrameOfReferenceUID = "1.2.3.300"
    assert "2 slices lie at each of 6 places" in refused(write(tmp_path / "s", datasets), "G102")


def test_uneven_steps_are_refused_and_rounded_ones_are_not(tmp_path):
    uneven = series(heights=[0, 2.5, 5, 8, 10.5, 13])
    message = refused(write(tmp_path / "s", uneven), "G103")
    assert "from 2.5 to 3 mm" in message
    rounded = series(spacing=(0.625, 1, 1), heights=[0, 0.6, 1.2, 1.9, 2.5, 3.1])
    assert read_series(write(tmp_path / "t", rounded)).spacing_mm[0] == pytest.approx(0.62)


def test_slices_off_the_line_are_refused(tmp_path):
    datasets = series()
    datasets[3].ImagePositionPatient[0] = str(float(datasets[3].ImagePositionPatient[0]) + 4)
    assert "do not lie on one line" in refused(write(tmp_path / "s", datasets), "G103")


def test_a_localiser_in_the_series_is_refused(tmp_path):
    datasets = series()
    datasets[0].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    message = refused(write(tmp_path / "s", datasets), "G104")
    assert "1 of 6 slices do not lie parallel to the others (000_1.7.200.dcm; a localiser?)" in message
    assert list_series(tmp_path / "s")[0].orientation == "mixed"


def test_a_turn_in_the_plane_is_another_orientation(tmp_path):
    datasets = series()
    datasets[4].ImageOrientationPatient = [0, 1, 0, -1, 0, 0]
    refused(write(tmp_path / "s", datasets), "G104")


def test_mixed_sizes_are_refused(tmp_path):
    datasets = series()
    datasets[1] = series(volume((6, 9, 7)))[1]
    assert "001_1.7.200.dcm" in refused(write(tmp_path / "s", datasets), "G105")
    datasets = series()
    datasets[2].PixelSpacing = ["1.25", "0.8"]
    assert "002_1.7.200.dcm" in refused(write(tmp_path / "t", datasets), "G105")


def test_mixed_frames_of_reference_are_refused(tmp_path):
    datasets = series()
    datasets[5].FrameOfReferenceUID = "1.2.3"
    assert "005_1.7.200.dcm" in refused(write(tmp_path / "s", datasets), "G106")


@each_plane
@pytest.mark.parametrize("degrees", [-20.0, 5.0, 12.5])
def test_a_tilted_gantry_is_measured_and_refused(tmp_path, plane, degrees):
    sideways = SPACING[0] * np.tan(np.deg2rad(degrees))
    folder = write(tmp_path / "s", series(axes=PLANES[plane], shear=(0.0, sideways)))
    assert f"sheared by {abs(degrees):.1f} degrees" in refused(folder, "G107")


def test_several_series_need_a_choice(tmp_path):
    folder = write(tmp_path / "s", series())
    write(folder, series(uid="1.2.826.0.1.8")[:2])
    message = refused(folder, "G108")
    assert "choose one with series=: 1 (CT, 6 slices), 2 (CT, 2 slices)" in message
    assert read_series(folder, 2).shape[1] == 2
    with pytest.raises(ImageError, match=r"no such image series; there are 1 \(CT, 6 slices\)"):
        read_series(folder, 3)


def test_slices_without_a_position_are_refused_and_one_alone_is_read(tmp_path):
    datasets = series()
    for ds in datasets:
        del ds.ImagePositionPatient
    assert "6 of 6 slices do not say where they lie" in refused(write(tmp_path / "s", datasets), "G109")
    alone = read_series(write(tmp_path / "t", datasets[:1]))
    assert (alone.origin_mm, alone.spacing_mm) == (None, (None, 1.25, 0.75))


def test_a_file_that_cannot_be_read_is_not_passed_over(tmp_path):
    folder = write(tmp_path / "s", series())
    victim = folder / "002_1.7.200.dcm"
    victim.write_bytes(victim.read_bytes()[:300] + b"\xff" * 400)
    infos = list_series(folder)
    if infos[-1].number == 0:
        refused(folder, "G100")
    else:  # the header was read as far as it goes; then the slice has no place, or the gap is seen
        with pytest.raises(ImageError):
            read_series(folder)


def test_folders_without_dicom_and_without_images_are_named(tmp_path):
    with pytest.raises(ImageError, match="holds no DICOM file"):
        read_series(tmp_path)
    (tmp_path / "a.dcm").write_bytes(encoded(_report()))
    with pytest.raises(ImageError, match="holds no image series, only Basic Text SR Storage"):
        read_series(tmp_path)
    (info,) = list_series(tmp_path)
    assert (info.slices, info.verdict, info.modality) == (0, "not an image", "SR")


def _report() -> Dataset:
    ds = series()[0]
    for key in ("PixelData", "Rows", "Columns"):
        delattr(ds, key)
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    ds.Modality = "SR"
    return ds


# Multi-frame objects ----------------------------------------------------------------------------------------------


def enhanced(order: list[int], axes: np.ndarray) -> Dataset:
    """An enhanced CT whose frames lie in any order."""
    singles = series(axes=axes)
    ds = series()[0]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"
    for key in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(ds, key)
    ds.NumberOfFrames = len(order)
    measures, plane, values = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [str(SPACING[1]), str(SPACING[2])]
    plane.ImageOrientationPatient = singles[0].ImageOrientationPatient
    values.RescaleSlope, values.RescaleIntercept, values.RescaleType = "2", "-1024", "HU"
    shared = Dataset()
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
    shared.PixelValueTransformationSequence = [values]
    ds.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for z in order:
        position, frame = Dataset(), Dataset()
        position.ImagePositionPatient = singles[z].ImagePositionPatient
        frame.PlanePositionSequence = [position]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.PixelData = volume()[order].astype("<u2").tobytes()
    return ds


@each_plane
def test_frames_of_an_enhanced_object_are_sorted_by_their_place(tmp_path, plane):
    (tmp_path / "e.dcm").write_bytes(encoded(enhanced(SHUFFLED, PLANES[plane])))
    image = read_series(tmp_path / "e.dcm")
    np.testing.assert_array_equal(image.array[0], volume().astype(np.float32) * 2 - 1024)
    np.testing.assert_allclose(image.origin_mm, ORIGIN, atol=1e-6)
    np.testing.assert_allclose(image.direction, PLANES[plane], atol=1e-7)
    assert list_series(tmp_path)[0].slices == 6


def test_a_missing_frame_is_named(tmp_path):
    (tmp_path / "e.dcm").write_bytes(encoded(enhanced([5, 0, 1, 3, 4], PLANES["oblique"])))
    assert "slice 3 of 6 is missing, after e.dcm[frame 3]" in refused(tmp_path / "e.dcm", "G101")


# Limits and real files --------------------------------------------------------------------------------------------


def test_limits_hold_before_decoding(tmp_path):
    datasets = series()
    datasets[0].Rows = datasets[0].Columns = 60000
    folder = write(tmp_path / "s", datasets)
    assert "60000 x 60000 pixels" in refused(folder, "G100")
    whole = write(tmp_path / "t", series())
    with pytest.raises(ImageError, match="more than the 0 MiB allowed"):
        read_series(whole, limits=Limits(dataset_bytes=100))
    with pytest.raises(ImageError, match="more than the 3 files allowed"):
        read_series(whole, limits=Limits(dataset_images=3))
    frames = enhanced(SHUFFLED, PLANES["axial"])
    frames.NumberOfFrames = 100_000
    (tmp_path / "e.dcm").write_bytes(encoded(frames))
    assert "100000 frames" in refused(tmp_path / "e.dcm", "G100")


def test_the_head_phantom_is_one_even_series():
    folder = data_path("dicom/ct_head_phantom")
    image = read_series(folder)
    assert image.shape == (1, 28, 512, 512)
    assert image.spacing_mm == pytest.approx((5.0, 0.451171875, 0.451171875))
    theirs = hd.get_volume_from_series([pydicom.dcmread(p) for p in sorted(folder.glob("*.dcm"))])
    there = theirs.map_reference_to_indices(np.asarray([world_of(image, (27, 100, 200))]))[0]
    assert theirs.array[tuple(np.rint(there).astype(int))] == image.array[0, 27, 100, 200]


def test_the_enhanced_and_the_single_files_of_one_scan_agree():
    folder = data_path("dicom/seg_synthetic/23x38x3")
    single, frames = read_series(folder, 1), read_series(folder / "multiframe.dcm")
    np.testing.assert_array_equal(single.array, frames.array)
    assert single.origin_mm == pytest.approx(frames.origin_mm)
    assert single.spacing_mm == pytest.approx(frames.spacing_mm)
