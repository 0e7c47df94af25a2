"""The page of files tried says what happens today, for every file of the test data."""

from __future__ import annotations

from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import JPEGLosslessSV1

from docs.reference.files_tried import PAGE, page
from tests.data import data_path


def test_every_file_gives_what_the_page_says() -> None:
    data_path("nifti")
    said = PAGE.read_text(encoding="utf-8").splitlines()
    found = page(data_path("dicom").parent).splitlines()
    assert len(said) == len(found) > 90
    decodes_more = get_decoder(JPEGLosslessSV1).is_available  # where an optional decoder is installed
    for expected, now in zip(said, found, strict=True):
        assert now == expected or (decodes_more and "no decoder is installed" in expected)
