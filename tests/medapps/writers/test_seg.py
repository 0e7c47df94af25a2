"""Masks written as DICOM SEG come back in the same place of the patient: by our reader, and by highdicom alone."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest

from medapps.errors import ImageError, InputError
from medapps.readers import Limits, read_image, read_seg, read_series
from medapps.writers import Algorithm, write_mask
from tests.data import data_path
from tests.medapps.readers.test_series import SHUFFLED, enhanced, world_of
from tests.medapps.series_files import PLANES, SPACING, encoded, series, volume, write

TOOL = Algorithm("test net", "1.2", "ab" * 32)
CLASSES = ("background", "liver", "left kidney", "thing")
each_plane = pytest.mark.parametrize("plane", PLANES)


def blobs(shape=(6, 7, 9)) -> np.ndarray:
    """Labels 0 to 3 with nothing symmetric about them; the first and fourth slices are empty."""
    mask = np.zeros(shape, np.uint8)
    mask[1:3, 1:4, 2:7] = 1
    mask[4:, 4:, :5] = 2
    mask[2, 5, 8] = 3
    return mask


def world_set(mask: np.ndarray, image) -> set[tuple[int, ...]]:
    """(label, place in 0.01 mm) of each set voxel."""
    return {
        (int(mask[tuple(i)]), *np.rint(world_of(image, i) * 100).astype(int).tolist()) for i in np.argwhere(mask > 0)
    }


@each_plane
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("order", [None, SHUFFLED])
def test_the_mask_comes_back_in_its_place(tmp_path, plane, direction, order):
    heights = [direction * z * SPACING[0] for z in range(6)]
    folder = write(tmp_path / "s", series(axes=PLANES[plane], heights=heights), order=order)
    image, mask = read_series(folder), blobs()
    path = write_mask(tmp_path / "mask.dcm", mask, image, CLASSES, algorithm=TOOL, source=folder)
    again, names = read_seg(path, image)
    np.testing.assert_array_equal(again, mask)
    assert names == CLASSES
    alone = hd.seg.segread(path).get_volume(combine_segments=True)
    index = np.argwhere(alone.array > 0)
    places = alone.map_indices_to_reference(index)
    theirs = {
        (int(alone.array[tuple(i)]), *np.rint(p * 100).astype(int).tolist()) for i, p in zip(index, places, strict=True)
    }
    assert theirs == world_set(mask, image)


def test_the_object_says_what_viewers_and_auditors_need(tmp_path):
    folder = write(tmp_path / "s", series())
    path = write_mask(tmp_path / "mask.dcm", blobs(), read_series(folder), CLASSES, algorithm=TOOL, source=folder)
    ds, first = pydicom.dcmread(path), series()[0]
    assert ds.SegmentationType == "BINARY"
    assert ds.NumberOfFrames == 5  # liver in 2 slices, kidney in 2, thing in 1; empty ones are left out
    assert ds.FrameOfReferenceUID == first.FrameOfReferenceUID
    assert ds.StudyInstanceUID == first.StudyInstanceUID
    assert ds.PatientID == first.PatientID
    referred = {i.ReferencedSOPInstanceUID for s in ds.ReferencedSeriesSequence for i in s.ReferencedInstanceSequence}
    assert referred == {d.SOPInstanceUID for d in series()}
    assert "not a medical device" in ds.ContentDescription
    assert len(ds.ContentDescription) <= 64
    (liver, kidney, thing) = ds.SegmentSequence
    assert liver.SegmentAlgorithmType == "AUTOMATIC"
    assert liver.SegmentAlgorithmName == "test net"
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"  # SNOMED CT: liver
    assert kidney.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Kidney"
    assert thing.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Tissue"
    (algorithm,) = liver.SegmentationAlgorithmIdentificationSequence
    assert algorithm.AlgorithmVersion == "1.2"
    assert "ab" * 32 in algorithm.AlgorithmParameters
    for frame in ds.PerFrameFunctionalGroupsSequence:
        image = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        source = next(d for d in series() if d.SOPInstanceUID == image)
        position = frame.PlanePositionSequence[0].ImagePositionPatient
        assert [float(v) for v in position] == [float(v) for v in source.ImagePositionPatient]


@each_plane
def test_an_enhanced_object_is_a_source_too(tmp_path, plane):
    (tmp_path / "e.dcm").write_bytes(encoded(enhanced(SHUFFLED, PLANES[plane])))
    image = read_series(tmp_path / "e.dcm")
    path = write_mask(tmp_path / "m.dcm", blobs(), image, CLASSES, algorithm=TOOL, source=tmp_path / "e.dcm")
    np.testing.assert_array_equal(read_seg(path, image)[0], blobs())


@each_plane
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0]])
def test_an_image_that_keeps_the_order_of_its_frames_has_a_source_too(tmp_path, plane, order):
    """read_image lets z run as the frames do, against the normal if need be."""
    (tmp_path / "e.dcm").write_bytes(encoded(enhanced(order, PLANES[plane])))
    image = read_image(tmp_path / "e.dcm")
    path = write_mask(tmp_path / "m.dcm", blobs(), image, CLASSES, algorithm=TOOL, source=tmp_path / "e.dcm")
    np.testing.assert_array_equal(read_seg(path, image)[0], blobs())
    forward = read_series(tmp_path / "e.dcm")
    assert world_set(read_seg(path, forward)[0], forward) == world_set(blobs(), image)


def test_one_slice_is_a_source_too(tmp_path):
    folder = write(tmp_path / "s", series(axes=PLANES["oblique"]))
    file = sorted(folder.iterdir())[2]
    image = read_image(file)
    path = write_mask(tmp_path / "m.dcm", blobs()[4:5], image, CLASSES, algorithm=TOOL, source=file)
    np.testing.assert_array_equal(read_seg(path, image)[0], blobs()[4:5])


def test_a_mask_without_a_region_is_written(tmp_path):
    folder = write(tmp_path / "s", series())
    image = read_series(folder)
    empty = np.zeros((6, 7, 9), np.uint8)
    path = write_mask(tmp_path / "m.dcm", empty, image, CLASSES, algorithm=TOOL, source=folder)
    mask, names = read_seg(path, image)
    assert not mask.any()
    assert names == CLASSES


def test_the_right_series_is_found_among_several(tmp_path):
    folder = write(tmp_path / "s", series())
    write(folder, series(volume((6, 7, 9), seed=5), axes=PLANES["sagittal"], uid="1.2.826.0.1.8"))
    image = read_series(folder, 2)
    path = write_mask(tmp_path / "m.dcm", blobs(), image, CLASSES, algorithm=TOOL, source=folder)
    assert pydicom.dcmread(path).FrameOfReferenceUID == "1.2.826.0.1.8.300"
    np.testing.assert_array_equal(read_seg(path, image)[0], blobs())


def test_a_source_that_lies_elsewhere_is_refused(tmp_path):
    folder = write(tmp_path / "s", series())
    image = read_series(folder)
    x, y, z = image.origin_mm
    for other in (
        replace(image, origin_mm=(x, y, z + 2.5)),
        replace(image, spacing_mm=(2.6, 1.25, 0.75)),
        replace(image, direction=((0, 1, 0), (1, 0, 0), (0, 0, 1))),
        replace(image, origin_mm=None),
    ):
        with pytest.raises(InputError, match="no series that lies where the image lies"):
            write_mask(tmp_path / "m.dcm", blobs(), other, CLASSES, algorithm=TOOL, source=folder)
    with pytest.raises(InputError, match="needs source="):
        write_mask(tmp_path / "m.dcm", blobs(), image, CLASSES, algorithm=TOOL)
    assert not (tmp_path / "m.dcm").exists()


# read_seg ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(tmp_path):
    folder = write(tmp_path / "s", series(axes=PLANES["oblique"]))
    image = read_series(folder)
    return image, write_mask(tmp_path / "m.dcm", blobs(), image, CLASSES, algorithm=TOOL, source=folder)


def changed(path, **elements) -> None:
    ds = pydicom.dcmread(path)
    for key, value in elements.items():
        setattr(ds, key, value)
    ds.save_as(path)


def test_frames_are_matched_by_place_and_not_by_order(written):
    image, path = written
    ds = pydicom.dcmread(path)
    order = [3, 1, 4, 0, 2]
    pixels = ds.pixel_array[order]
    ds.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes()
    ds.PixelData += b"\0" * (len(ds.PixelData) % 2)
    groups = ds.PerFrameFunctionalGroupsSequence
    ds.PerFrameFunctionalGroupsSequence = [groups[i] for i in order]
    ds.save_as(path)
    np.testing.assert_array_equal(read_seg(path, image)[0], blobs())


def test_the_image_may_run_the_other_way(written):
    """The same voxels with z reversed, and with x and y exchanged."""
    image, path = written
    direction, origin = np.asarray(image.direction), np.asarray(image.origin_mm)
    top = origin + direction @ (0, 0, 5 * SPACING[0])
    flipped = replace(image, direction=tuple(map(tuple, direction * (1, 1, -1))), origin_mm=tuple(top))
    np.testing.assert_array_equal(read_seg(path, flipped)[0], blobs()[::-1])
    turned = replace(
        image,
        array=image.array.transpose(0, 1, 3, 2),
        spacing_mm=(SPACING[0], SPACING[2], SPACING[1]),
        direction=tuple(map(tuple, direction[:, [1, 0, 2]])),
    )
    np.testing.assert_array_equal(read_seg(path, turned)[0], blobs().transpose(0, 2, 1))


def test_what_lies_elsewhere_is_refused(written):
    image, path = written
    x, y, z = image.origin_mm
    cases = [
        (replace(image, meta=image.meta | {"frame_of_reference": "other"}), "another frame of reference"),
        (replace(image, origin_mm=(x + 0.3, y, z)), "between the voxels"),
        (replace(image, spacing_mm=(2.5, 1.25, 0.8)), "another grid"),
        (replace(image, direction=((1, 0, 0), (0, 1, 0), (0, 0, 1))), "another grid"),
        (replace(image, array=image.array[:, :3]), "reaches beyond the image"),
    ]
    for like, message in cases:
        with pytest.raises(ImageError, match=message):
            read_seg(path, like)
    with pytest.raises(InputError, match="no position in space"):
        read_seg(path, replace(image, origin_mm=None))
    with pytest.raises(InputError, match="'refuse' or 'last'"):
        read_seg(path, image, overlap="first")


def test_limits_hold(written):
    image, path = written
    with pytest.raises(ImageError, match="5 frames, more than the 4 allowed"):
        read_seg(path, image, limits=Limits(frames=4))
    with pytest.raises(ImageError, match="more than the 0 MiB allowed"):
        read_seg(path, image, limits=Limits(decoded_bytes=10))
    changed(path, NumberOfFrames=60_000)
    with pytest.raises(ImageError, match="truncated"):
        read_seg(path, image)
    changed(path, Rows=65_000, Columns=65_000)
    with pytest.raises(ImageError, match="65000 x 65000"):
        read_seg(path, image)


def test_other_files_are_named(tmp_path):
    folder = write(tmp_path / "s", series())
    image = read_series(folder)
    with pytest.raises(ImageError, match="is no DICOM segmentation"):
        read_seg(sorted(folder.iterdir())[0], image)
    (tmp_path / "x").write_bytes(b"hello")
    with pytest.raises(ImageError, match="not a DICOM file"):
        read_seg(tmp_path / "x", image)


@pytest.mark.parametrize("width", ["23x38x3", "24x38x3"])
def test_frames_that_end_inside_a_byte_are_read_as_highdicom_reads_them(width):
    folder = data_path(f"dicom/seg_synthetic/{width}")
    image = read_series(folder, 1)
    mask, names = read_seg(folder / "seg.dcm", image)
    theirs = hd.seg.segread(folder / "seg.dcm").get_volume(combine_segments=True)
    assert names[0] == "background"
    assert len(names) > 1
    assert mask.any()
    for index in np.argwhere(theirs.array > 0):
        place = theirs.map_indices_to_reference(index[None])[0]
        x, y, z = np.linalg.inv(np.asarray(image.direction)) @ (place - np.asarray(image.origin_mm))
        sz, sy, sx = image.spacing_mm
        assert mask[round(z / sz), round(y / sy), round(x / sx)] == theirs.array[tuple(index)]
    assert (mask > 0).sum() == (theirs.array > 0).sum()


def test_overlapping_segments_are_refused_or_the_last_one_wins():
    folder = data_path("dicom/ct_liver_seg")
    image = read_series(folder, 1)
    liver, names = read_seg(folder / "seg_liver.dcm", image)
    assert names == ("background", "Liver")
    pixels = pydicom.dcmread(folder / "seg_liver.dcm").pixel_array
    assert liver.sum() == pixels.sum()
    path = folder / "seg_partial_overlaps.dcm"
    with pytest.raises(ImageError, match=r"segments \d and \d overlap.*overlap='last'"):
        read_seg(path, image)
    mask, _ = read_seg(path, image, overlap="last")
    ds = pydicom.dcmread(path)
    expected = np.zeros_like(mask)
    for frame, of in sorted(
        zip(ds.pixel_array, ds.PerFrameFunctionalGroupsSequence, strict=True),
        key=lambda pair: pair[1].SegmentIdentificationSequence[0].ReferencedSegmentNumber,
    ):
        z = round(float(of.PlanePositionSequence[0].ImagePositionPatient[2]) - image.origin_mm[2])
        expected[z][frame > 0] = of.SegmentIdentificationSequence[0].ReferencedSegmentNumber
    np.testing.assert_array_equal(mask, expected)
