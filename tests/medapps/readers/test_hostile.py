"""Files made to do harm: the new readers give a result or one sentence, within the limits, and nothing else."""

from __future__ import annotations

import contextlib
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medapps.deidentify import deidentify_study
from medapps.errors import ImageError, InputError
from medapps.image import Image
from medapps.readers import Limits, list_series, read_seg, read_series
from medapps.writers import Algorithm, write_mask
from tests.medapps.series_files import encoded, series, write

SMALL = Limits(decoded_bytes=8 << 20)
_UNIT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def deflated_bomb() -> bytes:
    """90 kB that inflate to 64 MiB."""
    ds = series()[0]
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    plain = encoded(ds)
    start = 144 + int.from_bytes(plain[140:144], "little")
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return plain[:start] + squeeze.compress(bytes(64 << 20)) + squeeze.flush()


def test_a_deflated_bomb_is_not_inflated_by_the_listing_or_the_export(tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "bomb.dcm").write_bytes(deflated_bomb())
    tracemalloc.start()
    (info,) = list_series(tmp_path / "s", limits=SMALL)
    with pytest.raises(InputError, match="no DICOM file that could be copied"):
        deidentify_study(tmp_path / "s", tmp_path / "out", limits=SMALL)
    with pytest.raises(ImageError, match="grows beyond the 8 MiB"):
        read_seg(tmp_path / "s" / "bomb.dcm", Image(np.zeros((1, 1, 2, 2)), (1, 1, 1), (0, 0, 0), _UNIT), limits=SMALL)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert info.code == "G100"
    assert "grows beyond the 8 MiB" in info.verdict
    assert peak < 16 << 20


def test_a_zip_bomb_is_refused_by_its_claims(tmp_path):
    with zipfile.ZipFile(tmp_path / "s.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", encoded(series()[0]))
        archive.writestr("b.dcm", bytes(128) + b"DICM" + bytes(32 << 20))
    (good, bad) = list_series(tmp_path / "s.zip", limits=SMALL)
    assert good.verdict == "ok"
    assert "b.dcm is 32 MiB, more than allowed" in bad.verdict
    assert len(deidentify_study(tmp_path / "s.zip", tmp_path / "out", limits=SMALL).skipped) == 1
    with pytest.raises(InputError, match="more than allowed"):
        list_series(tmp_path / "s.zip", limits=Limits(dataset_bytes=1 << 20))


def test_sequences_nested_without_end_give_one_sentence(tmp_path):
    deep = b"\x20\x00\x13\x91SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 3000
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "deep.dcm").write_bytes(encoded(series()[0]) + deep)
    (tmp_path / "s" / "good.dcm").write_bytes(encoded(series()[1]))
    with contextlib.suppress(ImageError):
        read_series(tmp_path / "s")
    made = deidentify_study(tmp_path / "s", tmp_path / "out")
    assert made.files + len(made.skipped) == 2
    for path in made.folder.rglob("*.dcm"):
        assert b"Secret" not in path.read_bytes()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    root = tmp_path_factory.mktemp("flips")
    folder = write(root / "s", series())
    image = read_series(folder)
    mask = np.zeros(image.shape[1:], np.uint8)
    mask[2:4, 2:5, 2:5] = 1
    tool = Algorithm("x", "1")
    seg = write_mask(root / "m.dcm", mask, image, ("background", "a"), algorithm=tool, source=folder)
    return root, folder, image, seg


@settings(max_examples=120, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255))
def test_a_wrong_byte_gives_a_result_or_one_sentence(files, where, value):
    root, folder, image, seg = files
    for victim in (seg, folder / "002_1.7.200.dcm"):
        whole = victim.read_bytes()
        data = bytearray(whole)
        data[min(int(where * len(data)), len(data) - 1)] = value
        try:
            victim.write_bytes(data)
            with contextlib.suppress(InputError):
                list_series(folder)
            with contextlib.suppress(InputError):
                read_series(folder)
            with contextlib.suppress(InputError):
                read_seg(seg, image)
            with contextlib.suppress(InputError):
                deidentify_study(victim, root / "out")
        finally:
            victim.write_bytes(whole)
            _remove(root / "out")


def _remove(folder) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
