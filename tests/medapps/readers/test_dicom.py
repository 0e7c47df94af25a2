"""DICOM reading against pydicom's own functions, highdicom, and files made to be difficult."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medapps.errors import ImageError
from medapps.image import Image
from medapps.readers import Limits, decode_image, read_image
from medapps.readers.dicom import patient_key, read_dicom
from medapps.readers.dicom_pixels import codestream_size
from tests.data import data_path
from tests.medapps.readers.dicom_files import dicom, item

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.arange(48, dtype=np.uint16).reshape(6, 8) * 50


def every_file(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def refusal(data: bytes, **options: object) -> str:
    with pytest.raises(ImageError) as raised:
        decode_image(data, "x.dcm", **options)  # type: ignore[arg-type]
    (message,) = raised.value.args
    assert message.startswith("x.dcm: ")
    assert "\n" not in message
    return str(message)


@pytest.mark.parametrize("where", ["shared", "pydicom"])
def test_every_file_gives_an_image_or_one_sentence(where):
    files = every_file(data_path("dicom") if where == "shared" else WHEEL)
    assert len(files) > 50
    images = 0
    for path in files:
        try:
            image = read_image(path)
        except ImageError as error:
            (message,) = error.args
            assert message.startswith(f"{path}: ")
            assert len(message) > len(str(path)) + 10
            assert "\n" not in message
        else:
            images += 1
            assert isinstance(image, Image)
            assert image.to_uint8().shape == image.shape
            assert np.isfinite(image.array).all()
    assert images > 40


@pytest.mark.parametrize("number", [1, 2, 3, 4, 7, 8, 9])
def test_transfer_syntaxes_decode_to_the_same_pixels(number):
    expected = np.load(data_path("dicom/mr_transfer_syntaxes/reference.npz"))["pixels"]
    image = read_image(data_path(f"dicom/mr_transfer_syntaxes/{number}.dcm"))
    np.testing.assert_array_equal(image.array[0, 0], expected.squeeze())
    assert image.array.dtype == np.uint16


def test_jpeg_lossless_names_the_syntax_and_the_package():
    from pydicom.pixels.decoders.base import get_decoder

    if get_decoder(pydicom.uid.JPEGLosslessSV1).is_available:
        pytest.skip("a decoder for JPEG Lossless is installed")
    with pytest.raises(ImageError, match=r"JPEG Lossless.*1\.2\.840\.10008\.1\.2\.4\.70.*pip install python-gdcm"):
        read_image(data_path("dicom/mr_transfer_syntaxes/5.dcm"))


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm", "image_dfl.dcm"]
)
def test_values_agree_with_pydicom_outside_of_the_padding(name):
    ds = pydicom.dcmread(WHEEL / name)
    expected = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
    image = read_image(WHEEL / name)
    padding = ds.pixel_array == ds.get("PixelPaddingValue", 10**6)
    np.testing.assert_array_equal(image.array[0, 0][~padding], expected[~padding])
    assert int(image.meta.get("padding_pixels", 0)) == padding.sum()


def test_modality_and_voi_luts_agree_with_pydicom():
    for name in ("mlut_18.dcm", "vlut_04.dcm", "RG3_J2KR.dcm"):
        path = data_path(f"dicom/misc/{name}")
        ds = pydicom.dcmread(path)
        values = pydicom.pixels.apply_modality_lut(ds.pixel_array, ds)
        image = read_image(path)
        np.testing.assert_array_equal(image.array[0, 0], values)
        shown = pydicom.pixels.apply_voi_lut(values, ds).astype(np.float64)
        white = 2 ** (ds.VOILUTSequence[0].LUTDescriptor[2] if "VOILUTSequence" in ds else ds.BitsStored) - 1
        if name == "mlut_18.dcm":
            white, shown = values.max() - values.min(), shown - values.min()  # no VOI: the whole range
        expected = shown / white
        if ds.PhotometricInterpretation == "MONOCHROME1":
            expected = 1 - expected
        difference = np.abs(image.to_uint8()[0, 0] - 255 * expected)
        assert difference.max() <= 0.5 + 1e-6, name  # half a grey step of rounding


def test_ct_stays_in_hounsfield_units():
    image = read_image(WHEEL / "CT_small.dcm")
    assert image.meta["unit"] == "HU"
    assert image.modality == "CT"
    assert image.array.min() >= -1024


@pytest.mark.parametrize(
    "name",
    ["SC_rgb_rle.dcm", "examples_ybr_color.dcm", "SC_rgb_small_odd.dcm", "examples_palette.dcm", "ExplVR_BigEnd.dcm"],
)
def test_colour_becomes_rgb(name):
    ds = pydicom.dcmread(WHEEL / name)
    pixels = pydicom.pixels.pixel_array(ds)  # converts YBR to RGB by itself
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        pixels = pydicom.pixels.apply_color_lut(pixels, ds)
    expected = pixels.reshape(-1, ds.Rows, ds.Columns, 3)
    image = read_image(WHEEL / name)
    np.testing.assert_array_equal(np.moveaxis(image.array, 0, -1), expected)


def test_planar_configuration_does_not_matter():
    # The two files hold the same picture with samples side by side and plane by plane.
    by_pixel, by_plane = (read_image(data_path(f"dicom/misc/color-{k}.dcm")).array for k in ("px", "pl"))
    np.testing.assert_array_equal(by_pixel, by_plane)


def test_monochrome1_turns_the_picture_but_not_the_values():
    window = {"WindowCenter": "1200", "WindowWidth": "2400"}
    plain = decode_image(dicom(RAMP, **window), "a")
    inverted = decode_image(dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **window), "b")
    np.testing.assert_array_equal(plain.array, inverted.array)
    np.testing.assert_allclose(plain.display.fraction(RAMP), 1 - inverted.display.fraction(RAMP), atol=1e-15)


@pytest.mark.parametrize(("signed", "padding"), [(True, -2000), (False, 63536)])
def test_padding_gets_the_darkest_real_value(signed, padding):
    stored = np.array([[padding, 0, 100], [200, padding, 300]], np.int16 if signed else np.uint16)
    data = dicom(stored, RescaleSlope="1", RescaleIntercept="-1024", PixelPaddingValue=padding)
    image = decode_image(data, "a")
    assert image.array[0, 0].tolist() == [[-1024, -1024, -924], [-824, -1024, -724]]
    assert image.meta["padding_pixels"] == "2"


def test_padding_can_be_a_range():
    stored = np.array([[1, 2, 3, 50, 60]], np.uint16)
    image = decode_image(dicom(stored, PixelPaddingValue=1, PixelPaddingRangeLimit=3), "a")
    assert image.array.ravel().tolist() == [50, 50, 50, 50, 60]


def test_frames_may_have_their_own_rescale_and_place():
    pixels = np.stack([RAMP, RAMP, RAMP]).astype(np.uint16)

    def frame(i: int):
        return item(
            PixelValueTransformationSequence=[item(RescaleSlope=str(i + 1), RescaleIntercept="-10", RescaleType="HU")],
            PlanePositionSequence=[item(ImagePositionPatient=[1, 2, 30 - 2.5 * i])],
        )

    shared = item(
        PixelMeasuresSequence=[item(PixelSpacing=["0.5", "0.25"], SliceThickness="9")],
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
    )
    data = dicom(
        pixels,
        PerFrameFunctionalGroupsSequence=[frame(i) for i in range(3)],
        SharedFunctionalGroupsSequence=[shared],
    )
    image = decode_image(data, "a")
    np.testing.assert_array_equal(image.array[0], np.stack([RAMP * (i + 1.0) - 10 for i in range(3)]))
    assert image.spacing_mm == (2.5, 0.5, 0.25)  # the step between frames, not the thickness
    assert image.origin_mm == (1.0, 2.0, 30.0)
    assert np.array(image.direction)[:, 2].tolist() == [0, 0, -1]  # frames run towards the feet


def test_uneven_frames_leave_the_step_unknown_and_say_so():
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0, 0, z])]) for z in (0, 1, 5)]
    data = dicom(
        np.stack([RAMP] * 3),
        PerFrameFunctionalGroupsSequence=groups,
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=["1", "1"],
    )
    image = decode_image(data, "a")
    assert image.spacing_mm == (None, 1.0, 1.0)
    assert "not evenly placed" in image.meta["geometry"]


def test_geometry_agrees_with_highdicom():
    highdicom = pytest.importorskip("highdicom", reason="highdicom is not installed")
    path = data_path("dicom/seg_synthetic/24x38x3/multiframe.dcm")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = highdicom.imread(path).get_volume()
    image = read_image(path)
    assert image.spacing_mm is not None
    np.testing.assert_allclose(sorted(volume.spacing), sorted(image.spacing_mm), rtol=1e-6)
    corners = np.array(image.origin_mm) + np.array(image.direction)[:, 2] * image.spacing_mm[0] * (image.shape[1] - 1)
    ends = {tuple(np.round(v, 3)) for v in (np.array(image.origin_mm), corners)}
    assert tuple(np.round(volume.position, 3)) in ends  # highdicom may start at the other end of the stack


def test_oblique_orientation_is_kept():
    c, s = np.cos(0.3), np.sin(0.3)
    cosines = [c, s, 0, 0, 0, -1]
    data = dicom(RAMP, ImageOrientationPatient=cosines, ImagePositionPatient=[5, 6, 7], PixelSpacing=["2", "3"])
    image = decode_image(data, "a")
    expected = np.stack([cosines[:3], cosines[3:], np.cross(cosines[:3], cosines[3:])], axis=1)
    np.testing.assert_allclose(image.direction, expected, atol=1e-6)
    assert (image.spacing_mm, image.origin_mm) == ((None, 2.0, 3.0), (5.0, 6.0, 7.0))


def test_detector_spacing_is_not_taken_for_spacing_in_the_patient():
    assert decode_image(dicom(RAMP, ImagerPixelSpacing=["0.1", "0.1"]), "a").spacing_mm is None


@pytest.mark.parametrize(
    ("elements", "message"),
    [
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels.*more than the 512 MiB allowed"),
        ({"NumberOfFrames": 2_000_000}, "2000000 frames, more than the 65536 allowed"),
        ({"Rows": 0}, "claims an image of 0 x 8"),
        ({"Rows": 12}, "truncated, 96 of 192 bytes"),
        ({"BitsAllocated": None}, "no BitsAllocated"),
        ({"PhotometricInterpretation": "SECRET"}, "colour kind"),
        ({"SamplesPerPixel": 3}, "3 samples per pixel do not go with MONOCHROME2"),
        ({"PixelData": None}, r"has no image in it \(CT Image Storage\)"),
    ],
)
def test_claims_of_the_header_are_checked_first(elements, message):
    import re

    assert re.search(message, refusal(dicom(RAMP, **elements)))


def test_the_limit_is_an_argument():
    assert "MiB allowed" in refusal(dicom(np.zeros((600, 600), np.uint16)), limits=Limits(decoded_bytes=1 << 20))


def test_a_deflate_bomb_is_stopped_while_it_inflates():
    plain = dicom(RAMP, syntax="1.2.840.10008.1.2.1.99")
    start = 144 + int.from_bytes(plain[140:144], "little")
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    bomb = plain[:start] + squeeze.compress(bytes(64 << 20)) + squeeze.flush()
    assert len(bomb) < 100_000
    assert "grows beyond the 32 MiB" in refusal(bomb, limits=Limits(decoded_bytes=32 << 20))


def test_a_codestream_that_disagrees_with_the_header_is_not_decoded():
    ds = pydicom.dcmread(WHEEL / "JPEG2000.dcm")
    ds.Rows = 512
    buffer = io.BytesIO()
    ds.save_as(buffer)
    assert "frame 1 says 1024 x 256 pixels, its header 512 x 256" in refusal(buffer.getvalue())


def test_codestream_sizes_agree_with_the_headers():
    from pydicom.encaps import generate_frames

    seen = 0
    for name in ("JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm"):
        ds = pydicom.dcmread(WHEEL / name)
        frame = next(generate_frames(ds.PixelData, number_of_frames=1))
        assert codestream_size(frame) == (ds.Rows, ds.Columns)
        seen += 1
    assert seen == 4


def test_nothing_of_the_patient_leaves_the_reader(caplog):
    """pydicom quotes values in warnings and logs; neither they nor our errors and meta may."""
    data = dicom(RAMP, PatientName="Secret^Person", StudyDescription="SECRET")
    # A number that is not one, and an unknown character set: both are quoted by pydicom.
    data = data.replace(b"\x10\x00\x20\x00LO", b"\x10\x00\x20\x00DS")
    damaged = [data[:n] for n in range(140, len(data), 7)] + [data]
    caplog.set_level(logging.DEBUG)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for one in damaged:
            try:
                texts = repr(dict(decode_image(one, "x").meta))
            except ImageError as error:
                texts = repr((error.args, error.__cause__))
            assert "secret" not in texts.lower()
    assert not caught
    assert not [record for record in caplog.records if "ecret" in record.getMessage().lower()]


def test_a_transfer_syntax_is_named_when_known_and_never_quoted_otherwise():
    plain = dicom(RAMP)
    known, unknown = b"1.2.840.10008.1.2.4.100\0", b"1.2.SECRET-1"
    for syntax, message in ((known, "MPEG2 Main Profile"), (unknown, "its transfer syntax is unknown")):
        at = plain.index(b"\x02\0\x10\0UI")
        end = at + 8 + int.from_bytes(plain[at + 6 : at + 8], "little")
        changed = plain[:at] + b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax + plain[end:]
        grown = int.from_bytes(plain[140:144], "little") + len(changed) - len(plain)
        text = refusal(changed[:140] + grown.to_bytes(4, "little") + changed[144:])
        assert message in text
        assert "SECRET" not in text


def test_settings_of_pydicom_are_put_back():
    import pydicom.config

    before = pydicom.config.settings.reading_validation_mode, logging.getLogger("pydicom").level
    decode_image(dicom(RAMP), "x")
    assert (pydicom.config.settings.reading_validation_mode, logging.getLogger("pydicom").level) == before


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_files_raise_nothing_but_image_errors(data):
    seed = data.draw(
        st.sampled_from(["CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_small_odd_jpeg.dcm", "liver_1frame.dcm"])
    )
    raw = bytearray((WHEEL / seed).read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        # Most of a file is pixels; headers are where readers break.
        raw[data.draw(st.integers(128, min(len(raw), 2500) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(raw), len(raw) // 2, 400]))
    with contextlib.suppress(ImageError):
        read_dicom(bytes(raw[:cut]), "x", limits=Limits(decoded_bytes=64 << 20))


def test_patients_are_told_apart_without_their_names():
    same = [patient_key(dicom(RAMP, SOPInstanceUID=uid), "x") for uid in ("1.2.3", "1.2.4")]
    assert same[0] == same[1] != patient_key(dicom(RAMP, PatientID="OTHER"), "x")
    assert "SECRET" not in str(same[0])
    assert patient_key(dicom(RAMP, PatientID=""), "x") is None


@pytest.mark.parametrize("lie", [0, 4, 10_000])
def test_a_lie_about_the_header_length_does_not_hide_a_deflate_bomb(lie):
    plain = dicom(RAMP, syntax="1.2.840.10008.1.2.1.99")
    start = 144 + int.from_bytes(plain[140:144], "little")
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    body = squeeze.compress(bytes(64 << 20)) + squeeze.flush()
    bomb = plain[:140] + lie.to_bytes(4, "little") + plain[144:start] + body
    assert "grows beyond the 32 MiB" in refusal(bomb, limits=Limits(decoded_bytes=32 << 20))
    assert "grows beyond the 32 MiB" in refusal(bomb[132:], limits=Limits(decoded_bytes=32 << 20))
