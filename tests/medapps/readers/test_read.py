"""read_image and pictures: content decides, and what is wrong is said in one sentence."""

from __future__ import annotations

import io
import zlib

import numpy as np
import PIL.Image
import pytest

from medapps.errors import ImageError, InputError
from medapps.image import Image
from medapps.readers import Limits, decode_image, read_image, resize, to_pixels


def png(array: np.ndarray, mode: str | None = None, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture = PIL.Image.fromarray(array)
    (picture.convert(mode) if mode else picture).save(buffer, kind, **options)
    return buffer.getvalue()


GREY = np.arange(20, dtype=np.uint8).reshape(4, 5) * 12
COLOUR = np.stack([GREY, GREY + 3, 255 - GREY], axis=-1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png_comes_back_exactly(dtype):
    array = GREY.astype(dtype) * (257 if dtype == np.uint16 else 1)
    image = decode_image(png(array), "a.png")
    assert image.array.dtype == dtype
    np.testing.assert_array_equal(image.array[0, 0], array)
    np.testing.assert_array_equal(image.to_uint8()[0, 0], GREY)  # 16 bits are shown by their own range


def test_colour_png_comes_back_exactly():
    image = decode_image(png(COLOUR), "a.png")
    np.testing.assert_array_equal(image.array[:, 0], COLOUR.transpose(2, 0, 1))


def test_grey_stored_as_rgb_is_one_channel():
    assert decode_image(png(np.repeat(GREY[..., None], 3, 2)), "a.png").shape == (1, 1, 4, 5)


@pytest.mark.parametrize("mode", ["1", "LA", "P", "RGBA"])
def test_other_png_modes_agree_with_pillow(mode):
    data = png(COLOUR, mode)
    expected = np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))
    pixels = to_pixels(decode_image(data, "a"), "a", channels=3)
    if mode == "LA":
        expected = expected[..., :1].repeat(3, -1)
    np.testing.assert_array_equal(pixels.transpose(1, 2, 0), expected)


def test_the_camera_orientation_is_applied():
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turned a quarter
    data = png(GREY, kind="JPEG", exif=exif.tobytes())
    assert decode_image(data, "a.jpg").shape == (1, 1, 5, 4)


@pytest.mark.parametrize("keep", [20, 60, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_truncated_picture_is_named(kind, keep):
    noise = np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8)
    data = png(noise, kind=kind)
    with pytest.raises(ImageError, match=r"^a\.bin: .*(damaged|truncated)"):
        decode_image(data[: keep if isinstance(keep, int) else int(len(data) * keep)], "a.bin")


def test_a_picture_that_claims_too_much_is_not_decoded():
    data = bytearray(png(GREY))
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    with pytest.raises(ImageError, match=r"60000 x 60000 pixels|too large"):
        decode_image(bytes(data), "a.png")
    with pytest.raises(ImageError, match="more than the 0 MiB allowed"):
        decode_image(png(GREY), "a.png", limits=Limits(decoded_bytes=10))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"hello", "known are DICOM, NIfTI, PNG and JPEG"),
        (b"GIF89a....", "a GIF picture; save it as PNG"),
        (b"PK\x03\x04....", "read_dataset"),
        (b"\x1f\x8b....", "gzip; unpack it"),
    ],
)
def test_other_files_are_named_with_a_way_out(tmp_path, content, message):
    path = tmp_path / "file.bin"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=message) as raised:
        read_image(path)
    assert str(path) in str(raised.value)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="there is no such file"):
        read_image(tmp_path / "no.png")
    with pytest.raises(ImageError, match="holds no DICOM file"):
        read_image(tmp_path)
    (tmp_path / "big.png").write_bytes(b"x" * 100)
    with pytest.raises(ImageError, match="allowed for a file"):
        read_image(tmp_path / "big.png", limits=Limits(file_bytes=10))


def test_the_name_does_not_decide(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(png(GREY))
    assert read_image(tmp_path / "scan.dcm").meta["format"] == "PNG"


def test_resize_does_not_alias():
    stripes = np.tile(np.array([0, 255], np.uint8), (1, 64, 32))  # every second column white
    small = resize(stripes, (16, 16))
    assert abs(small.astype(int) - 127.5).max() <= 25  # picking pixels would give 0 or 255
    same = resize(stripes, (64, 64))
    assert same is stripes


def test_resize_keeps_float_values():
    constant = np.full((2, 9, 9), -3.5, np.float32)
    np.testing.assert_allclose(resize(constant, (4, 5)), np.full((2, 4, 5), -3.5), rtol=1e-6)


def test_to_pixels_converts_channels():
    image = decode_image(png(COLOUR), "a")
    luma = 0.299 * COLOUR[..., 0] + 0.587 * COLOUR[..., 1] + 0.114 * COLOUR[..., 2]
    assert abs(to_pixels(image, "a", channels=1)[0] - luma).max() <= 0.5 + 1e-9
    assert to_pixels(image, "a", image_size=(7, 6)).shape == (3, 7, 6)
    with pytest.raises(InputError, match="has 2 frames"):
        to_pixels(Image(np.zeros((1, 2, 3, 3))), "a")
